"""What is wrong with an image file, as far as that shows before it is decoded.

TensorFlow's decoders fail the whole graph over a file that they can't read, and fill
the memory before. Nothing here ever fails. It refuses what `data.images` refuses, in
the same words.
"""

import numpy as np
import tensorflow as tf

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
#: Parts of a file at most, as each takes time; a row of PNG chunks of one length, as
#: libpng writes the pixels, is one.
MOST_PARTS = 10_000
_MOST_LIKES = 1_000
#: Scans of a JPEG file at most, as each may take as long as the whole image; encoders
#: write 10, in a few kilobytes there may be thousands.
MOST_SCANS = 100
_EMPTY = "is empty"
_NO_IMAGE = "is not a PNG or JPEG image"
_NO_HEADER = "is damaged: its header cannot be read"
_NO_PNG_END = "is damaged: the end of its PNG data is missing"
_BAD_CHECKSUM = "is damaged: a checksum of its PNG data is wrong"
_TOO_MANY_PARTS = f"has more than {MOST_PARTS} parts"
_NO_JPEG_END = "is damaged: the end of its JPEG data is missing"
_TOO_MANY_SCANS = f"has more than {MOST_SCANS} scans"
# Bit depths that each colour type of PNG allows.
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_KINDS = [
    256 * depth + colour for colour, depths in _PNG_DEPTHS.items() for depth in depths
]
_IDAT, _IEND = int.from_bytes(b"IDAT"), int.from_bytes(b"IEND")
# Markers of a frame: C0 to CF without the tables of Huffman and arithmetic coding.
_FRAMES = [code for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC)]
_SCAN, _END = 0xDA, 0xD9
_WITHOUT_LENGTH = [0x01, *range(0xD0, 0xD8)]
_MISPLACED = [0xD8, _END]  # a second start, or an end ahead of any scan


def check_file(data: tf.Tensor, most_pixels: int) -> tf.Tensor:
    """Find what is wrong with a file without decoding it.

    Args:
        data: string scalar, the content of a file.
        most_pixels: of an image that may be decoded.

    Returns:
        string scalar: a sentence that goes on behind the file's name, or "".
    """
    return tf.case(
        [
            (data == b"", lambda: tf.constant(_EMPTY)),
            (starts_with(data, PNG_START), lambda: _check_png(data, most_pixels)),
            (starts_with(data, JPEG_START), lambda: _check_jpeg(data, most_pixels)),
        ],
        default=lambda: tf.constant(_NO_IMAGE),
    )


def starts_with(data: tf.Tensor, start: bytes) -> tf.Tensor:
    """Tell whether a string scalar starts with these bytes."""
    return tf.strings.substr(data, 0, len(start)) == start


