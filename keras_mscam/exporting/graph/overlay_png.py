"""Heat maps and boxes drawn over X-rays inside a TensorFlow graph."""

import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib.colors import to_rgb

from keras_mscam.visualization.style import MAP_COLOURS, PREDICTED, alpha

_LINE, _RIM = tuple(255 * part for part in to_rgb(PREDICTED)), (0.0, 0.0, 0.0)
_LINES = 256  # of them, side by side, are as wide as the longer side
# 9 saves 5% and takes 20 times as long.
_COMPRESSION = 3


def draw_overlays(
    images: tf.Tensor,
    heatmaps: tf.Tensor,
    original_sizes: tf.Tensor,
    boxes: tf.Tensor,
    box_scores: tf.Tensor,
) -> tf.Tensor:
    """Draw each heat map and its boxes over its X-ray, as PNG in RGB, string `(P,)`.

    A picture has the shape of the original image, and the longer side of `images`.
    Opacity and colours are those of all figures, see `visualization.style`.

    Args:
        images: uint8 `(P, h, w, 1)`.
        heatmaps: float32 `(P, h, w)` in [0, 1]; what isn't finite counts as cold.
        original_sizes: int32 `(P, 2)`, (height, width); where one is 0, the picture has
            the shape of `images`.
        boxes: float32 `(P, K, 4)`, half-open xyxy in pixels of the original image.
        box_scores: float32 `(P, K)`; 0 where there is no box.
    """
    size = tf.shape(heatmaps)[1:]

    def draw(inputs):
        image, heatmap, original_size, box, score = inputs
        original_size = tf.cond(
            tf.reduce_all(original_size > 0), lambda: original_size, lambda: size
        )
        sides = tf.cast(original_size, tf.float64)
        factor = tf.cast(tf.reduce_max(size), tf.float64) / tf.reduce_max(sides)
        shape = tf.maximum(tf.cast(tf.round(sides * factor), tf.int32), 1)
        heat = tf.where(tf.math.is_finite(heatmap), heatmap, 0)[..., None]
        picture = _blend(_stretch(image, shape), _stretch(heat, shape))
        scale = tf.cast(shape, tf.float32) / tf.cast(original_size, tf.float32)
        box = box[score > 0] * tf.tile(scale[::-1], [2])
        picture = _draw_boxes(picture, box)
        return tf.io.encode_png(
            tf.cast(tf.round(picture), tf.uint8), compression=_COMPRESSION
        )

    return tf.map_fn(
        draw,
        (images, heatmaps, original_sizes, boxes, box_scores),
        fn_output_signature=tf.TensorSpec([], tf.string),
    )


def _stretch(image: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    return tf.image.resize(image, shape, method="bilinear", antialias=True)


def _blend(image: tf.Tensor, heat: tf.Tensor) -> tf.Tensor:
    """Lay colours over `(height, width, 1)` grey; RGB, 0 to 255, float32."""
    heat = tf.clip_by_value(heat, 0, 1)
    colours = 255 * matplotlib.colormaps[MAP_COLOURS](np.arange(256))[:, :3]
    level = tf.cast(tf.round(255 * heat[..., 0]), tf.int32)
    colour = tf.gather(tf.constant(colours.astype("float32")), level)
    opacity = alpha(heat)
    return (1 - opacity) * image + opacity * colour


def _draw_boxes(picture: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Draw `(K, 4)` boxes, half-open xyxy in pixels of the picture."""
    shape = tf.shape(picture)
    corners = tf.round(boxes)
    start = corners[:, :2]
    corners = tf.concat([start, tf.maximum(corners[:, 2:], start + 1)], axis=1)
    width = tf.cast(tf.maximum(tf.reduce_max(shape) // _LINES, 1), tf.float32)
    outside, inside, within = (
        _count_boxes(corners, inset * width, shape) for inset in (-1, 0, 1)
    )
    # Boxes may overlap: where one has its edge, fewer boxes reach once all are smaller.
    for is_edge, colour in ((outside > inside, _RIM), (inside > within, _LINE)):
        picture = tf.where(is_edge[..., None], colour, picture)
    return picture


def _count_boxes(corners: tf.Tensor, inset: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Count the boxes over every pixel, each made smaller by `inset` on all sides."""
    left, top, right, bottom = tf.unstack(corners[:, :, None], axis=1)
    x = tf.range(shape[1], dtype=tf.float32)
    y = tf.range(shape[0], dtype=tf.float32)
    columns = (x >= left + inset) & (x < right - inset)
    rows = (y >= top + inset) & (y < bottom - inset)
    return tf.matmul(
        tf.cast(rows, tf.float32), tf.cast(columns, tf.float32), transpose_a=True
    )
