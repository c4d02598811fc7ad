"""PNG and JPEG files to grey pixels, and back to PNG."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import PIL.Image

from keras_mscam.images.xray import ImageError, check_size

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
#: Scans of a JPEG file at most, as each may take as long as the whole image; encoders
#: write 10, in a few kilobytes there may be thousands.
MOST_SCANS = 100
#: Grey of the last pixel where decoders fill up what is missing of a JPEG: the middle
#: of the range; of CMYK, its product with itself, or that of what is left to white.
JPEG_FILLINGS = (128, 64, 63)
_JPEG_END = b"\xff\xd9"
#: 0xff may be repeated; before 0x00 it is none. 0x01 and restarts hold nothing.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
_LOWEST, _SOI, _EOI, _SOS, _APP14 = 0xC0, 0xD8, 0xD9, 0xDA, 0xEE
#: Frames of samples one after the other, and of all that every decoder here reads:
#: with progressive ones. Each with Huffman and arithmetic coding.
_SEQUENTIAL = {0xC0, 0xC1, 0xC9}
_FRAMES = {*_SEQUENTIAL, 0xC2, 0xCA}
_NO_FRAMES = {0xC4, 0xC8, 0xCC}  # between 0xc0 and 0xcf
_NO_HEADER = "is damaged: its header cannot be read"


def decode_png_or_jpeg(data: bytes, max_value: int | None = None) -> np.ndarray:
    """Decode a PNG or JPEG image to 8-bit grey; see `reader.read_xray`.

    What a decoder might fill up with grey is refused: whether OpenCV returns the upper
    part of an incomplete image, and whether it minds wrong checksums, depends on its
    version. That costs 2% of the decoding.
    """
    if not data:
        raise ImageError("is empty")
    if data.startswith(PNG_START):
        image = _decode(_strip_png(data))
    elif data.startswith(JPEG_START):
        image = _decode_jpeg(data)
    else:
        raise ImageError("is not a PNG, JPEG or DICOM image")
    if image.ndim == 3:
        image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY)
    return to_8_bits(image, max_value)


def to_8_bits(values: np.ndarray, max_value: int | None = None) -> np.ndarray:
    """Turn grey values of 8 or 16 bits, uint8 or uint16, into 8 bits.

    `max_value` is white, larger ones too; by default, and where the type can't hold a
    larger one, the largest of the type.

    Example:
        >>> to_8_bits(np.array([0, 2048, 4095], np.uint16), 4095)
        array([  0, 128, 255], dtype=uint8)
    """
    most = np.iinfo(values.dtype).max
    if max_value is not None and max_value < most:
        shares = np.minimum(np.arange(most + 1), max_value) / max_value
        return np.floor(255 * shares + 0.5).astype(np.uint8)[values]
    return values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)


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

    `OSError` where PNG has no such mode, or the file behind the image can't be read.
    """
    if image.mode in ("CMYK", "HSV", "YCbCr"):
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def is_grey(data: bytes) -> bool:
    """Whether every decoder finds the same 8-bit grey in an image that was decoded."""
    if data.startswith(JPEG_START):
        return _read_jpeg(data).channels == 1
    if not data.startswith(PNG_START):
        return False
    # Decoders differ in transparency and animation, which come ahead of the pixels.
    kinds = {kind for kind, _ in _read_chunks(data)}
    return data[24:26] == b"\x08\0" and not kinds & {b"tRNS", b"acTL"}


def _decode(data: bytes) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError("is damaged: its pixels cannot be decoded")
    return image


def _strip_png(data: bytes) -> bytes:
    """Check a PNG, and leave out all that says nothing of its grey values.

    That is what decoders differ in: animations, transparency, colour profiles and
    texts, which may be large, or damaged while the pixels are not.
    """
    header = data[8:33]
    is_header = len(header) == 25 and header.startswith(b"\0\0\0\rIHDR")
    if not is_header or zlib.crc32(header[4:21]) != int.from_bytes(header[21:]):
        raise ImageError(_NO_HEADER)
    width, height = struct.unpack(">II", header[8:16])
    check_size(height, width)
    kept: list[bytes | memoryview] = [PNG_START]
    is_behind = False
    for kind, chunk in _read_chunks(data):
        is_needed = not kind[0] & 0x20  # a capital letter
        if is_needed and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            raise ImageError("is damaged: a checksum of its PNG data is wrong")
        # Pixels are in chunks without others between them; what comes later is none.
        is_behind |= kept[-1][4:8] == b"IDAT" and kind != b"IDAT"
        if is_needed and not (is_behind and kind == b"IDAT"):
            kept.append(chunk)
    return b"".join(kept)


