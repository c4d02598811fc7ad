"""Connected components of a graph in a bounded number of TensorFlow's operations."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf


def merge_nodes(first: tf.Tensor, second: tf.Tensor, count: tf.Tensor):
    """Find which nodes are connected: Boruvka's algorithm.

    In every round each tree that has edges to others picks the one of smallest index,
    and hangs below the tree at its other end. Two trees that picked the same edge are
    the only loop that can arise; the one of smaller index becomes the root. Each tree
    joins another, so their number falls to half or less: there are at most
    `ceil(log2 count)` rounds of at most `ceil(log2 count) + 1` steps in `find_roots`.

    Args:
        first: `(E,)` int32, one end of every edge, in [0, count).
        second: `(E,)` int32, the other end, not the same.
        count: int32, how many nodes there are.

    Returns:
        `(count,)` int32, the root of every node: equal where they are connected. And
        int32, the number of rounds.
    """
    most = ceil_log2(count)

    def join(roots, first, second, rounds):
        parents = find_roots(_hang(first, second, count), most)
        first, second = tf.gather(parents, first), tf.gather(parents, second)
        apart = tf.where(first != second)[:, 0]
        first, second = tf.gather(first, apart), tf.gather(second, apart)
        return tf.gather(parents, roots), first, second, rounds + 1

    some = tf.TensorShape([None])
    roots, _, _, rounds = tf.while_loop(
        lambda roots, first, second, rounds: tf.size(first) > 0,
        join,
        (tf.range(count), first, second, tf.constant(0)),
        (some, some, some, tf.TensorShape([])),
        maximum_iterations=most,
    )
    return roots, rounds


def _hang(first: tf.Tensor, second: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Return the parent of every node; a root is its own."""
    own, edges = tf.range(count), tf.range(tf.size(first))
    picked = tf.math.unsorted_segment_min(
        tf.concat([edges, edges], 0), tf.concat([first, second], 0), count
    )
    alone = picked >= tf.size(first)  # what the minimum over no edge is
    ends = tf.gather(first + second, tf.where(alone, 0, picked))
    parents = tf.where(alone, own, ends - own)
    loop = (tf.gather(parents, parents) == own) & (own < parents)
    return tf.where(loop, own, parents)


def find_roots(parents: tf.Tensor, most: tf.Tensor) -> tf.Tensor:
    """Follow the pointers of a forest; each step doubles how far they reach.

    Args:
        parents: `(nodes,)` int32; a root points to itself.
        most: steps after which all have arrived, `ceil(log2 depth)`. There may be one
            more, which finds that nothing changes.

    Returns:
        `(nodes,)` int32, the root of every node.
    """

    def step(parents, _):
        further = tf.gather(parents, parents)
        return further, tf.reduce_any(further != parents)

    roots, _ = tf.while_loop(
        lambda _, moved: moved,
        step,
        (parents, tf.constant(True)),
        maximum_iterations=most + 1,
    )
    return roots


def ceil_log2(count: tf.Tensor) -> tf.Tensor:
    """Return `ceil(log2 count)`, of 0 too: how many powers of two are smaller."""
    powers = tf.bitwise.left_shift(1, tf.range(31))
    return tf.reduce_sum(tf.cast(powers < count, tf.int32))


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


class Regions(NamedTuple):
    """The regions of all masks, N of them.

    Args:
        maps: `(N,)` int32, index of the mask.
        xyxy: `(N, 4)` int32, half-open, in pixels of the mask.
        areas: `(N,)` int32, pixels.
        scores: `(N,)` float32, mean heat.
    """

    maps: tf.Tensor
    xyxy: tf.Tensor
    areas: tf.Tensor
    scores: tf.Tensor


