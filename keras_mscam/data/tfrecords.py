"""The schema of the TFRecords: written and read in one place."""

from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from keras_mscam.data.records import Record
from keras_mscam.errors import UserError

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


def serialize(
    record: Record,
    image: bytes,
    original_size: tuple[int, int],
    stored_size: tuple[int, int],
    pathologies: tuple[str, ...],
) -> bytes:
    """Return one record as a serialized `tf.train.Example` of `SCHEMA`.

    Args:
        record: what is known of the image.
        image: its pixels at the stored size, encoded.
        original_size: (height, width) before resizing, the frame of the boxes.
        stored_size: (height, width) of `image`.
        pathologies: the data set's, in the order of `record.labels`.

    Returns:
        Bytes, the same for the same arguments.
    """
    features = {
        "image": _bytes(image),
        "original_size": _integers(original_size),
        "stored_size": _integers(stored_size),
        "name": _bytes(record.name.encode()),
        "patient": _bytes(record.patient.encode()),
        "view": _bytes(record.view.encode()),
        "sex": _bytes(record.sex.encode()),
        "age": _floats([float("nan") if record.age is None else record.age]),
        "labels": _floats(record.labels),
        "box_xyxy": _floats([side for box in record.boxes for side in box.xyxy]),
        "box_pathology": _integers(
            [pathologies.index(box.pathology) for box in record.boxes]
        ),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def write_shard(path: Path, serialized: Iterable[bytes]) -> None:
    """Write serialized records to one TFRecord file.

    Raises:
        UserError: the file can't be written, say because the disk is full.
    """
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in serialized:
                writer.write(record)
    except tf.errors.OpError as error:
        raise UserError(f"{path} can't be written: {error.message}") from error


def frame_length(serialized: bytes) -> int:
    """Return the bytes a record takes in a file: its length, itself, two checksums."""
    return 8 + 4 + len(serialized) + 4


def parse(
    serialized: tf.Tensor, keys: Iterable[str] = tuple(SCHEMA)
) -> dict[str, tf.Tensor]:
    """Parse some features of one record, its image still encoded.

    Args:
        serialized: string scalar.
        keys: of `SCHEMA`; the others cost nothing.

    Returns:
        Tensors by their key.
    """
    return tf.io.parse_single_example(serialized, {key: SCHEMA[key] for key in keys})


def decode_image(png: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    """Decode the image of a record to uint8 `(height, width, 1)`."""
    return tf.ensure_shape(tf.io.decode_png(png, channels=1), (*image_size, 1))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _floats(values: Iterable[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _integers(values: Iterable[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
