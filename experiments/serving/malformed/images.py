"""Image files that are damaged, lie about their size, or unfold to far more."""

import functools
import io
import struct
import zlib
from collections.abc import Callable
from random import Random

from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"
_SIDES = (0, 1, 2, 10_001, 60_000, 65_535, 1 << 20, 1 << 31, (1 << 32) - 1)


def make_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG, with its right checksum."""
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def make_png(
    width: int, height: int, pixels: bytes, depth=8, colour=0, interlace=0, ahead=b""
) -> bytes:
    """Return a PNG whose header says what it is told, and whose pixels are these."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (
        _PNG
        + make_chunk(b"IHDR", header)
        + ahead
        + make_chunk(b"IDAT", pixels)
        + make_chunk(b"IEND", b"")
    )


def cut(rng: Random, file: bytes) -> bytes:
    """Leave out the end."""
    return file[: rng.randrange(len(file))]


def mutate(rng: Random, file: bytes) -> bytes:
    """Change some bytes anywhere, or in the head, where they mean most."""
    changed = bytearray(file)
    end = rng.choice((64, 700, len(file)))
    for _ in range(rng.choice((1, 2, 5, 30))):
        changed[rng.randrange(min(end, len(file)))] = rng.randrange(256)
    return bytes(changed)


def splice(rng: Random, file: bytes) -> bytes:
    """Leave out, double or move a part, or put noise in its place."""
    start, end = sorted(rng.randrange(len(file)) for _ in range(2))
    end = min(end, start + 4000)
    noise = rng.randbytes(end - start)
    middle = rng.choice((b"", 2 * file[start:end], noise, b"\xff" * 50, b"\0" * 50))
    return file[:start] + middle + file[end:]


def patch_png(rng: Random, _: bytes) -> bytes:
    """Contradict oneself in chunks whose checksums are right."""
    width, height = rng.choice(((8, 8), (300, 200), (1, 1), (100_000, 1)))
    rows = zlib.compress(b"\0" * rng.choice((0, 7, (width + 1) * height, 500_000)))
    pixels = rng.choice((rows, rows[:-3], rng.randbytes(40), b"", rows + rows))
    kinds = (b"PLTE", b"tRNS", b"gAMA", b"IDAT", b"iCCP", b"fdAT", b"acTL", b"aaaa")
    ahead = b"".join(
        make_chunk(rng.choice(kinds), rng.randbytes(rng.choice((0, 1, 6, 769))))
        for _ in range(rng.randrange(3))
    )
    depth, colour = rng.choice((0, 1, 4, 8, 16, 255)), rng.choice((0, 2, 3, 4, 6, 9))
    return make_png(width, height, pixels, depth, colour, rng.choice((0, 1, 2)), ahead)


def patch_png_size(rng: Random, file: bytes) -> bytes:
    """Say another size, with the right checksum."""
    rest = file[file.index(b"IDAT") - 4 :]
    size = struct.pack(">II", rng.choice(_SIDES), rng.choice(_SIDES))
    return _PNG + make_chunk(b"IHDR", size + file[24:29]) + rest


def patch_jpeg_size(rng: Random, file: bytes) -> bytes:
    """Say another size."""
    place = max(file.find(b"\xff\xc0"), file.find(b"\xff\xc2")) + 5
    sides = [min(rng.choice(_SIDES), 65_535) for _ in range(2)]
    return file[:place] + struct.pack(">HH", *sides) + file[place + 4 :]


def make_noise(rng: Random, _: bytes) -> bytes:
    """Return what is no image, or only begins like one."""
    heads = (
        b"",
        _PNG,
        b"\xff\xd8\xff",
        b"GIF89a",
        b"RIFF",
        b"BM",
        b"\0" * 128 + b"DICM",
    )
    return rng.choice(heads) + rng.randbytes(rng.choice((0, 1, 100, 5000)))