def find_regions(masks: tf.Tensor, heat: tf.Tensor) -> Regions:
    """Find the 8-connected components of many masks in one pass.

    Masks become runs, horizontal stretches of pixels: R in all. Runs of neighbouring
    rows that touch are of one region. Every run points to the first one that it touches
    in the row above; following the pointers leaves trees, which `merge_nodes` connects.
    So the work is bounded whatever the masks look like: at most `ceil(log2 height) + 1`
    steps to follow the pointers, then at most `ceil(log2 R)` rounds of at most
    `ceil(log2 R) + 1` steps, each over at most R trees and R edges.

    Args:
        masks: `(M, height, width)` bool; any dimension may be 0.
        heat: float32 in [0, 1], finite, `(M, height, width)`; or `(M / L, height,
            width)`, where each map is that of L consecutive masks.

    Returns:
        By mask, then by top, left, bottom and right. Means are those of exact sums
        where no pixel of a region is below 2e-4, so regions of equal means tie.

    Example:
        >>> masks = tf.constant([[[True, False, False], [False, True, False]]])
        >>> find_regions(masks, tf.cast(masks, tf.float32)).xyxy.numpy()
        array([[0, 0, 2, 2]], dtype=int32)
    """
    shape = tf.shape(masks)
    runs = find_runs(masks, heat)
    labels, count = _join(runs, shape[1], shape[2])
    regions = _enclose(runs, labels, count, shape[1])
    order = sort_by(*make_keys(regions, shape[1], shape[2]))
    return Regions(*(tf.gather(values, order) for values in regions))


def make_keys(regions: Regions, height: tf.Tensor, width: tf.Tensor):
    """Return two int64 `(N,)`: of map, top and left, and of bottom and right."""
    left, top, right, bottom = tf.unstack(tf.cast(regions.xyxy, tf.int64), axis=1)
    height, stride = tf.cast(height, tf.int64), tf.cast(width + 1, tf.int64)
    row = tf.cast(regions.maps, tf.int64) * height + top
    return row * stride + left, bottom * stride + right


def sort_by(*keys: tf.Tensor) -> tf.Tensor:
    """Return the order by the first key, among equals by the second, and so on."""
    order = tf.argsort(keys[-1], stable=True)
    for key in keys[-2::-1]:
        order = tf.gather(order, tf.argsort(tf.gather(key, order), stable=True))
    return order


def _join(runs: Runs, height, width) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the region of every run, `(R,)`, and how many regions there are."""
    above = _find_touching(runs, height, width, -1)
    below = _find_touching(runs, height, width, 1)
    parents = tf.where(above < 0, tf.range(tf.size(above)), above)
    trees, count = _number(find_roots(parents, ceil_log2(height)))
    upper = tf.where(below >= 0)[:, 0]
    first = tf.gather(trees, upper)
    second = tf.gather(trees, tf.gather(below, upper))
    apart = tf.where(first != second)[:, 0]
    roots, _ = merge_nodes(tf.gather(first, apart), tf.gather(second, apart), count)
    regions, count = _number(roots)
    return tf.gather(regions, trees), count


def _find_touching(runs: Runs, height, width, step: int) -> tf.Tensor:
    """Return the first run that each touches in the row above or below, or -1.

    No other edges are needed, in both directions together: if a run touches several of
    the next row, it is the first above each of them but the first.
    """
    count = tf.size(runs.rows)
    stride = tf.cast(width + 1, tf.int64)
    row = tf.cast(runs.rows, tf.int64) * stride
    starts = row + tf.cast(runs.starts, tf.int64)
    ends = row + tf.cast(runs.ends, tf.int64)
    y = runs.rows % height + step
    # Half-open runs touch, at a corner too, if neither starts after the other's end.
    found = tf.searchsorted(ends, starts + step * stride)
    index = tf.minimum(found, count - 1)
    touches = tf.gather(starts, index) <= ends + step * stride
    touches &= (found < count) & (y >= 0) & (y < height)
    return tf.where(touches, index, -1)


def _number(roots: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Number the roots from 0: return that of every node, and how many there are."""
    is_root = tf.cast(roots == tf.range(tf.size(roots)), tf.int32)
    numbers = tf.cumsum(is_root, exclusive=True)
    return tf.gather(numbers, roots), tf.reduce_sum(is_root)


def _enclose(runs: Runs, labels: tf.Tensor, count: tf.Tensor, height) -> Regions:
    least, most, total = (
        functools.partial(reduce, segment_ids=labels, num_segments=count)
        for reduce in (
            tf.math.unsorted_segment_min,
            tf.math.unsorted_segment_max,
            tf.math.unsorted_segment_sum,
        )
    )
    top, bottom = least(runs.rows), most(runs.rows)
    left, right = least(runs.starts), most(runs.ends)
    xyxy = tf.stack([left, top % height, right, bottom % height + 1], axis=1)
    areas = total(runs.ends - runs.starts)
    scores = tf.cast(total(runs.heats) / tf.cast(areas, tf.float64), tf.float32)
    return Regions(top // height, xyxy, areas, scores)
