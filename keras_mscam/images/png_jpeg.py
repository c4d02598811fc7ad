"""PNG and JPEG files to grey pixels, and back to PNG."""

import io
import struct
import zlib

import cv2
import numpy as np
import PIL.Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from keras_mscam.images.xray import ImageError, check_size

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"


def decode_png_or_jpeg(data: bytes) -> np.ndarray:
    """Decode a PNG or JPEG image to 8-bit grey; see `reader.read_grey`.

    What a decoder might fill up with grey is refused: whether OpenCV returns the upper
    part of an incomplete image, and whether it minds wrong checksums, depends on its
    version. That costs 2% of the decoding.
    """
    _check_header(data)
    if data.startswith(PNG_START):
        _check_png(data)
    elif data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        # Inside a scan, 0xff is followed by 0x00: both can only be markers.
        raise ImageError("is damaged: the end of its JPEG data is missing")
    image = _decode(data)
    # OpenCV fills up with mid-grey what was cut off in front of an end marker.
    may_be_filled = data.startswith(JPEG_START) and (image[-1, -1] == 128).all()
    if may_be_filled and not np.array_equal(image, _decode(lengthen_jpeg(data))):
        raise ImageError("is damaged: a part of its JPEG data is missing")
    if image.ndim == 3:
        image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY)
    return (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image


def lengthen_jpeg(data: bytes) -> bytes:
    """Put bytes in front of the end: a decoder takes them if something is missing."""
    # Fill bytes may stand before a marker, and would make one of what follows.
    scan = data[: data.rfind(_JPEG_END)].rstrip(b"\xff")
    return scan + b"\x55" * 64 + _JPEG_END


def encode_png(image: np.ndarray) -> bytes:
    """Encode uint8 `(height, width)` as a grey PNG, fast rather than small."""
    return cv2.imencode(".png", image)[1].tobytes()


def encode_pillow(image: PIL.Image.Image) -> bytes:
    """Encode a Pillow image as a PNG of its own mode, fast rather than small.

    Raises:
        OSError: PNG has no such mode, or the file behind the image can't be read.
    """
    if image.mode in ("CMYK", "HSV", "YCbCr"):
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def is_grey(data: bytes) -> bool:
    """Whether every decoder finds the same 8-bit grey in an image that was decoded."""
    if data.startswith(JPEG_START):
        return JpegImageFile(io.BytesIO(data)).mode == "L"
    if not data.startswith(PNG_START):
        return False
    # Decoders differ in transparency and animation, which come ahead of the pixels.
    ahead = data[: data.index(b"IDAT")]
    plain = b"tRNS" not in ahead and b"acTL" not in ahead
    return plain and ahead[24:26] == b"\x08\0"


def _decode(data: bytes) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError("is damaged: its pixels cannot be decoded")
    return image


def _check_header(data: bytes) -> None:
    """Refuse what is no image, or too large a one, before it is decoded."""
    if not data:
        raise ImageError("is empty")
    if not data.startswith((PNG_START, JPEG_START)):
        raise ImageError("is not a PNG, JPEG or DICOM image")
    kind = PngImageFile if data.startswith(PNG_START) else JpegImageFile
    try:
        width, height = kind(io.BytesIO(data)).size
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise ImageError("is damaged: its header cannot be read") from error
    check_size(height, width)


def _check_png(data: bytes) -> None:
    """Walk along the chunks and compare their checksums."""
    view = memoryview(data)
    start = len(PNG_START)
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
