"""Many maps to boxes, in TensorFlow's own operations.

Labels that spread from pixel to neighbour until nothing changes would take 15 lines,
but as many steps over all pixels as a region's longest way is long: at 256x256, 60
times the time on smooth maps, 450 times on spirals. Here masks become runs, horizontal
stretches of pixels, and runs are connected in a number of rounds that is bounded.
"""

from typing import NamedTuple

import tensorflow as tf

#: Sums of heat are rounded to multiples of 2 ** -36: see `_find_runs`.
_QUANTUM = 2.0**-36


class Regions(NamedTuple):
    """The regions of all masks, N of them."""

    masks: tf.Tensor  # `(N,)` int32, index of the mask
    xyxy: tf.Tensor  # `(N, 4)` int32, half-open, in pixels of the mask
    areas: tf.Tensor  # `(N,)` int32, pixels
    scores: tf.Tensor  # `(N,)` float32, mean heat


def normalize_maps(
    cams: tf.Tensor, normalization: str = "min_max", map_scales: tf.Tensor = None
) -> tf.Tensor:
    """Scale each of the raw maps `(P, height, width)` to [0, 1]: `normalize_map`.

    A map without contrast, with a value or a range that isn't finite, or with one of
    the `map_scales` `(P,)` of the exponential that isn't above 0, becomes all zeros.
    """
    axes = (1, 2)
    low = tf.reduce_min(cams, axes, keepdims=True)
    high = tf.reduce_max(cams, axes, keepdims=True)
    usable = tf.reduce_all(tf.math.is_finite(cams), axes, keepdims=True)
    usable &= tf.math.is_finite(high - low) & (high > low)
    if normalization == "min_max":
        return tf.math.divide_no_nan(cams - low, tf.where(usable, high - low, 0.0))
    map_scales = map_scales[:, None, None]
    usable &= map_scales > 0
    heat = tf.exp((cams - high) / map_scales)
    return tf.math.multiply_no_nan(heat, tf.cast(usable, tf.float32))


