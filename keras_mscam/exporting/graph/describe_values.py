"""What is odd about grey values, in TensorFlow's own operations."""

import numpy as np
import tensorflow as tf

from keras_mscam.exporting.graph.decode_files import resize_images
from keras_mscam.images import grey_values as limits


def describe_values(images: tf.Tensor) -> tf.Tensor:
    """Say what is odd about images: see `images.grey_values.describe_values`.

    Args:
        images: `(N, height, width, 1)`, grey 0..255; N may be 0.

    Returns:
        `(N,)` string: sentences, a line each, or "".
    """
    values = tf.cast(tf.reshape(images, (tf.shape(images)[0], -1)), tf.float32)
    bright = _find_part(values >= limits.MIDDLE)
    ends = limits.CLIPPED_LEVELS, 255 - limits.CLIPPED_LEVELS
    clipped = _find_part((values <= ends[0]) | (values >= ends[1]))
    is_uniform = tf.reduce_max(values, 1) == tf.reduce_min(values, 1)
    # The first that holds, from below.
    said = tf.fill(tf.shape(bright), "")
    for holds, sentence in (
        (tf.math.reduce_std(values, 1) < limits.FLAT_DEVIATION, limits.FLAT),
        (clipped >= limits.CLIPPED_PART, limits.CLIPPED),
        (bright > 1 - limits.OTHER_HALF_PART, limits.BRIGHT),
        (bright < limits.OTHER_HALF_PART, limits.DARK),
    ):
        said = tf.where(holds, sentence, said)
    is_inverted = _correlate(images) < limits.INVERTED_CORRELATION
    said = tf.where(
        is_inverted & (said != ""), tf.strings.join([said, "\n"]), said
    ) + tf.where(is_inverted, limits.INVERTED, "")
    return tf.where(is_uniform, limits.UNIFORM, said)


def _find_part(chosen: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(chosen, tf.float32), axis=1)


def _correlate(images: tf.Tensor) -> tf.Tensor:
    """Return Pearson's correlation of each with a chest, 0 for a constant."""
    chest = (limits.CHEST - limits.CHEST.mean()).astype("float32")
    small = tf.cast(resize_images(images, chest.shape)[..., 0], tf.float32)
    different = small - tf.reduce_mean(small, axis=(1, 2), keepdims=True)
    product = tf.reduce_sum(different * chest, axis=(1, 2))
    return tf.math.divide_no_nan(
        product, tf.norm(different, axis=(1, 2)) * np.linalg.norm(chest)
    )
