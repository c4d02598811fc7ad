"""Images, and boxes with them, turned, moved and scaled by one matrix each.

Matrices map `(x, y, 1)` in the pixel frame of the input to that of the output. In a
pixel frame, pixel k of a row covers `k <= x < k + 1`, and its centre is at k + 0.5.
"""

from dataclasses import replace

import numpy as np
import tensorflow as tf

from keras_mscam.data.records import Box


def build_matrices(
    rotation: tf.Tensor,
    shift: tf.Tensor,
    scale: tf.Tensor,
    flip: tf.Tensor,
    input_size: tuple[int, int],
    image_size: tuple[int, int],
) -> tf.Tensor:
    """Return the matrices that flip, scale and rotate about the centre, then shift.

    Last of all the frame is stretched from `input_size` to `image_size`: an angle is
    one in pixels of the input, and the result that of resizing the turned image.

    Args:
        rotation: float64 `(batch,)`, radians, clockwise as it is displayed.
        shift: float64 `(batch, 2)`, down and right, as fractions of height and width.
        scale: float64 `(batch,)`, above 0; 2 shows everything twice as large.
        flip: bool `(batch,)`, whether left becomes right.
        input_size: (height, width) of the images, in pixels.
        image_size: (height, width) of the result.

    Returns:
        float64 `(batch, 3, 3)`.

    Example:
        >>> none = tf.zeros([1], tf.float64)
        >>> build_matrices(none, tf.constant([[0, 0.5]], tf.float64), none + 1,
        ...     none > 0, (30, 20), (30, 20))[0]  # x + 10
    """
    height, width = input_size
    cosine, sine = scale * tf.cos(rotation), scale * tf.sin(rotation)
    mirror = tf.where(flip, -tf.ones_like(scale), tf.ones_like(scale))
    turn = _stack([[cosine * mirror, -sine], [sine * mirror, cosine]])
    centre = tf.constant([width / 2, height / 2], tf.float64)
    moved = centre + shift[:, ::-1] * (width, height) - tf.linalg.matvec(turn, centre)
    stretch = tf.constant([image_size[1] / width, image_size[0] / height], tf.float64)
    upper = tf.concat([turn, moved[..., None]], axis=-1) * stretch[:, None]
    last = tf.broadcast_to(tf.constant([[0, 0, 1]], tf.float64), (len(upper), 1, 3))
    return tf.concat([upper, last], axis=1)


def warp(
    images: tf.Tensor, matrices: tf.Tensor, image_size: tuple[int, int]
) -> tf.Tensor:
    """Move images by their matrices, with bilinear interpolation.

    What comes in from outside is black, as it is beside the collimated field of an
    X-ray. Reflection would draw a second lesion or marker that no box and no label
    knows of, and repeating the border streaks that look like tubes.

    Args:
        images: uint8 or float `(batch, height, width, 1)`.
        matrices: float64 `(batch, 3, 3)`, see `build_matrices`.
        image_size: (height, width) of the result, at least half that of the images:
            bilinear interpolation of a smaller one would leave out pixels.

    Returns:
        float32 `(batch, *image_size, 1)`, of the range of the input.
    """
    # The operation maps pixel numbers of the output, which are half a pixel short of
    # their centres, to those of the input.
    to_centre = tf.constant([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]], tf.float64)
    backwards = tf.linalg.inv(to_centre) @ tf.linalg.inv(matrices) @ to_centre
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.cast(tf.reshape(backwards, (-1, 9))[:, :8], tf.float32),
        output_shape=image_size,
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(warped, (None, *image_size, 1))


def move_boxes(
    boxes: tuple[Box, ...], matrix: np.ndarray, image_size: tuple[int, int]
) -> tuple[Box, ...]:
    """Move boxes by the matrix of their image.

    Args:
        boxes: in the frame of the image before, in pixels.
        matrix: `(3, 3)`, see `build_matrices`.
        image_size: (height, width) of the image after.

    Returns:
        The smallest upright rectangle around the moved corners of each box, as far as
        it is inside the image; without those that are outside.
    """
    moved = (_move(box, np.asarray(matrix)).clip(image_size) for box in boxes)
    return tuple(box for box in moved if box is not None)


def _move(box: Box, matrix: np.ndarray) -> Box:
    left, top, right, bottom = box.xyxy
    corners = np.array([[left, right, left, right], [top, top, bottom, bottom]])
    moved = matrix[:2, :2] @ corners + matrix[:2, 2:]
    sides = *moved.min(axis=1), *moved.max(axis=1)
    return replace(box, xyxy=tuple(map(float, sides)))


def _stack(rows: list[list[tf.Tensor]]) -> tf.Tensor:
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)
