"""Isolated regions of masks, in TensorFlow's own operations."""

import functools
from typing import NamedTuple

import tensorflow as tf

from keras_mscam.exporting.merging import ceil_log2, find_roots, merge_nodes
from keras_mscam.exporting.runs import Runs, find_runs


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
