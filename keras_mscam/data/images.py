"""Image files to grey pixels, and to the size that is stored."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_mscam.errors import UserError

#: Smaller than any radiograph on one side, larger than any in area.
SMALLEST_SIDE = 16
LARGEST_AREA = 100_000_000

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_START_OF_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"


class ImageError(UserError):
    """An image file can't be used; the message is the reason, without the name."""


def read_grey(path: Path) -> np.ndarray:
    """Read a PNG or JPEG file as 8-bit grey.

    Colour becomes luma, `0.299 R + 0.587 G + 0.114 B`, which leaves equal channels as
    they are. An alpha channel is dropped, not blended: the RGBA files of ChestX-ray14
    are opaque. 16 bits become 8 over the full range, `round(v / 257)`; a file that
    uses only 12 of its 16 bits comes out dark. Of an animated PNG the first frame is
    read. A rotation in EXIF data is ignored, since boxes are in the stored frame.

    Args:
        path: the file. Its content decides on its format, not its name.

    Returns:
        uint8 of shape `(height, width)`.

    Raises:
        ImageError: the file is missing, empty, truncated, damaged, of another format,
            under 16 pixels on a side or above 100 million pixels.
    """
    data = _read_bytes(path)
    _check(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError("damaged: its pixels can't be decoded")
    return _to_grey(image)


def read_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image file from its header alone.

    Raises:
        ImageError: as in `read_grey`, as far as the header tells.
    """
    try:
        with Path(path).open("rb") as file:
            return _read_header(file)[1]
    except OSError as error:
        raise ImageError(_describe(error)) from error


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
    path: Path, size: tuple[int, int]
) -> tuple[bytes, tuple[int, int]] | str:
    """Turn an image file into what is stored: the work of one worker process.

    Args:
        path: a file for `read_grey`.
        size: (height, width) to store.

    Returns:
        PNG bytes and the original (height, width), or the reason why not.
    """
    try:
        image = read_grey(path)
    except ImageError as error:
        return str(error)
    return encode_png(resize_area(image, size)), image.shape


def _read_bytes(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(_describe(error)) from error


def _describe(error: OSError) -> str:
    return f"can't be opened: {error.strerror or error}"


def _check(data: bytes) -> None:
    """Refuse what a decoder might fill up with grey instead of refusing it itself.

    Whether OpenCV returns the upper part of a truncated image, and whether it minds
    wrong checksums, depends on its version; this costs 2% of the decoding.
    """
    if not data:
        raise ImageError("empty file")
    kind, _ = _read_header(io.BytesIO(data))
    if kind == "PNG":
        _check_png(data)
    elif data.rfind(_JPEG_END) < data.rfind(_JPEG_START_OF_SCAN):
        # Inside a scan, 0xff is followed by 0x00: both can only be markers.
        raise ImageError("truncated: the end of the JPEG data is missing")


def _read_header(file) -> tuple[str, tuple[int, int]]:
    """Return format and (height, width); nothing is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                kind, (width, height) = image.format, image.size
    except UnidentifiedImageError as error:
        raise ImageError("not a PNG or JPEG image") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"more than {LARGEST_AREA} pixels") from error
    if min(height, width) < SMALLEST_SIDE:
        raise ImageError(f"only {height}x{width} pixels")
    if height * width > LARGEST_AREA:
        raise ImageError(f"{height}x{width}: more than {LARGEST_AREA} pixels")
    return kind, (height, width)


def _check_png(data: bytes) -> None:
    view = memoryview(data)
    start = len(_PNG_SIGNATURE)
    while start + 12 <= len(data):
        (length,) = struct.unpack(">I", view[start : start + 4])
        kind, end = bytes(view[start + 4 : start + 8]), start + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise ImageError("damaged: a checksum of the PNG data is wrong")
        if kind == b"IEND":
            return
        start = end
    raise ImageError("truncated: the end of the PNG data is missing")


def _to_grey(image: np.ndarray) -> np.ndarray:
    """OpenCV's array of any channels, 8 or 16 bits, to uint8 `(height, width)`."""
    if image.ndim == 3:
        image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY)
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return image
