"""Many maps to boxes, in TensorFlow's own operations."""

import tensorflow as tf

from keras_mscam.exporting.graph.regions import (
    Regions,
    find_regions,
    make_keys,
    sort_by,
)


def normalize_maps(
    cams: tf.Tensor, normalization: str = "min_max", map_scales: tf.Tensor | None = None
) -> tf.Tensor:
    """Scale raw maps to [0, 1], each by itself: see `normalize_map`.

    Args:
        cams: `(P, height, width)` float32, signed, of any scale.
        normalization: `"min_max"` or `"exponential"`.
        map_scales: `(P,)` float32, of the exponential.

    Returns:
        float32 of the same shape. A map without contrast, with a value or a range that
        isn't finite, or with a unit that isn't above 0, points nowhere: it becomes all
        zeros.
    """
    shape = tf.shape(cams)
    flat = tf.reshape(cams, (shape[0], shape[1] * shape[2]))
    low = tf.reduce_min(flat, axis=1, keepdims=True)
    high = tf.reduce_max(flat, axis=1, keepdims=True)
    usable = tf.reduce_all(tf.math.is_finite(flat), axis=1, keepdims=True)
    usable &= tf.math.is_finite(high - low) & (high > low)
    if normalization == "min_max":
        span = tf.where(usable, high - low, 0.0)
        heat = tf.math.divide_no_nan(flat - low, span)
    else:
        map_scales = map_scales[:, None]
        usable &= map_scales > 0
        heat = tf.exp((flat - high) / map_scales)
        heat = tf.math.multiply_no_nan(heat, tf.cast(usable, tf.float32))
    return tf.reshape(heat, shape)


def extract_boxes(
    heatmaps: tf.Tensor, levels: tf.Tensor, min_area: float, max_boxes: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Turn maps into the boxes that they propose: see the NumPy `extract_boxes`.

    Args:
        heatmaps: `(P, height, width)` float32 in [0, 1], see `normalize_maps`.
        levels: `(P, L)` float32; at 1 and above nothing is found.
        min_area: fraction of the map that a region must cover at least.
        max_boxes: how many of the highest scores are kept, K.

    Returns:
        `(P, K, 4)` float32, half-open xyxy in pixels of the map, and `(P, K)` float32,
        mean heats, falling. A rectangle that levels share is given once, with the
        higher of its scores; equal scores are in the order of top, left, bottom, right.
        The places that are left hold zeros.
    """
    count, height, width = tf.unstack(tf.shape(heatmaps))
    each = tf.shape(levels)[1]
    masks = heatmaps[:, None] > levels[:, :, None, None]
    regions = find_regions(tf.reshape(masks, (count * each, height, width)), heatmaps)
    size = tf.cast(height * width, tf.float64)
    large = tf.cast(regions.areas, tf.float64) >= min_area * size
    regions = _take(regions, tf.where(large)[:, 0])
    regions = regions._replace(maps=regions.maps // each)
    distinct = _drop_repeated(regions, make_keys(regions, height, width))
    return _rank(distinct, count, max_boxes)


def _drop_repeated(regions: Regions, keys: tuple[tf.Tensor, tf.Tensor]) -> Regions:
    """Keep one region of each rectangle of a map, the one with the highest score."""
    order = sort_by(*keys, -regions.scores)
    place, extent = (tf.gather(key, order) for key in keys)
    new = (place[1:] != place[:-1]) | (extent[1:] != extent[:-1])
    new = tf.concat([tf.ones_like(order[:1], tf.bool), new], axis=0)
    return _take(regions, tf.boolean_mask(order, new))


def _rank(regions: Regions, count: tf.Tensor, most: int):
    """Put the highest scores of each map into its row; equal ones keep their order."""
    regions = _take(regions, sort_by(regions.maps, -regions.scores))
    begins = tf.searchsorted(regions.maps, tf.range(count))
    ranks = tf.range(tf.size(regions.maps)) - tf.gather(begins, regions.maps)
    kept = tf.where(ranks < most)[:, 0]
    places = tf.gather(tf.stack([regions.maps, ranks], axis=1), kept)
    xyxy = tf.cast(tf.gather(regions.xyxy, kept), tf.float32)
    scores = tf.gather(regions.scores, kept)
    return (
        tf.scatter_nd(places, xyxy, (count, most, 4)),
        tf.scatter_nd(places, scores, (count, most)),
    )


def _take(regions: Regions, index: tf.Tensor) -> Regions:
    return Regions(*(tf.gather(values, index) for values in regions))
