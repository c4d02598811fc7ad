"""One X-ray, in whatever form it comes: the one place that tells file formats apart."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_mscam.images.borders import find_field
from keras_mscam.images.png_jpeg import JPEG_START, PNG_START, decode_png_or_jpeg
from keras_mscam.images.xray import Frame, ImageError, XRay

#: A file, its content, or its grey pixels.
Image = str | os.PathLike | bytes | np.ndarray


def read_xray(image: Image, crop_borders: bool = False) -> XRay:
    """Read one X-ray.

    Args:
        image: a PNG, JPEG or DICOM file, its bytes, or grey pixels, uint8 or uint16
            `(height, width)`, of which the upper 8 bits are taken.
        crop_borders: look only at what lies inside of uniform borders, where no DICOM
            header gives the field, see `borders.find_field`. The images of
            ChestX-ray14 have theirs, so models trained on them are used to borders.

    Returns:
        All of its pixels, and their frame. What a DICOM header says of the geometry is
        in the frame, see `dicom.read.read_dicom`.

    Raises:
        ImageError: it can't be used; the message goes on behind its name.
    """
    xray = _read(image)
    field = find_field(xray.pixels) if crop_borders and not xray.frame.field else None
    if field is None:
        return xray
    said = (*xray.frame.warnings, "Only the part inside of its borders is looked at.")
    return replace(xray, frame=replace(xray.frame, field=field, warnings=said))


def _read(image: Image) -> XRay:
    if isinstance(image, np.ndarray):
        pixels = check_pixels(image)
    else:
        data = image if isinstance(image, bytes) else read_bytes(Path(image))
        if find_format(data) == "dicom":
            from keras_mscam.images.dicom.read import read_dicom

            return read_dicom(data)
        pixels = decode_grey(data)
    return XRay(pixels, Frame(pixels.shape))


def check_pixels(image: np.ndarray) -> np.ndarray:
    """Return grey pixels `(height, width)` as uint8.

    Raises:
        ImageError: they are of another shape or type.
    """
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim != 2 or image.dtype not in ("uint8", "uint16") or not image.size:
        raise ImageError(
            f"has shape {image.shape} and type {image.dtype}: it must be "
            "(height, width) of uint8 or uint16"
        )
    return image if image.dtype == np.uint8 else (image >> 8).astype("uint8")


def describe_image(image: Image) -> str:
    """Return what to call an image in a sentence."""
    if isinstance(image, (bytes, np.ndarray)):
        return "The image"
    return str(image)


_DICOM_START = b"DICM"
_DICOM_PREAMBLE = 128
#: What old archives store without both: an element (0002,00xx) or (0008,00xx) of at
#: most 255 bytes, with a value representation or without, or with in big endian.
_BARE_DICOM = re.compile(
    rb"[\x02\x08]\0[\0-\x18]\0([A-Z]{2}.\0|.\0\0\0|OB\0\0)"
    rb"|\0\x08\0[\0-\x18][A-Z]{2}\0.",
    re.DOTALL,
)


def read_grey(path: Path) -> np.ndarray:
    """Read a PNG, JPEG or DICOM file as 8-bit grey, as `decode_grey` does.

    Args:
        path: the file. Its content decides on its format, not its name.

    Returns:
        uint8 of shape `(height, width)`.

    Raises:
        ImageError: the file cannot be opened, or as `decode_grey`.
    """
    return decode_grey(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Read an image file.

    Raises:
        ImageError: it cannot be opened.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(_describe(error)) from error


def find_format(data: bytes) -> str | None:
    """Tell `"png"`, `"jpeg"` or `"dicom"` by how a file begins; `None` for others."""
    if data.startswith(PNG_START):
        return "png"
    if data.startswith(JPEG_START):
        return "jpeg"
    at = slice(_DICOM_PREAMBLE, _DICOM_PREAMBLE + len(_DICOM_START))
    return "dicom" if data[at] == _DICOM_START or _BARE_DICOM.match(data) else None


def decode_grey(data: bytes) -> np.ndarray:
    """Decode a PNG, JPEG or DICOM image to 8-bit grey.

    Colour becomes luma, `0.299 R + 0.587 G + 0.114 B`, which leaves equal channels as
    they are. An alpha channel is dropped, not blended: the RGBA files of ChestX-ray14
    are opaque. Of 16 bits the upper 8 are kept, so that an image that uses only 12 of
    its 16 comes out dark. Of an animated PNG the first frame is read. A rotation in
    EXIF data is ignored, since boxes are in the stored frame. For DICOM, and what of it
    is refused, see `dicom.read.read_dicom`.

    Args:
        data: content of the file, which alone decides on its format.

    Returns:
        uint8 of shape `(height, width)`.

    Raises:
        ImageError: the data is empty, incomplete, damaged, of another format, or has
            more than 100 million pixels.
    """
    if find_format(data) == "dicom":
        from keras_mscam.images.dicom.read import read_dicom

        return read_dicom(data).pixels
    return decode_png_or_jpeg(data)


def _describe(error: OSError) -> str:
    return f"cannot be opened: {error.strerror or error}"