def _read_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Give the type of every chunk, and all of it, up to the end of the image."""
    view, start, kind = memoryview(data), len(PNG_START), b""
    while kind != b"IEND":
        end = start + 12 + int.from_bytes(view[start : start + 4])
        if end > len(data):
            raise ImageError("is damaged: the end of its PNG data is missing")
        kind = bytes(view[start + 4 : start + 8])
        if not kind.isalpha():
            raise ImageError("is damaged: a part of its PNG data is of no kind")
        yield kind, view[start:end]
        start = end


def _decode_jpeg(data: bytes) -> np.ndarray:
    header = _read_jpeg(data)
    data = data[: header.end]
    decode = partial(_decode_cmyk, header) if header.channels == 4 else _decode
    image = decode(data)
    # Decoders fill up with grey what was cut off in front of an end marker.
    may_be_filled = any((image[-1, -1] == grey).all() for grey in JPEG_FILLINGS)
    if may_be_filled and not np.array_equal(image, decode(lengthen_jpeg(data))):
        raise ImageError("is damaged: a part of its JPEG data is missing")
    return image


class _Jpeg(NamedTuple):
    channels: int
    is_adobe: bool
    end: int  # of the file's first image, in bytes; what follows is left alone


def _decode_cmyk(header: _Jpeg, data: bytes) -> np.ndarray:
    """Decode to BGR as TensorFlow does. Adobe stores what ink leaves of the light."""
    # Takes long to import, and such files are rare.
    import imagecodecs

    try:
        light = imagecodecs.jpeg8_decode(data, outcolorspace="cmyk")
    except imagecodecs.Jpeg8Error:
        raise ImageError("is damaged: its pixels cannot be decoded") from None
    light = (light if header.is_adobe else 255 - light).astype(np.uint16)
    return (light[..., 2::-1] * light[..., 3:] // 255).astype(np.uint8)


def _read_jpeg(data: bytes) -> _Jpeg:
    """Walk along the segments, and refuse what not every decoder reads."""
    marker, at, frame, scans, is_adobe = None, 2, (None, b""), [], False
    while marker != _EOI:
        found = _JPEG_MARKER.search(data, at)
        if not found or found[1][0] == _SOI:
            raise ImageError("is damaged: the end of its JPEG data is missing")
        marker, at = found[1][0], found.end()
        if marker < _LOWEST:
            raise ImageError("is damaged: its JPEG data has an unknown marker")
        if marker != _EOI:
            length = int.from_bytes(data[at : at + 2])
            segment = data[at + 2 : at + length]
            at += max(length, 2)
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            frame = marker, segment
        elif marker == _SOS:
            scans.append(segment[:1])
        elif marker == _APP14:
            is_adobe |= len(segment) >= 12 and segment.startswith(b"Adobe")
    kind, content = frame
    if len(content) < 6 or not scans:
        raise ImageError(_NO_HEADER)
    bits, height, width, channels = struct.unpack_from(">BHHB", content)
    check_size(height, width)
    if kind not in _FRAMES:
        raise ImageError("is a JPEG that cannot be read: lossless or hierarchical")
    if bits != 8:
        raise ImageError(f"is a JPEG of {bits} bits; those of 8 can be read")
    if len(scans) > MOST_SCANS:
        raise ImageError(f"has more than {MOST_SCANS} scans")
    if kind in _SEQUENTIAL and scans[0] == bytes([channels]) and len(scans) > 1:
        raise ImageError("is damaged: its JPEG data holds the same pixels twice")
    return _Jpeg(channels, is_adobe, at)