def find_markers(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Find all that could be a marker of a JPEG file.

    Inside a scan, 0xff is followed by 0x00; 0xff in front of a marker is padding.

    Args:
        data: uint8 `(n,)`.

    Returns:
        int32 `(m,)`, positions of the bytes 0xff, and int32 `(m,)`, those behind.
    """
    behind = data[1:]
    found = (data[:-1] == 255) & (behind != 0) & (behind != 255)
    places = tf.cast(tf.where(found)[:, 0], tf.int32)
    return places, tf.cast(tf.gather(behind, places), tf.int32)


def find_last(places: tf.Tensor, codes: tf.Tensor, code: int = _END) -> tf.Tensor:
    """Return the last position of a marker, -1 if there is none."""
    return tf.reduce_max(tf.concat([[-1], places[codes == code]], axis=0))


def _check_png(data: tf.Tensor, most_pixels: int) -> tf.Tensor:
    # Zeros behind the end let every step read a whole head.
    values = tf.concat([tf.io.decode_raw(data, tf.uint8), tf.zeros([28], tf.uint8)], 0)
    # Behind the signature: length and kind of the first chunk, width, height, depth and
    # colour, compression, filter.
    width, height = _read_number(values, 16, 4), _read_number(values, 20, 4)
    header_is_sound = (
        (tf.strings.substr(data, len(PNG_START), 8) == b"\0\0\0\x0dIHDR")
        & tf.reduce_any(_read_number(values, 24, 2) == _PNG_KINDS)
        & (values[27] == 0)
    )
    problem, before_pixels = tf.cond(
        header_is_sound,
        lambda: _walk_png(values, tf.strings.length(data)),
        lambda: (tf.constant(_NO_HEADER), tf.constant(True)),
    )
    header = tf.where(before_pixels & (problem != ""), _NO_HEADER, "")
    return _first(header, _check_size(height, width, most_pixels), problem)


def _walk_png(values: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Walk along the chunks to the first problem or the end.

    Returns:
        What is wrong, or "", and whether that is ahead of the pixels. The checksums of
        the pixels are left to the decoder.
    """

    def step(start, before_pixels, problem, ended):
        length = _read_number(values, start, 4)
        kind = _read_number(values, start + 4, 4)
        is_pixels = (kind == _IDAT) & (start + 8 <= size)
        complete = length <= tf.cast(size - start - 12, tf.int64)
        end = start + 12 + tf.cast(tf.where(complete, length, 0), tf.int32)
        end = tf.cond(
            complete & is_pixels,
            lambda: _skip_likes(values, start, end, size),
            lambda: end,
        )
        sound = tf.cond(
            complete & ~is_pixels,
            lambda: _has_checksum(values, start + 4, end - 4),
            lambda: tf.constant(True),
        )
        problem = _first(
            tf.where(complete, "", _NO_PNG_END), tf.where(sound, "", _BAD_CHECKSUM)
        )
        return end, before_pixels & ~is_pixels, problem, kind == _IEND

    _, before_pixels, problem, ended = tf.while_loop(
        lambda start, before_pixels, problem, ended: (problem == "") & ~ended,
        step,
        (tf.constant(len(PNG_START)), tf.constant(True), tf.constant(""), False),
        maximum_iterations=MOST_PARTS,
    )
    too_many = tf.where(ended, "", _TOO_MANY_PARTS)
    return _first(problem, too_many), before_pixels


def _skip_likes(values, start, end, size) -> tf.Tensor:
    """Return where the last of a row of chunks ends that have equal heads.

    Most files hold their pixels in many chunks of one length.
    """
    length = end - start
    most = tf.minimum((size - start) // length, _MOST_LIKES)
    starts = start + length * tf.range(most)
    heads = tf.gather(values, starts[:, None] + tf.range(8))
    is_other = tf.reduce_any(heads != heads[0], axis=1)
    return tf.concat([starts[is_other], [starts[-1] + length]], axis=0)[0]


def _has_checksum(values: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    stored = tf.cast(_read_number(values, end, 4), tf.uint32)
    return compute_crc32(values[start:end]) == stored


def _check_jpeg(data: tf.Tensor, most_pixels: int) -> tf.Tensor:
    values = tf.io.decode_raw(data, tf.uint8)
    places, codes = find_markers(values)
    frame, scan = _walk_jpeg(values, places, codes)
    # Behind a marker: its segment's length, precision, height, width, components.
    head = tf.concat([values[frame:], tf.zeros([10], tf.uint8)], 0)
    height, width = _read_number(head, 5, 2), _read_number(head, 7, 2)
    header_is_sound = (
        (frame > 0)
        & (scan > 0)
        & (head[4] == 8)
        & tf.reduce_any(tf.cast(head[9], tf.int32) == [1, 3, 4])
        & (height * width > 0)
    )
    has_end = find_last(places, codes, _END) > find_last(places, codes, _SCAN)
    scans = tf.math.count_nonzero(codes == _SCAN)
    return _first(
        tf.where(header_is_sound, "", _NO_HEADER),
        _check_size(height, width, most_pixels),
        tf.where(has_end, "", _NO_JPEG_END),
        tf.where(scans > MOST_SCANS, _TOO_MANY_SCANS, ""),
    )


def _walk_jpeg(values, places, codes) -> tuple[tf.Tensor, tf.Tensor]:
    """Walk along the segments to the first scan; return where frame and scan start.

    Either is 0 if it isn't found. What a decoder skips between two segments is skipped.
    """
    size = tf.size(values)
    places, codes = tf.concat([places, [size]], 0), tf.concat([codes, [_END]], 0)
    # Zeros behind the end let every step read a length.
    values = tf.concat([values, tf.zeros([4], tf.uint8)], 0)

    def step(start, frame, scan, ended):
        index = tf.searchsorted(places, start[None])[0]
        place, code = places[index], codes[index]
        is_bare = tf.reduce_any(code == _WITHOUT_LENGTH)
        length = tf.cast(_read_number(values, place + 2, 2), tf.int32)
        end = place + 2 + tf.where(is_bare, 0, length)
        ended = (
            tf.reduce_any(code == _MISPLACED) | (~is_bare & (length < 2)) | (end > size)
        )
        is_frame = tf.reduce_any(code == _FRAMES) & (frame == 0) & ~ended
        frame = tf.where(is_frame, place, frame)
        scan = tf.where((code == _SCAN) & ~ended, place, 0)
        return end, frame, scan, ended | (scan > 0)

    _, frame, scan, _ = tf.while_loop(
        lambda start, frame, scan, ended: ~ended,
        step,
        (tf.constant(2), tf.constant(0), tf.constant(0), tf.constant(False)),
        maximum_iterations=MOST_PARTS,
    )
    return frame, scan


def _check_size(height: tf.Tensor, width: tf.Tensor, most_pixels: int) -> tf.Tensor:
    # Each alone first, as the product of two numbers of 32 bits can leave int64.
    most = tf.constant(most_pixels, tf.int64)
    too_large = (height > most) | (width > most) | (height * width > most)
    sides = [tf.strings.as_string(side) for side in (height, width)]
    sentence = tf.strings.join(["is too large: ", sides[0], "x", sides[1], " pixels"])
    empty = (height < 1) | (width < 1)
    return _first(tf.where(empty, _NO_HEADER, ""), tf.where(too_large, sentence, ""))


def _read_number(values: tf.Tensor, start, count: int) -> tf.Tensor:
    """Read a big-endian number of some bytes as an int64 scalar."""
    places = 256 ** np.arange(count - 1, -1, -1)
    return tf.reduce_sum(tf.cast(values[start : start + count], tf.int64) * places)


def _first(*sentences: tf.Tensor) -> tf.Tensor:
    """Return the first sentence that isn't empty, or ""."""
    found = tf.constant("")
    for sentence in reversed(sentences):
        found = tf.where(sentence != "", sentence, found)
    return found


_POLYNOMIAL = 0xEDB88320
_ALL = 0xFFFFFFFF
_LEVELS = 31  # halvings of the longest part that a PNG may have
_NIBBLES = 8


def compute_crc32(data: tf.Tensor) -> tf.Tensor:
    """Compute the checksum that `zlib.crc32` computes.

    A CRC is linear: every byte adds its own share, and what follows a byte only shifts
    that share. So neighbours are merged in pairs, then pairs of pairs, which takes
    log2(n) steps over all of them at once in place of n steps.

    Args:
        data: uint8 `(n,)`, 4 bytes or more.

    Returns:
        uint32 scalar.

    Example:
        >>> hex(compute_crc32(tf.constant(list(b"IEND"), tf.uint8)).numpy())
        '0xae426082'
    """
    shifts = tf.constant(_SHIFTS)
    # The register starts with ones, which is as good as inverting the first four bytes.
    data = tf.concat([255 - data[:4], data[4:]], axis=0)
    shares = tf.gather(tf.constant(_SHARES), tf.cast(data, tf.int32))

    def merge(level, shares):
        odd = tf.zeros([tf.size(shares) % 2], tf.uint32)
        pairs = tf.reshape(tf.concat([odd, shares], axis=0), (-1, 2))
        shifted = _shift(shifts[level], pairs[:, 0])
        return level + 1, tf.bitwise.bitwise_xor(shifted, pairs[:, 1])

    _, shares = tf.while_loop(
        lambda level, shares: tf.size(shares) > 1,
        merge,
        (0, shares),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
    )
    return tf.bitwise.invert(shares[0])


def _shift(tables: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Apply a linear map that is given for every value of every half byte."""
    total = tf.zeros_like(shares)
    for place in range(_NIBBLES):
        nibble = tf.bitwise.right_shift(shares, tf.constant(4 * place, tf.uint32))
        nibble = tf.bitwise.bitwise_and(nibble, tf.constant(15, tf.uint32))
        mapped = tf.gather(tables[place], tf.cast(nibble, tf.int32))
        total = tf.bitwise.bitwise_xor(total, mapped)
    return total


def _build_shares() -> np.ndarray:
    """Return what each byte adds to an empty register, `(256,)`."""
    shares = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        shares = (shares >> 1) ^ np.where(shares & 1, _POLYNOMIAL, 0).astype("uint32")
    return shares


def _build_shifts() -> np.ndarray:
    """Return the maps that 1, 2, 4, ... zero bytes apply, `(levels, 8, 16)`."""
    nibbles = np.arange(16, dtype=np.uint32)
    places = 4 * np.arange(_NIBBLES, dtype=np.uint32)
    basis = nibbles << places[:, None]
    tables = [_SHARES[basis & 255] ^ (basis >> 8)]
    for _ in range(_LEVELS - 1):
        last = tables[-1]
        parts = (last[..., None] >> places) & 15
        twice = last[np.arange(_NIBBLES), parts]
        tables.append(np.bitwise_xor.reduce(twice, axis=-1))
    return np.stack(tables)


_SHARES = _build_shares()
_SHIFTS = _build_shifts()
