"""Which training images come when: functions of seed and epoch alone.

`Dataset.shuffle` would also depend on the seed that a program sets globally.
"""

import numpy as np
import tensorflow as tf


def permute(count: tf.Tensor | int, seed: int, key: tf.Tensor) -> tf.Tensor:
    """Return the numbers below `count` in an order that (seed, key) determine.

    Args:
        count: how many, 0 or more.
        seed: any integer.
        key: int64 scalar, the number of this permutation.

    Returns:
        int32 `(count,)`.
    """
    keys = tf.random.stateless_uniform(
        [count], (seed, key), minval=None, maxval=None, dtype=tf.int64
    )
    return tf.argsort(keys, stable=True)


def group_by_pathology(labels: np.ndarray) -> list[np.ndarray]:
    """Return the positions of images for each pathology, and of those without any.

    Args:
        labels: `(images, pathologies)`: 1, 0 or NaN (unknown).

    Returns:
        An array of positions for every pathology that occurs, in their order, then
        one of the images with no positive label, if there are such. An image of
        several pathologies is in several.

    Example:
        >>> group_by_pathology(np.array([[1, 0], [0, 0], [1, np.nan]]))
        [array([0, 2]), array([1])]
    """
    positive = labels == 1
    groups = [*positive.T, ~positive.any(axis=1)]
    return [np.flatnonzero(group) for group in groups if group.any()]


def draw_balanced(
    groups: list[np.ndarray], count: int, seed: int, key: tf.Tensor
) -> tf.Tensor:
    """Draw images, each from a group that is drawn first, both uniformly.

    Args:
        groups: positions of images, as of `group_by_pathology`.
        count: how many to draw, with replacement.
        seed: any integer.
        key: int64 scalar, the number of this draw.

    Returns:
        int32 positions `(count,)`, determined by `groups`, `count`, `seed`, `key`.
    """
    sizes = np.array([len(group) for group in groups])
    starts = np.cumsum(sizes) - sizes
    uniform = tf.random.stateless_uniform([count, 2], (seed, key), dtype=tf.float64)
    group = tf.cast(uniform[:, 0] * len(groups), tf.int32)
    size = tf.gather(tf.constant(sizes, tf.float64), group)
    member = tf.cast(uniform[:, 1] * size, tf.int32)
    members = tf.constant(np.concatenate(groups), tf.int32)
    return tf.gather(members, tf.gather(tf.constant(starts, tf.int32), group) + member)
