"""One X-ray, in whatever form it comes: the one place that tells file formats apart."""

import io
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import BinaryIO, TypeGuard

import numpy as np
import PIL.Image
from PIL import ExifTags
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from keras_mscam.errors import UserError
from keras_mscam.files import read_file
from keras_mscam.images.png_jpeg import (
    JPEG_START,
    PNG_START,
    decode_png_or_jpeg,
    encode_pillow,
    to_8_bits,
)
from keras_mscam.images.xray import MOST_BYTES, Frame, ImageError, XRay

#: A file, its content, or its pixels; whatever has `__array__` is taken as an array.
Image = (
    str | os.PathLike | bytes | bytearray | memoryview | BinaryIO
    | PIL.Image.Image | np.ndarray
)  # fmt: skip
_DICOM_START = b"DICM"
_DICOM_PREAMBLE = 128
#: What old archives store without both: an element (0002,00xx) or (0008,00xx) of at
#: most 255 bytes, with a value representation or without, or with in big endian.
_BARE_DICOM = re.compile(
    rb"[\x02\x08]\0[\0-\x18]\0([A-Z]{2}.\0|.\0\0\0|OB\0\0)"
    rb"|\0\x08\0[\0-\x18][A-Z]{2}\0.",
    re.DOTALL,
)
#: Of a photograph of a film, which other viewers show upright.
TURNED = "It is turned or mirrored by its EXIF data, which are not followed."
#: Why a file is refused whose decoder ends the process that it runs in.
CRASHED = "is damaged: its decoder crashed on it"
#: Decoders of these have never been seen to do so; those of DICOM have, whose files
#: have any suffix or none.
_HARMLESS = (".png", ".jpg", ".jpeg")
#: A line belongs to a border if so much of it differs by no more than the tolerance
#: from one grey value, which its border has in common.
_UNIFORM, _TOLERANCE = 0.98, 6
#: No border is cut that leaves a shorter side than this part of the image's.
_SHORTEST = 0.4


def read_xray(
    image: Image, crop_borders: bool = False, max_value: int | None = None
) -> XRay:
    """Read one X-ray.

    Colour becomes luma, `0.299 R + 0.587 G + 0.114 B`, which leaves equal channels as
    they are. An alpha channel is dropped, not blended: the RGBA files of ChestX-ray14
    are opaque. Of 16 bits the upper 8 are kept, so that an image that uses only 12 of
    its 16 comes out dark, unless `max_value` is given. Of an animated PNG that image is
    read which other viewers show. A colour profile is ignored, and so is, with a
    warning, a rotation in EXIF data, since boxes are in the stored frame. A damaged
    text beside undamaged pixels does no harm. For DICOM, and what of it is refused, see
    `dicom.read.read_dicom`.

    Args:
        image: a PNG, JPEG or DICOM file, known by its content and not by its name; its
            bytes, or a file open for reading them; a Pillow image, which is read as the
            PNG that it would be stored as; or grey pixels, uint8 or uint16
            `(height, width)`.
        crop_borders: look only at what lies inside of uniform borders, where no DICOM
            header gives the field, see `find_field`. The images of ChestX-ray14 have
            theirs, so models trained on them are used to borders.
        max_value: the grey value that is white, where files or pixels hold fewer bits
            than they could, such as 4095; larger values are white too. DICOM files,
            which say it themselves, and images that can't hold a larger value, do
            without. By default the largest that they can hold.

    Raises:
        ImageError: it can't be opened, or is empty, incomplete, damaged, of another
            format, of another shape or type, or larger than 100 million pixels; the
            message goes on behind its name.
        UserError: `max_value` is less than 1.
    """
    check_max_value(max_value)
    xray = _read(image, max_value)
    field = find_field(xray.pixels) if crop_borders and not xray.frame.field else None
    if field is None:
        return xray
    said = (*xray.frame.warnings, "Only the part inside of its borders is looked at.")
    return replace(xray, frame=replace(xray.frame, field=field, warnings=said))


def read_grey(image: Image, max_value: int | None = None) -> np.ndarray:
    """Read the pixels of an X-ray alone, uint8 `(height, width)`; see `read_xray`."""
    return read_xray(image, max_value=max_value).pixels


def check_max_value(max_value: int | None) -> None:
    """Refuse, with a `UserError`, what can't be the value of white."""
    if max_value is not None and max_value < 1:
        raise UserError(f"The max value must be 1 or more, not {max_value}.")


def is_pixels(image: Image) -> TypeGuard[np.ndarray]:
    """Whether an image is given as an array, rather than as a file."""
    return hasattr(image, "__array__")


