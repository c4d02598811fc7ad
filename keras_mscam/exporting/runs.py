"""Runs: the horizontal stretches of a mask's pixels, in TensorFlow's own operations."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

#: Pixels that are compared, or added, at once: as many bytes as a 64-bit word has.
_WORD = 8
_BEFORE = np.tri(_WORD, _WORD, -1, "float32")  # row i: the first i pixels of a word
#: Sums of heat are rounded to multiples of 2 ** -36: see `_sum_heat`.
_QUANTUM = 2.0**-36


class Runs(NamedTuple):
    """The runs of all masks, R of them, in reading order.

    Args:
        rows: `(R,)` int32, `mask * height + y`.
        starts: `(R,)` int32, the first pixel of the row that is in the run.
        ends: `(R,)` int32, the first one after it.
        heats: `(R,)` float64, sum of the heat in the run.
    """

    rows: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    heats: tf.Tensor


def find_runs(masks: tf.Tensor, heat: tf.Tensor) -> Runs:
    """Find the runs of many masks in one pass.

    Args:
        masks: `(M, height, width)` bool.
        heat: `(M / L, height, width)` float32, finite, in [0, 1], each map that of L
            consecutive masks.

    Returns:
        The runs, and how much heat is in each.
    """
    shape = tf.shape(masks)
    height, width = shape[1], shape[2]
    # At least one empty pixel before each row, and rows of whole words.
    margin = _WORD - width % _WORD
    pixels = tf.reshape(tf.cast(masks, tf.uint8), (shape[0] * height, width))
    pixels = tf.concat([tf.zeros((shape[0] * height, margin), tf.uint8), pixels], 1)
    stride = tf.cast(margin + width, tf.int64)
    # Every second edge is the start of a run, the others are ends: before a start, and
    # in the place of a run's last pixel.
    edges = tf.reshape(_find_changes(tf.reshape(pixels, [-1])), (-1, 2))
    rows = tf.cast(edges[:, 0] // stride, tf.int32)
    columns = tf.cast(edges % stride, tf.int32) - (margin - 1)
    # (mask, y) of `mask * height + y` to (map, y).
    shared = shape[0] // tf.maximum(tf.shape(heat)[0], 1)
    heat_rows = rows // (shared * height) * height + rows % height
    heats = _sum_heat(heat, heat_rows, columns)
    return Runs(rows, columns[:, 0], columns[:, 1], heats)


def _find_changes(pixels: tf.Tensor) -> tf.Tensor:
    """Return where the next pixel differs, int64; the first pixel is 0.

    Most words of eight pixels are all alike, so the words are looked through first.
    """
    following = tf.roll(pixels, -1, 0)  # the last is followed by the first
    words = (
        tf.bitcast(tf.reshape(values, (-1, _WORD)), tf.int64)
        for values in (pixels, following)
    )
    changes = tf.bitwise.bitwise_xor(*words)
    changed = tf.where(changes)[:, 0]
    bytes_ = tf.bitcast(tf.gather(changes, changed), tf.uint8)
    places = tf.where(tf.reshape(bytes_, [-1]))[:, 0]
    return tf.gather(changed, places // _WORD) * _WORD + places % _WORD


def _sum_heat(heat: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Return the sums of the heat in runs.

    What is before a column is the sum of the words before it, and of the pixels before
    it in its word: eight times fewer sums than of all pixels.

    float32 from 2 ** -13 (1.2e-4) up is a multiple of 2 ** -36, and so are its sums.
    Smaller values elsewhere in the row are added and taken away again; the rounding
    removes what traces that leaves. So the sums are exact, as they are when OpenCV's
    regions are added up in float64.

    Args:
        heat: `(maps, height, width)` float32.
        rows: `(R,)` int32, `map * height + y`.
        columns: `(R, 2)` int32, start and end of each run.

    Returns:
        `(R,)` float64.
    """
    shape = tf.shape(heat)
    words = (shape[2] + _WORD - 1) // _WORD
    heat = tf.pad(heat, ((0, 0), (0, 0), (0, words * _WORD - shape[2])))
    heat = tf.reshape(heat, (shape[0] * shape[1] * words, _WORD))
    sums = tf.reduce_sum(tf.cast(heat, tf.float64), axis=1)
    before = tf.range(words)[:, None] < tf.range(words + 1)
    sums = tf.reshape(sums, (shape[0] * shape[1], words)) @ tf.cast(before, tf.float64)
    at = columns // _WORD
    places = rows[:, None] * (words + 1) + at
    whole = tf.gather(tf.reshape(sums, [-1]), places)
    # After the last word there is no pixel to add: then any word will do.
    pixels = tf.gather(heat, rows[:, None] * words + tf.minimum(at, words - 1))
    part = tf.gather(_BEFORE, columns % _WORD) * pixels
    part = tf.reduce_sum(tf.cast(part, tf.float64), axis=2)
    upto = whole + part
    return tf.round((upto[:, 1] - upto[:, 0]) / _QUANTUM) * _QUANTUM
