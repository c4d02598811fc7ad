"""From stored records to images of one size and labels."""

import tensorflow as tf

from keras_mscam.data.manifest import Manifest
from keras_mscam.data.tfrecords import decode_image, parse
from keras_mscam.errors import UserError


def choose_size(
    manifest: Manifest, image_size: tuple[int, int] | None
) -> tuple[int, int]:
    """Return the (height, width) in pixels that images are to have.

    Args:
        manifest: of the prepared records.
        image_size: (height, width) asked for; `None` for that of the records.

    Raises:
        UserError: every image was stored at its own size and none is asked for.
    """
    size = image_size or manifest.image_size
    if size is None:
        raise UserError(
            "The images of these records have sizes of their own; give an image_size "
            "to bring them to."
        )
    return tuple(size)


def choose_warped_size(
    manifest: Manifest, image_size: tuple[int, int]
) -> tuple[int, int]:
    """Return the (height, width) at which augmentation is to take images over.

    That they are stored at if the same transform can scale them, since one
    interpolation keeps more than two. But beyond a factor of 2 a bilinear one leaves
    out pixels, and where images grow it fades out at the border: then `image_size`.

    Args:
        manifest: of the prepared records.
        image_size: (height, width) behind the augmentation, in pixels.
    """
    stored = manifest.image_size or (0, 0)
    sides = zip(image_size, stored, strict=True)
    return tuple(stored if all(a <= b <= 2 * a for a, b in sides) else image_size)


def decode(
    records: tf.data.Dataset, manifest: Manifest, image_size: tuple[int, int]
) -> tf.data.Dataset:
    """Turn serialized records into pairs of image and labels, in the same order.

    Args:
        records: string scalars.
        manifest: of the prepared records.
        image_size: (height, width) of the images to give, in pixels.

    Returns:
        Pairs of uint8 `(height, width, 1)` and float32 `(pathologies,)`.
    """
    shape = (len(manifest.pathologies),)

    def decode_record(serialized):
        features = parse(serialized, ("image", "labels"))
        image = decode_to_size(features["image"], manifest.image_size, image_size)
        return image, tf.ensure_shape(features["labels"], shape)

    return records.map(
        decode_record, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def decode_to_size(
    encoded: tf.Tensor,
    stored_size: tuple[int, int] | None,
    image_size: tuple[int, int],
) -> tf.Tensor:
    """Decode the image of a record and resize it if its size is another.

    Args:
        encoded: string scalar, a grey PNG or JPEG.
        stored_size: (height, width) of all images, `None` where each has its own.
        image_size: (height, width) wanted.

    Returns:
        uint8 `(height, width, 1)`.
    """
    if stored_size is None:
        image = tf.io.decode_image(encoded, channels=1, expand_animations=False)
    else:
        image = decode_image(encoded, stored_size)
        if tuple(stored_size) == tuple(image_size):
            return image
    return _resize(image, image_size)


def _resize(image: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    # `images.resize_area` in TensorFlow. Its "area" weighs pixels by what an output
    # pixel covers of them, as cv2.INTER_AREA does; results differ by 1 grey level at
    # most, from rounding. Along a side that grows, it would repeat pixels instead of
    # interpolating, hence the second step, which copies where nothing grows.
    shrunk = tf.minimum(tf.shape(image)[:2], image_size)
    image = tf.image.resize(image, shrunk, method="area")
    image = tf.image.resize(image, image_size, method="bilinear")
    return tf.cast(tf.round(image), tf.uint8)
