"""Image files to grey pixels, and to the size that is stored."""

import io
import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from keras_mscam.errors import UserError

#: More pixels than any radiograph has; decoding as many takes a second and 100 MB.
MOST_PIXELS = 100_000_000

_DICOM_START = b"DICM"
_DICOM_PREAMBLE = 128
#: What old archives store without both: an element (0002,00xx) or (0008,00xx) of at
#: most 255 bytes, with a value representation or without, or with in big endian.
_BARE_DICOM = re.compile(
    rb"[\x02\x08]\0[\0-\x18]\0([A-Z]{2}.\0|.\0\0\0|OB\0\0)"
    rb"|\0\x08\0[\0-\x18][A-Z]{2}\0.",
    re.DOTALL,
)
_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8\xff"
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"


class ImageError(UserError):
    """An image file can't be used; the message goes on behind its name: "is empty"."""


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
    if data.startswith(_PNG_START):
        return "png"
    if data.startswith(_JPEG_START):
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
    is refused, see `dicom.reading.read_dicom`.

    Args:
        data: content of the file, which alone decides on its format.

    Returns:
        uint8 of shape `(height, width)`.

    Raises:
        ImageError: the data is empty, incomplete, damaged, of another format, or has
            more than 100 million pixels.
    """
    if find_format(data) == "dicom":
        from keras_mscam.dicom.reading import read_dicom  # slow to import

        return read_dicom(data).pixels
    _check(data)
    image = _decode(data)
    if data.startswith(_JPEG_START):
        _check_filling(data, image)
    if image.ndim == 3:
        image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY)
    return (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image


def resize_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize by area averaging, to exactly the size asked for.

    The ratio of the sides is not kept: NIH itself stored squares of 1024 made from
    originals that were not square. Along a side that grows, where there is nothing to
    average, interpolation is linear with half-pixel centres.

    Args:
        image: uint8 `(height, width)`.
        size: (height, width) wanted.

    Returns:
        uint8 of shape `size`.

    Example:
        >>> resize_area(np.array([[0, 20], [40, 60]], np.uint8), (1, 1))
        array([[30]], dtype=uint8)
    """
    height, width = size
    shrunk = min(image.shape[1], width), min(image.shape[0], height)
    image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def encode_png(image: np.ndarray) -> bytes:
    """Encode uint8 `(height, width)` as a grey PNG, fast rather than small."""
    return cv2.imencode(".png", image)[1].tobytes()


def convert_image(
    source: Path | bytes, size: tuple[int, int] | None
) -> tuple[bytes, tuple[int, int]] | str:
    """Turn an image file into what is stored: the work of one worker process.

    At its own size, an image that is stored in 8 bits of grey already, as PNG or JPEG,
    is kept byte for byte.

    Args:
        source: a file for `read_grey`, or its content.
        size: (height, width) to store; the image's own if None.

    Returns:
        PNG (or kept JPEG) bytes and the original (height, width), or the reason why
        not.
    """
    try:
        data = source if isinstance(source, bytes) else read_bytes(source)
        image = decode_grey(data)
    except ImageError as error:
        return str(error)
    if size is not None:
        return encode_png(resize_area(image, size)), image.shape
    return data if _is_grey(data) else encode_png(image), image.shape


def check_size(height: int, width: int) -> None:
    """Refuse, with an `ImageError`, what could fill the memory once decoded."""
    if height * width < 1:
        raise ImageError(f"has no pixels: its size is {height}x{width}")
    if height * width > MOST_PIXELS:
        raise ImageError(f"is too large: {height}x{width} pixels")


def _describe(error: OSError) -> str:
    return f"cannot be opened: {error.strerror or error}"


def _is_grey(data: bytes) -> bool:
    """Whether every decoder finds the same 8-bit grey in an image that was decoded."""
    if data.startswith(_JPEG_START):
        return JpegImageFile(io.BytesIO(data)).mode == "L"
    if not data.startswith(_PNG_START):
        return False
    # Transparency and animation, which come ahead of the pixels, are left to some.
    ahead = data[: data.index(b"IDAT")]
    return ahead[24:26] == b"\x08\0" and not any(
        kind in ahead for kind in (b"tRNS", b"acTL")
    )


def _check(data: bytes) -> None:
    """Refuse what a decoder might fill up with grey instead of refusing it itself.

    Whether OpenCV returns the upper part of an incomplete image, and whether it minds
    wrong checksums, depends on its version; this costs 2% of the decoding.
    """
    if not data:
        raise ImageError("is empty")
    _check_header(data)
    if data.startswith(_PNG_START):
        _check_png(data)
    elif data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        # Inside a scan, 0xff is followed by 0x00: both can only be markers.
        raise ImageError("is damaged: the end of its JPEG data is missing")


def _decode(data: bytes) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError("is damaged: its pixels cannot be decoded")
    return image


def _check_filling(data: bytes, image: np.ndarray) -> None:
    """Refuse a JPEG whose end was cut off and closed with an end marker.

    The decoder fills up what is missing with mid-grey, 128. If it decodes bytes put in
    front of the end marker, then there was something missing.
    """
    if (image[-1, -1] == 128).all():
        # Fill bytes may stand before a marker, and would make one of what follows.
        scan = data[: data.rfind(_JPEG_END)].rstrip(b"\xff")
        more = _decode(scan + b"\x55" * 64 + _JPEG_END)
        if not np.array_equal(image, more):
            raise ImageError("is damaged: a part of its JPEG data is missing")


def _check_header(data: bytes) -> None:
    """Refuse what is no image, or too large a one, before it is decoded."""
    kinds = {_PNG_START: PngImageFile, _JPEG_START: JpegImageFile}
    kind = next((kinds[known] for known in kinds if data.startswith(known)), None)
    if kind is None:
        raise ImageError("is not a PNG, JPEG or DICOM image")
    try:
        width, height = kind(io.BytesIO(data)).size
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise ImageError("is damaged: its header cannot be read") from error
    check_size(height, width)


def _check_png(data: bytes) -> None:
    """Walk along the chunks and compare their checksums."""
    view = memoryview(data)
    start = len(_PNG_START)
    while start + 12 <= len(data):
        (length,) = struct.unpack(">I", view[start : start + 4])
        kind, end = bytes(view[start + 4 : start + 8]), start + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise ImageError("is damaged: a checksum of its PNG data is wrong")
        if kind == b"IEND":
            return
        start = end
    raise ImageError("is damaged: the end of its PNG data is missing")
