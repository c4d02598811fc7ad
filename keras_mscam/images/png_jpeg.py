"""PNG and JPEG files to grey pixels, and back to PNG."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from keras_mscam.images.xray import ImageError, check_size

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"


def decode_png_or_jpeg(data: bytes) -> np.ndarray:
    """Decode a PNG or JPEG image to 8-bit grey; see `reader.read_grey`."""
    _check(data)
    image = _decode(data)
    if data.startswith(JPEG_START):
        _check_filling(data, image)
    if image.ndim == 3:
        image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY)
    return (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image


def encode_png(image: np.ndarray) -> bytes:
    """Encode uint8 `(height, width)` as a grey PNG, fast rather than small."""
    return cv2.imencode(".png", image)[1].tobytes()


def is_grey(data: bytes) -> bool:
    """Whether every decoder finds the same 8-bit grey in an image that was decoded."""
    if data.startswith(JPEG_START):
        return JpegImageFile(io.BytesIO(data)).mode == "L"
    if not data.startswith(PNG_START):
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
    if data.startswith(PNG_START):
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
    kinds = {PNG_START: PngImageFile, JPEG_START: JpegImageFile}
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
