"""Random changes of training images that leave a chest what it is."""

import math
from dataclasses import dataclass

import tensorflow as tf

from keras_mscam.configs.schema import AugmentationConfig
from keras_mscam.data.order import Plan


def augment_batches(
    batches: tf.data.Dataset,
    plan: Plan,
    config: AugmentationConfig,
    image_size: tuple[int, int],
) -> tf.data.Dataset:
    """Change the images of a host's part of every batch of a plan; see `augment`.

    What is drawn for an image is a function of the seed, the number of its batch and
    its place in that, the same for any number of hosts and any first step.
    """

    def change(number, batch):
        images, labels = batch
        seed = (plan.seed, -1 - number)  # below 0, where no key of an order is
        draws = draw(config, plan.batch_size, seed, plan.own)
        return augment(images, draws, image_size), labels

    numbers = tf.data.Dataset.range(plan.first, plan.end)
    return tf.data.Dataset.zip(numbers, batches).map(
        change, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


@dataclass(frozen=True)
class Draws:
    """What was drawn for each image of a batch."""

    rotation: tf.Tensor  # float64 `(batch,)`, radians, clockwise
    # float64 `(batch, 2)`, down and right, fractions of height and width
    shift: tf.Tensor
    scale: tf.Tensor  # float64 `(batch,)`, above 0
    flip: tf.Tensor  # bool `(batch,)`
    brightness: tf.Tensor  # float32 `(batch,)`, grey levels to add
    contrast: tf.Tensor  # float32 `(batch,)`, factor of the distance from the mean
    noise: tf.Tensor  # float32 `(batch,)`, standard deviation in grey levels
    noise_seeds: tf.Tensor  # int64 `(batch, 2)`


def draw(
    config: AugmentationConfig,
    count: int,
    seed: tuple[int, tf.Tensor],
    own: slice = slice(None),
) -> Draws:
    """Draw changes for the images of a batch, and return the part `own` of them.

    Rotation, shift, brightness and contrast are uniform up to the given size, either
    way; the logarithm of the scale is uniform up to that of `1 + zoom`, either way; the
    standard deviation of the noise is uniform from 0; a flip has probability one half.
    Two integers are the seed.
    """
    uniform = tf.random.stateless_uniform([count, 8], seed, dtype=tf.float64)[own]
    either_way = 2 * uniform - 1
    small = tf.cast(either_way, tf.float32)
    return Draws(
        rotation=either_way[:, 0] * math.radians(config.rotation),
        shift=either_way[:, 1:3] * config.shift,
        scale=tf.exp(either_way[:, 3] * math.log1p(config.zoom)),
        flip=(uniform[:, 4] < 0.5) & config.flip,
        brightness=small[:, 5] * config.brightness,
        contrast=1 + small[:, 6] * config.contrast,
        noise=tf.cast(uniform[:, 7], tf.float32) * config.noise,
        noise_seeds=tf.random.stateless_uniform(
            [count, 2], seed, minval=None, maxval=None, dtype=tf.int64
        )[own],
    )


def augment(images: tf.Tensor, draws: Draws, image_size: tuple[int, int]) -> tf.Tensor:
    """Change uint8 images `(batch, height, width, 1)` as was drawn for each.

    The same transform scales them to `image_size`, (height, width).
    """
    matrices = build_matrices(draws, tuple(images.shape[1:3]), image_size)
    changed = adjust_grey(warp(images, matrices, image_size), draws)
    return tf.cast(tf.clip_by_value(tf.round(changed), 0, 255), tf.uint8)


def adjust_grey(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Change contrast and brightness and add noise; float32 grey levels, not clipped.

    `mean + contrast * (image - mean) + brightness + noise * N(0, 1)`, the mean being
    that of the image, so that contrast doesn't change how bright it is.
    """
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)

    def spread(values):
        return values[:, None, None, None]

    def draw_noise():
        # An image's noise has a seed of its own, so that no host draws another's.
        return tf.map_fn(
            lambda seed: tf.random.stateless_normal(tf.shape(images)[1:], seed),
            draws.noise_seeds,
            fn_output_signature=tf.float32,
        )

    changed = mean + spread(draws.contrast) * (images - mean)
    changed += spread(draws.brightness)
    return tf.cond(
        tf.reduce_any(draws.noise > 0),
        lambda: changed + spread(draws.noise) * draw_noise(),
        lambda: changed,
    )


def build_matrices(
    draws: Draws, input_size: tuple[int, int], image_size: tuple[int, int]
) -> tf.Tensor:
    """Return float64 matrices `(batch, 3, 3)` of points `(x, y, 1)` in pixels.

    They flip, scale and rotate about the centre, then shift, see `Draws`. Last of all
    the frame is stretched from `input_size` to `image_size`, (height, width) each: an
    angle is one in pixels of the input, and the result that of resizing the turned
    image.
    """
    height, width = input_size
    cosine = draws.scale * tf.cos(draws.rotation)
    sine = draws.scale * tf.sin(draws.rotation)
    mirror = tf.where(draws.flip, tf.constant(-1, tf.float64), 1)
    rows = (cosine * mirror, -sine), (sine * mirror, cosine)
    turn = tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)
    centre = tf.constant([width / 2, height / 2], tf.float64)
    moved = (
        centre + draws.shift[:, ::-1] * (width, height) - tf.linalg.matvec(turn, centre)
    )
    stretch = tf.constant([image_size[1] / width, image_size[0] / height], tf.float64)
    upper = tf.concat([turn, moved[..., None]], axis=-1) * stretch[:, None]
    last = tf.broadcast_to(tf.constant([[0, 0, 1]], tf.float64), (len(upper), 1, 3))
    return tf.concat([upper, last], axis=1)


def warp(
    images: tf.Tensor, matrices: tf.Tensor, image_size: tuple[int, int]
) -> tf.Tensor:
    """Move images by their matrices, with bilinear interpolation, to float32.

    What comes in from outside is black, as it is beside the collimated field of an
    X-ray. Reflection would draw a second lesion or marker that no box and no label
    knows of, and repeating the border streaks that look like tubes. `image_size` is at
    least half the size of the images: a smaller one would leave out pixels.
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
