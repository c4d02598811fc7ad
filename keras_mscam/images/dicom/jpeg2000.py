"""Whether a JPEG 2000 code stream is whole and what its DICOM header says.

OpenJPEG takes memory for whatever a code stream says of itself: 600 bytes may ask for
8 GB. And it leaves out what is missing where that is a whole tile.

Reference: ISO/IEC 15444-1, annex A.
"""

import struct
from typing import NamedTuple

from keras_mscam.images.xray import ImageError

_START = b"\xff\x4f\xff\x51"  # of the code stream, and of its size
_SIZE, _CODING, _CODING_OF_ONE, _TILE, _DATA = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93
#: Precincts and blocks of code, for which OpenJPEG takes up to 2 KB each: 100 million
#: grey pixels have 130,000 blocks of 32x32.
_MOST_PARTS = 400_000
_DAMAGED = "is damaged: its JPEG 2000 header cannot be read"


class _Size(NamedTuple):
    width: int
    height: int
    samples: int
    tiles: int


def check_jpeg_2000(frame: bytes, rows: int, columns: int, samples: int) -> None:
    """Walk along the segments of a code stream, or a JP2 file around one.

    Raises:
        ImageError: the size isn't that of the DICOM header, a tile is missing, or there
            are too many parts. `struct.error` where it ends too early.
    """
    start = frame.find(_START)
    if start < 0 or (start and frame.count(_START) > 1):
        raise ImageError(_DAMAGED)
    at, size, tiles, tile_end = start + 2, None, set(), None
    while tile_end is None or tile_end < len(frame) - 2:
        marker, length = struct.unpack_from(">HH", frame, at)
        content = frame[at + 4 : at + 2 + length]
        if marker == _SIZE:
            size = _read_size(content)
            if size[:3] != (columns, rows, samples):
                raise ImageError(
                    "is damaged: its pixels are not as many as its header says"
                )
        elif size is None:
            raise ImageError(_DAMAGED)
        elif marker in (_CODING, _CODING_OF_ONE):
            _check_coding(content[marker == _CODING_OF_ONE :], marker == _CODING, size)
        elif marker == _TILE:
            tile, bytes_of_part = struct.unpack_from(">HI", content)
            tiles.add(tile)
            tile_end = at + bytes_of_part if bytes_of_part else len(frame)
        if marker == _DATA:
            if tile_end is None or tile_end <= at:
                raise ImageError(_DAMAGED)
            at = tile_end
            if frame[at : at + 2] == b"\xff\xd9":
                break
        elif marker < 0xFF00:
            raise ImageError(_DAMAGED)
        else:
            at += 2 + length
    if size is None or tiles != set(range(size.tiles)):
        raise ImageError("is damaged: a part of its JPEG 2000 data is missing")


def _read_size(content: bytes) -> _Size:
    right, bottom, left, top, width, height, first, upper, samples = struct.unpack_from(
        ">IIIIIIIIH", content, 2
    )
    if not width or not height:
        raise ImageError(_DAMAGED)
    tiles = -(-(right - first) // width) * -(-(bottom - upper) // height)
    return _Size(right - left, bottom - top, samples, tiles)


def _check_coding(content: bytes, is_of_all: bool, size: _Size) -> None:
    """Count the parts of a sample by levels, size of blocks and of precincts."""
    has_precincts = content[0] & 1
    levels, width, height = content[5:8] if is_of_all else content[1:4]
    precincts = content[10:] if is_of_all else content[6:]
    parts = size.tiles * (levels + 1)
    parts += _divide(size.width, width + 2) * _divide(size.height, height + 2)
    for level, sides in enumerate(precincts[: levels + 1] if has_precincts else ()):
        shrunk = levels - level
        parts += _divide(size.width, shrunk + sides % 16) * _divide(
            size.height, shrunk + sides // 16
        )
    if parts * size.samples > _MOST_PARTS:
        raise ImageError("is a JPEG 2000 of too many parts")


def _divide(length: int, power: int) -> int:
    """Return how many pieces of 2 to some power a length falls into."""
    return -(-length >> power) if power < 32 else 1
