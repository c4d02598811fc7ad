"""CRC-32 inside a TensorFlow graph, for the parts of PNG files."""

import numpy as np
import tensorflow as tf

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
