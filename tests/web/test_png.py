"""PNG files as the page decodes them against `keras_mscam.images.png_jpeg`."""

import itertools
import struct
import zlib

import numpy as np
import pytest

from keras_mscam.images.reader import read_grey
from keras_mscam.images.xray import ImageError

#: By kind of colour: samples of a pixel, and bits that a sample may have.
KINDS = {
    0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)),
    4: (2, (8, 16)), 6: (4, (8, 16)),
}  # fmt: skip
ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip
RNG = np.random.default_rng(6)


def make_chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    )


def make_png(colour, depth, width, height, interlaced=False, extra=b""):
    """Make a PNG of random bytes behind random filters, which is some image."""
    raw = b""
    for left, top, across, down in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        length = -(-columns * KINDS[colour][0] * depth // 8)
        if columns > 0:
            for _ in range(rows):
                raw += bytes([RNG.integers(5)]) + RNG.bytes(length)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    palette = make_chunk(b"PLTE", RNG.bytes(3 * 2**depth)) if colour == 3 else b""
    content = zlib.compress(raw)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", make_chunk(b"IHDR", header), palette, extra,
         make_chunk(b"IDAT", content[:9]), make_chunk(b"IDAT", content[9:]),
         make_chunk(b"IEND", b""))
    )  # fmt: skip


def read(run_node, files):
    return run_node([{"kind": "read", "bytes": data} for data in files])


def test_every_kind_of_png_is_decoded_as_in_python(run_node):
    kinds = [(c, depth) for c, (_, depths) in KINDS.items() for depth in depths]
    sizes = [(13, 11), (1, 1), (3, 20)]
    files = [
        make_png(*kind, *size, interlaced)
        for kind, size, interlaced in itertools.product(kinds, sizes, (False, True))
    ]
    for data, answer in zip(files, read(run_node, files), strict=True):
        expected = read_grey(data)
        assert (
            np.reshape(answer["pixels"], answer["size"]).tolist() == expected.tolist()
        )


def test_transparency_and_colour_management_change_nothing(run_node):
    half = make_chunk(b"tRNS", b"\0\x08"), make_chunk(b"tRNS", bytes(range(256)))
    gamma = make_chunk(b"gAMA", struct.pack(">I", 200_000))
    files = [
        make_png(0, 8, 9, 7, extra=half[0]), make_png(3, 8, 9, 7, extra=half[1]),
        make_png(0, 8, 9, 7, extra=gamma), make_png(0, 8, 9, 7) + b"behind the end",
    ]  # fmt: skip
    for data, answer in zip(files, read(run_node, files), strict=True):
        assert answer["pixels"] == read_grey(data).ravel().tolist()


def test_damaged_png_files_are_refused_as_in_python(run_node):
    whole = make_png(2, 8, 30, 40)
    few = zlib.compress(bytes(50))
    start, data = whole[:33], whole.index(b"IDAT")
    end = make_chunk(b"IEND", b"")
    flipped = bytearray(whole)
    flipped[data + 5] ^= 1
    huge = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    files = [
        whole[:8], whole[:30], whole[: data + 20], whole[:-1], bytes(flipped),
        start + end, start + make_chunk(b"IDAT", few) + end,
        start + make_chunk(b"IDAT", b"no zlib") + end,
        whole[:8] + make_chunk(b"IHDR", huge) + whole[33:],
        whole[:8] + make_chunk(b"IHDR", b"\0\0\0\0" + whole[20:29]) + whole[33:],
        whole[:8] + make_chunk(b"IHDR", whole[16:24] + b"\7\2\0\0\0") + whole[33:],
    ]  # fmt: skip
    for file, answer in zip(files, read(run_node, files), strict=True):
        with pytest.raises(ImageError) as caught:
            read_grey(file)
        assert answer["error"] == str(caught.value)
