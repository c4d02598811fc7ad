"""The schema of the TFRecords: written and read in one place."""

import os
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from keras_mscam.data.manifest import Manifest
from keras_mscam.data.records import Record
from keras_mscam.errors import UserError, explain_disk

_TEXT = tf.io.FixedLenFeature([], tf.string)
_SIZE = tf.io.FixedLenFeature([2], tf.int64)
_FLOATS = tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)
_INTEGERS = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
#: Every feature of a `tf.train.Example`. Box k of N, of the pathology at position
#: `box_pathology[k]` of the manifest's pathologies, is `box_xyxy[4 k : 4 k + 4]`.
SCHEMA = {
    "image": _TEXT,  # 8-bit grey PNG, or JPEG where images keep their size
    "original_size": _SIZE,  # height, width in pixels: the frame of the boxes
    "stored_size": _SIZE,  # height, width of the image as it is stored
    "name": _TEXT,  # UTF-8, and so are the next three
    "patient": _TEXT,
    "view": _TEXT,
    "sex": _TEXT,
    "age": tf.io.FixedLenFeature([], tf.float32),  # years, NaN where unknown
    "labels": _FLOATS,  # 1, 0 or NaN (unknown) for each of the manifest's pathologies
    "box_xyxy": _FLOATS,  # 4 N numbers, half-open pixels of the original frame
    "box_pathology": _INTEGERS,  # N positions
}
_LISTS = {tf.string: "bytes_list", tf.float32: "float_list", tf.int64: "int64_list"}


def serialize(
    record: Record,
    image: bytes,
    original_size: tuple[int, int],
    stored_size: tuple[int, int],
    pathologies: tuple[str, ...],
) -> bytes:
    """Return one record as a serialized `tf.train.Example` of `SCHEMA`.

    `image` is encoded, at the stored size. Sizes are (height, width); the original one
    is the frame of the boxes.
    """
    values = {
        "image": [image],
        "original_size": original_size,
        "stored_size": stored_size,
        "name": [record.name.encode()],
        "patient": [record.patient.encode()],
        "view": [record.view.encode()],
        "sex": [record.sex.encode()],
        "age": [float("nan") if record.age is None else record.age],
        "labels": record.labels,
        "box_xyxy": [side for box in record.boxes for side in box.xyxy],
        "box_pathology": [pathologies.index(box.pathology) for box in record.boxes],
    }
    features = {
        key: tf.train.Feature(**{_LISTS[SCHEMA[key].dtype]: {"value": value}})
        for key, value in values.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def write_shard(path: Path, serialized: Iterable[bytes]) -> None:
    """Write serialized records to one TFRecord file.

    Raises:
        DiskError: the file can't be written, say because the disk is full.
    """
    with explain_disk(path), tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for record in serialized:
            writer.write(record)


def frame_length(serialized: bytes) -> int:
    """Return the bytes a record takes in a file: its length, itself, two checksums."""
    return 8 + 4 + len(serialized) + 4


def parse(
    serialized: tf.Tensor, keys: Iterable[str] = tuple(SCHEMA)
) -> dict[str, tf.Tensor]:
    """Parse the features of one record that are asked for, its image still encoded."""
    return tf.io.parse_single_example(serialized, {key: SCHEMA[key] for key in keys})


def choose_size(
    manifest: Manifest, image_size: tuple[int, int] | None
) -> tuple[int, int]:
    """Return the (height, width) in pixels asked for, or that of the records.

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

    That they are stored at if the same transform can scale them to `image_size`, since
    one interpolation keeps more than two. But beyond a factor of 2 a bilinear one
    leaves out pixels, and where images grow it fades out at the border: then
    `image_size`.
    """
    stored = manifest.image_size or (0, 0)
    sides = zip(image_size, stored, strict=True)
    return tuple(stored if all(a <= b <= 2 * a for a, b in sides) else image_size)


def decode(
    records: tf.data.Dataset, manifest: Manifest, image_size: tuple[int, int]
) -> tf.data.Dataset:
    """Turn serialized records into images and labels, in the same order.

    Returns:
        Pairs of uint8 `(height, width, 1)`, of that size, and float32 `(pathologies,)`.
    """
    shape = (len(manifest.pathologies),)

    def decode_record(serialized):
        features = parse(serialized, ("image", "labels"))
        image = decode_to_size(features["image"], manifest.image_size, image_size)
        return image, tf.ensure_shape(features["labels"], shape)

    return records.map(
        decode_record, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def decode_image(png: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    """Decode the image of a record to uint8 `(height, width, 1)`."""
    return tf.ensure_shape(tf.io.decode_png(png, channels=1), (*image_size, 1))


def decode_to_size(
    encoded: tf.Tensor, stored_size: tuple[int, int] | None, image_size: tuple[int, int]
) -> tf.Tensor:
    """Decode the image of a record, and resize it if its size is another.

    `stored_size` is `None` where each has its own; uint8 `(height, width, 1)` is
    returned.
    """
    if stored_size is None:
        image = tf.io.decode_image(encoded, channels=1, expand_animations=False)
    else:
        image = decode_image(encoded, stored_size)
        if tuple(stored_size) == tuple(image_size):
            return image
    return tf.cast(tf.round(resize(image, image_size)), tf.uint8)


def resize(image: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    """Resize one image or several, of a side at least, to float32, not rounded.

    `images.resize.resize_area` in TensorFlow. Its "area" weighs pixels by what an
    output pixel covers of them, as cv2.INTER_AREA does; results differ by 1 grey level
    at most, from rounding. Along a side that grows, it would repeat pixels instead of
    interpolating, hence the second step, which copies where nothing grows.
    """
    shrunk = tf.minimum(tf.shape(image)[-3:-1], image_size)
    image = tf.image.resize(image, shrunk, method="area")
    return tf.image.resize(image, image_size, method="bilinear")