def extract_boxes(
    heatmaps: tf.Tensor,
    threshold: float,
    min_area: float,
    max_area: float,
    max_boxes: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Turn maps into the boxes that are shown: see `inference.find_boxes`.

    Args:
        heatmaps: `(P, height, width)` float32 in [0, 1], see `normalize_maps`.
        threshold: float in [0, 1).
        min_area: fraction of the map that a region must cover at least.
        max_area: fraction of the map that a box may cover; a map with a larger one has
            no box.
        max_boxes: how many of the highest scores are kept, K.

    Returns:
        `(P, K, 4)` float32, half-open xyxy in pixels of the map, and `(P, K)` float32,
        mean heats, falling; equal ones are in the order of top, left, bottom, right.
        The places that are left hold zeros.
    """
    count, height, width = tf.unstack(tf.shape(heatmaps))
    regions = find_regions(heatmaps > threshold, heatmaps)
    size = tf.cast(height * width, tf.float64)
    large = tf.where(tf.cast(regions.areas, tf.float64) >= min_area * size)[:, 0]
    maps, xyxy, scores = (
        tf.gather(values, large)
        for values in (regions.masks, regions.xyxy, regions.scores)
    )
    left, top, right, bottom = tf.unstack(xyxy, axis=1)
    largest = tf.math.unsorted_segment_max((right - left) * (bottom - top), maps, count)
    points = tf.cast(largest, tf.float64) <= max_area * size
    order = _sort_by(maps, -scores, top, left, bottom, right)
    maps = tf.gather(maps, order)
    ranks = tf.range(tf.size(maps)) - tf.searchsorted(maps, maps)
    kept = (ranks < max_boxes) & tf.gather(points, maps)
    places = tf.boolean_mask(tf.stack([maps, ranks], axis=1), kept)
    order = tf.boolean_mask(order, kept)
    boxes = tf.cast(tf.gather(xyxy, order), tf.float32)
    return _drop_nested(
        tf.scatter_nd(places, boxes, (count, max_boxes, 4)),
        tf.scatter_nd(places, tf.gather(scores, order), (count, max_boxes)),
    )


def _drop_nested(xyxy: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Leave out boxes in or around one of a higher score, as `boxes.select_shown`."""
    starts, ends = xyxy[..., :2], xyxy[..., 2:]
    inside = tf.reduce_all(starts[:, :, None] >= starts[:, None], axis=3)
    inside &= tf.reduce_all(ends[:, :, None] <= ends[:, None], axis=3)
    nested = tf.cast(inside | tf.transpose(inside, (0, 2, 1)), tf.int32)
    before = nested - tf.linalg.band_part(nested, 0, -1)  # below the diagonal
    kept = tf.reduce_sum(before, axis=2) == 0
    scores = tf.where(kept, scores, 0)
    order = tf.argsort(-scores, stable=True)
    xyxy = tf.where(kept[..., None], xyxy, 0)
    return tf.gather(xyxy, order, batch_dims=1), tf.gather(scores, order, batch_dims=1)


def _sort_by(*keys: tf.Tensor) -> tf.Tensor:
    """Return the order by the first key, among equals by the second, and so on."""
    order = tf.range(tf.size(keys[0]))
    for key in reversed(keys):
        order = tf.gather(order, tf.argsort(tf.gather(key, order), stable=True))
    return order


def find_regions(masks: tf.Tensor, heat: tf.Tensor) -> Regions:
    """Find the 8-connected components of masks `(M, height, width)` in one pass.

    `heat` is float32 of the same shape, in [0, 1], finite; any dimension may be 0.
    Regions are in no order. Means are those of exact sums where no pixel of a region is
    below 2e-4, so regions of equal means tie.
    """
    height, width = tf.unstack(tf.shape(masks)[1:])
    rows, starts, ends, heats = _find_runs(masks, heat)
    # An empty column to the right of each row, and an empty row below each mask.
    stride = tf.cast(width + 2, tf.int64)
    line = tf.cast(rows + rows // tf.maximum(height, 1), tf.int64) * stride
    first = line + tf.cast(starts, tf.int64)
    last = line + tf.cast(ends, tf.int64)
    edges = [_find_touching(first, last, step * stride) for step in (-1, 1)]
    roots = connect(*tf.unstack(tf.concat(edges, axis=0), axis=1), tf.size(rows))
    roots, labels = tf.unique(roots)
    count = tf.size(roots)
    top, left = (
        tf.math.unsorted_segment_min(values, labels, count) for values in (rows, starts)
    )
    bottom, right = (
        tf.math.unsorted_segment_max(values, labels, count) for values in (rows, ends)
    )
    areas = tf.math.unsorted_segment_sum(ends - starts, labels, count)
    total = tf.math.unsorted_segment_sum(heats, labels, count)
    return Regions(
        masks=top // height,
        xyxy=tf.stack([left, top % height, right, bottom % height + 1], axis=1),
        areas=areas,
        scores=tf.cast(total / tf.cast(areas, tf.float64), tf.float32),
    )


def _find_runs(masks: tf.Tensor, heat: tf.Tensor):
    """Find the runs of many masks, R in all, in reading order.

    float32 from 2 ** -13 (1.2e-4) up is a multiple of 2 ** -36, and so are its sums.
    Smaller values elsewhere in the row are added and taken away again; the rounding
    removes what traces that leaves. So the sums are exact, as they are when OpenCV's
    regions are added up in float64.

    Returns:
        `(R,)` each: int32 `mask * height + y`, first pixel and the one after the last,
        and float64, the sum of the heat.
    """
    height = tf.shape(masks)[1]
    padded = tf.pad(masks, ((0, 0), (0, 0), (1, 1)))
    # Every second place where neighbours differ is a start, the others are ends.
    places = tf.where(padded[..., 1:] != padded[..., :-1])
    mask, y, start = tf.unstack(places[::2], axis=1)
    end = places[1::2, 2]
    before = tf.cumsum(tf.cast(tf.pad(heat, ((0, 0), (0, 0), (1, 0))), tf.float64), 2)
    upto, behind = (
        tf.gather_nd(before, tf.stack([mask, y, x], axis=1)) for x in (end, start)
    )
    heats = tf.round((upto - behind) / _QUANTUM) * _QUANTUM
    row = tf.cast(mask, tf.int32) * height + tf.cast(y, tf.int32)
    return row, tf.cast(start, tf.int32), tf.cast(end, tf.int32), heats


def _find_touching(first: tf.Tensor, last: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Return `(E, 2)` pairs of each run and the first that it touches, a row further.

    No other pairs are needed, if it is done in both directions: if a run touches
    several of the next row, it is the first above each of them but the first. Runs
    start and end at `first` and `last`, rising, in one long line of all rows.
    """
    # Half-open runs touch, at a corner too, if neither starts after the other's end.
    found = tf.searchsorted(last, first + step)
    run = tf.range(tf.size(first))
    inside = found < tf.size(first)
    found = tf.where(inside, found, 0)
    touches = inside & (tf.gather(first, found) <= last + step)
    return tf.boolean_mask(tf.stack([run, found], axis=1), touches)


def connect(first: tf.Tensor, second: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Find which nodes are connected, after Shiloach and Vishkin.

    In each round every root that has an edge to a tree of a smaller root hangs below
    the smallest such, then all nodes are hung below the root of their tree. A root that
    stays has only larger neighbours: each of them moves, below it or below a smaller
    one, below whose root it moves in the next round. So two rounds leave at most half
    of the trees: there are at most `2 log2 count` rounds.

    Args:
        first: `(E,)` int32, one end of every edge, in [0, count).
        second: `(E,)` int32, the other end.
        count: int32, how many nodes there are.

    Returns:
        `(count,)` int32, the smallest node that each is connected to.
    """

    def join(roots, _):
        ends = tf.gather(roots, first), tf.gather(roots, second)
        low, high = tf.minimum(*ends), tf.maximum(*ends)
        least = tf.math.unsorted_segment_min(low, high, count)
        hung = _find_roots(tf.gather(tf.minimum(least, own), roots))
        return hung, tf.reduce_any(hung != roots)

    own = tf.range(count)
    return tf.while_loop(lambda _, moved: moved, join, (own, tf.constant(True)))[0]


def _find_roots(parents: tf.Tensor) -> tf.Tensor:
    """Follow the pointers of a forest; each step doubles how far they reach."""

    def step(parents, _):
        further = tf.gather(parents, parents)
        return further, tf.reduce_any(further != parents)

    return tf.while_loop(lambda _, moved: moved, step, (parents, tf.constant(True)))[0]