def encode(rng: Random, mode: str, size: tuple[int, int], **options) -> bytes:
    """Return a sound file that Pillow makes, of noise."""
    noise = Image.frombytes("L", (16, 16), rng.randbytes(256))
    file = io.BytesIO()
    noise.resize(size).convert(mode).save(file, **options)
    return file.getvalue()


@functools.cache
def _unfold(width: int, height: int, depth: int, colour: int, interlace: int) -> bytes:
    """A PNG of zeros."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = 1 + width * channels * depth // 8
    # Interlaced in seven passes, there are two rows for each, about.
    size = row * height + 2 * height * interlace
    packer, parts = zlib.compressobj(9), []
    for start in range(0, size, 1 << 24):
        parts.append(packer.compress(bytes(min(1 << 24, size - start))))
    pixels = b"".join(parts) + packer.flush()
    return make_png(width, height, pixels, depth, colour, interlace)


@functools.cache
def _pack_chunk(kind: bytes, name: bytes, size: int) -> bytes:
    text = make_chunk(kind, name + zlib.compress(bytes(size), 9))
    return make_png(8, 8, zlib.compress(bytes(72)), ahead=text)


@functools.cache
def _fill_chunk(size: int) -> bytes:
    text = make_chunk(b"tEXt", b"Comment\0" + bytes(size))
    return make_png(8, 8, zlib.compress(bytes(72)), ahead=text)


@functools.cache
def _fill_parts(count: int) -> bytes:
    """A PNG of many small chunks, no two neighbours of one length."""
    parts = b"".join(make_chunk(b"tEXt", b"a\0" + bytes(i % 2)) for i in range(count))
    return make_png(8, 8, zlib.compress(bytes(72)), ahead=parts)


@functools.cache
def _repeat_scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    file = io.BytesIO()
    image = Image.new("L", (side, side), 90)
    image.save(file, "JPEG", progressive=True)
    data = file.getvalue()
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * count + data[-2:]


@functools.cache
def _claim_jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, "JPEG")
    data = file.getvalue()
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


#: Little to make and to refuse.
SMALL: dict[str, Callable[[Random, bytes], bytes]] = {
    "cut": cut,
    "mutated": mutate,
    "spliced": splice,
    "PNG contradicts itself": patch_png,
    "noise": make_noise,
}
SIZES = {"png": patch_png_size, "jpeg": patch_jpeg_size}

#: Bombs that are refused by what they say of themselves.
CLAIMS: dict[str, Callable[[], bytes]] = {
    "PNG says 60000x60000": lambda: make_png(60_000, 60_000, zlib.compress(b"")),
    "JPEG says 65500x65500": lambda: _claim_jpeg(65_500, 65_500),
    "zTXt of 100 MB": lambda: _pack_chunk(b"zTXt", b"Comment\0\0", 100_000_000),
    "iCCP of 100 MB": lambda: _pack_chunk(b"iCCP", b"profile\0\0", 100_000_000),
}
#: Bombs that are worked on, for a second or more.
BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG of 9000x9000 zeros": lambda: _unfold(9000, 9000, 8, 0, 0),
    "PNG of 9000x9000 zeros, interlaced": lambda: _unfold(9000, 9000, 8, 0, 1),
    "PNG of 9000x9000 zeros, RGBA of 16 bits": lambda: _unfold(9000, 9000, 16, 6, 0),
    "PNG of 100000000x1 zeros": lambda: _unfold(100_000_000, 1, 8, 0, 0),
    "JPEG says 9990x9990, has 16x16": lambda: _claim_jpeg(9990, 9990),
    "PNG with a text of 20 MB": lambda: _fill_chunk(20_000_000),
    "PNG of 9900 parts": lambda: _fill_parts(9900),
    "PNG of 100000 parts": lambda: _fill_parts(100_000),
    "progressive JPEG of 3000 scans": lambda: _repeat_scans(2000, 3000),
}