def read_bytes(image: Image) -> bytes:
    """Return the content of an image file, however it is given but as pixels.

    Raises:
        ImageError: it cannot be opened, or is of none of these types.
    """
    try:
        if isinstance(image, (str, os.PathLike)):
            return read_file(image, MOST_BYTES)
        if isinstance(image, (bytes, bytearray, memoryview)):
            return bytes(image)
        if isinstance(image, PIL.Image.Image):
            return encode_pillow(image)
        read = getattr(image, "read", None)
        data = read(MOST_BYTES + 1) if read else None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot be opened: {reason}") from error
    if isinstance(data, str):
        raise ImageError("is a file opened as text: open it with mode 'rb'")
    if isinstance(data, bytes) and len(data) > MOST_BYTES:
        raise ImageError(f"is larger than {MOST_BYTES:,} bytes")
    if not isinstance(data, bytes):
        raise ImageError(
            f"is of type {type(image).__name__}: it must be a PNG, JPEG or DICOM file, "
            "its bytes, a Pillow image, or an array of grey pixels"
        )
    return data


def find_format(data: bytes) -> str | None:
    """Tell `"png"`, `"jpeg"` or `"dicom"` by how a file begins; `None` for others."""
    if data.startswith(PNG_START):
        return "png"
    if data.startswith(JPEG_START):
        return "jpeg"
    at = slice(_DICOM_PREAMBLE, _DICOM_PREAMBLE + len(_DICOM_START))
    return "dicom" if data[at] == _DICOM_START or _BARE_DICOM.match(data) else None


def may_crash(suffixes: Iterable[str]) -> bool:
    """Whether one of some files, known by their suffixes, may end its process."""
    return any(suffix.lower() not in _HARMLESS for suffix in suffixes)


def describe_image(image: object) -> str:
    """Return what to call an image in a sentence."""
    return str(image) if isinstance(image, (str, os.PathLike)) else "The image"


def _read(image: Image, max_value: int | None) -> XRay:
    if is_pixels(image):
        pixels = to_8_bits(_take_grey(image), max_value)
    else:
        data = read_bytes(image)
        if find_format(data) == "dicom":
            # pydicom and its decoders take half a second, and most folders hold none.
            from keras_mscam.images.dicom.read import read_dicom

            return read_dicom(data)
        pixels = decode_png_or_jpeg(data, max_value)
        if is_turned(data):
            return XRay(pixels, Frame(pixels.shape, warnings=(TURNED,)))
    return XRay(pixels, Frame(pixels.shape))


def is_turned(data: bytes) -> bool:
    """Whether EXIF data ask to turn or mirror an image, whose header alone is read."""
    kind = PngImageFile if data.startswith(PNG_START) else JpegImageFile
    try:
        with kind(io.BytesIO(data)) as image:
            exif = PIL.Image.Image.getexif(image)  # a PNG's own would decode it all
            return exif.get(ExifTags.Base.Orientation) in range(2, 9)
    except Exception:  # the pixels were read, whatever is said beside them
        return False


def _take_grey(image: np.ndarray) -> np.ndarray:
    try:
        image = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:  # as of a tensor on a GPU
        raise ImageError(f"cannot be taken as an array: {error}") from error
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim != 2 or image.dtype not in ("uint8", "uint16") or not image.size:
        raise ImageError(
            f"has shape {image.shape} and type {image.dtype}: it must be "
            "(height, width) of uint8 or uint16; scale other numbers to 0..255"
        )
    return image


def find_field(pixels: np.ndarray) -> tuple[int, int, int, int] | None:
    """Find what lies inside of uniform borders: what the collimator shut, or a frame.

    A border begins at an edge of the image, and all its lines have one grey value, but
    for some marks or letters on it. Air beside a patient is noisy and shaded, and
    stays; where it is as black and even as a border, it goes with it. A frame inside of
    another stays too: looking again would follow the shade of air into the chest.

    Half-open xyxy in pixels of uint8 `(height, width)`; None where there are no
    borders, or where what they leave is too small to be a chest, as of a black image.
    """
    top, bottom = _find_ends(pixels)
    left, right = _find_ends(pixels[top:bottom].T)
    height, width = pixels.shape
    if (left, top, right, bottom) == (0, 0, width, height):
        return None
    if right - left < _SHORTEST * width or bottom - top < _SHORTEST * height:
        return None
    return left, top, right, bottom


def _find_ends(lines: np.ndarray) -> tuple[int, int]:
    """Return the first line inside of the borders, and the first behind it."""
    first, end = _count_border(lines), len(lines) - _count_border(lines[::-1])
    return (first, end) if first < end else (0, len(lines))


def _count_border(lines: np.ndarray) -> int:
    value = int(np.median(lines[0]))
    uniform = np.abs(lines.astype(np.int16) - value) <= _TOLERANCE
    inside = uniform.mean(axis=1) < _UNIFORM
    return int(inside.argmax()) if inside.any() else len(lines)
