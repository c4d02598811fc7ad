"""`data.images.resize_area` inside a TensorFlow graph, to the last bit."""

import numpy as np
import tensorflow as tf

# OpenCV leaves out a pixel of which less than this is covered.
_LEAST_COVER = 1e-3
# Its linear interpolation of bytes has weights of 11 bits.
_UNIT = 2048


def resize_images(images: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    """Resize by area averaging, and by interpolation along a side that grows.

    See `data.images.resize_area`. A uint8 image becomes what OpenCV makes of it, pixel
    for pixel: the same numbers are added in the same order and precision.

    Args:
        images: uint8 or float32 `(N, H, W, 1)`, none of the sizes known beforehand.
        image_size: (height, width) wanted.

    Returns:
        float32 `(N, height, width, 1)`; whole numbers if `images` are uint8, else not
        rounded. Zeros where H or W is 0.
    """
    images = images[..., 0]
    shape = tf.shape(images)
    resized = tf.case(
        [
            (
                tf.reduce_all(shape[1:] == image_size),
                lambda: tf.cast(images, tf.float32),
            ),
            (
                tf.reduce_any(shape == 0),
                lambda: tf.zeros([shape[0], *image_size], tf.float32),
            ),
        ],
        default=lambda: _resize(images, image_size),
    )
    return tf.ensure_shape(resized, (None, *image_size))[..., None]


def _resize(images: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    shrunk_size = tf.minimum(tf.shape(images)[1:], image_size)
    shrunk = _average(images, shrunk_size)
    return tf.cond(
        tf.reduce_all(shrunk_size == image_size),
        lambda: shrunk,
        lambda: _interpolate(shrunk, image_size, images.dtype == tf.uint8),
    )


def _average(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Shrink `(N, H, W)`, any side or none, as `cv2.INTER_AREA` does."""
    # What is averaged is put first, so that whole rows are copied and added.
    columns = tf.transpose(images, (2, 0, 1))
    factors = [_divide(tf.shape(images)[axis + 1], size[axis]) for axis in (0, 1)]
    blocks = tf.stack(factors)
    is_whole = tf.reduce_all(tf.abs(blocks - tf.round(blocks)) < np.finfo(float).eps)
    columns = _add_covered(columns, size[1], is_whole)
    rows = _add_covered(tf.transpose(columns, (2, 1, 0)), size[0], is_whole)
    average = tf.transpose(rows, (1, 0, 2))
    area = tf.cast(tf.reduce_prod(tf.round(blocks)), tf.float32)
    average *= tf.where(is_whole, 1 / area, 1.0)
    if images.dtype != tf.uint8:
        return average
    # Halves go to the even number, but up in blocks of 2 x 2.
    halves_up = is_whole & tf.reduce_all(tf.round(blocks) == 2)
    return tf.where(halves_up, tf.floor(average + 0.5), tf.round(average))


def _add_covered(pixels: tf.Tensor, size: tf.Tensor, is_whole: tf.Tensor) -> tf.Tensor:
    """Sum along axis 0, for each of `size` cells, the pixels that the cell covers.

    They are weighted with the part of the cell that they cover, or with 1 if cells hold
    whole pixels only.
    """
    shape = tf.shape(pixels)
    factor = _divide(shape[0], size)
    start = tf.cast(tf.range(size), tf.float64) * factor
    end = start + factor
    cell = tf.minimum(factor, tf.cast(shape[0], tf.float64) - start)
    last = tf.minimum(tf.floor(end), tf.cast(shape[0] - 1, tf.float64))
    first = tf.minimum(tf.math.ceil(start), last)  # that is covered from its border on

    ahead = first - start  # covered of the pixel in front of `first`
    rest = tf.minimum(tf.minimum(end - last, 1), cell)  # covered of `last`

    def add(step, total):
        place = first + tf.cast(step, tf.float64)
        cover = tf.where(place <= last, rest, 0)
        cover = tf.where(place >= last, cover, 1)
        cover = tf.where(place < first, ahead, cover)
        weight = tf.where(cover > _LEAST_COVER, cover / cell, 0)
        weight = tf.cast(tf.where(is_whole, tf.math.ceil(weight), weight), tf.float32)
        index = tf.clip_by_value(tf.cast(place, tf.int32), 0, shape[0] - 1)
        values = tf.cast(tf.gather(pixels, index), tf.float32)
        return step + 1, total + values * weight[:, None, None]

    covered = last - first + tf.where(rest > _LEAST_COVER, tf.ones_like(rest), 0)
    steps = tf.cast(tf.reduce_max(covered), tf.int32)
    step = tf.where(tf.reduce_any(ahead > _LEAST_COVER), -1, 0)
    total = tf.zeros([size, shape[1], shape[2]], tf.float32)
    return tf.while_loop(lambda step, total: step < steps, add, (step, total))[1]


def _interpolate(images: tf.Tensor, size: tuple[int, int], is_bytes: bool) -> tf.Tensor:
    """Enlarge float32 `(N, H, W)`, any side or none, as `cv2.INTER_LINEAR` does."""
    height, width = tf.unstack(tf.shape(images)[1:])
    left, share = _find_neighbours(width, size[1])
    # At the border there is no second neighbour. OpenCV takes that into account for
    # columns only; for rows it adds two parts of the same, each rounded down.
    share = tf.where((left >= 0) & (left < width - 1), share, 0)
    near, far = _weigh(share, is_bytes)
    if is_bytes:
        images = tf.cast(images, tf.int32)
    columns = near * tf.gather(images, tf.clip_by_value(left, 0, width - 1), axis=2)
    columns += far * tf.gather(images, tf.minimum(left + 1, width - 1), axis=2)

    top, share = _find_neighbours(height, size[0])
    near, far = (weight[:, None] for weight in _weigh(share, is_bytes))
    upper = tf.gather(columns, tf.clip_by_value(top, 0, height - 1), axis=1)
    lower = tf.gather(columns, tf.minimum(top + 1, height - 1), axis=1)
    if not is_bytes:
        return near * upper + far * lower
    # 22 bits behind the point: 4 and 16 are cut off, 2 are rounded.
    parts = [
        _shift_right(weight * _shift_right(row, 4), 16)
        for weight, row in ((near, upper), (far, lower))
    ]
    return tf.cast(_shift_right(parts[0] + parts[1] + 2, 2), tf.float32)


def _find_neighbours(from_size: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the place in front of each, int32, and how far behind it lies, float32."""
    places = (tf.range(size, dtype=tf.float64) + 0.5) * _divide(from_size, size) - 0.5
    places = tf.cast(places, tf.float32)
    front = tf.floor(places)
    return tf.cast(front, tf.int32), places - front


def _weigh(share: tf.Tensor, is_bytes: bool) -> tuple[tf.Tensor, tf.Tensor]:
    weights = 1 - share, share
    if not is_bytes:
        return weights
    return tuple(tf.cast(tf.round(weight * _UNIT), tf.int32) for weight in weights)


def _shift_right(values: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.right_shift(values, tf.constant(bits, values.dtype))


def _divide(from_size: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
    """Return the factor between two sizes, rounded as OpenCV does."""
    return 1 / (tf.cast(size, tf.float64) / tf.cast(from_size, tf.float64))
