"""The schema of the TFRecords, written and read in one place."""

from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from keras_mscam.data.records import Record

#: Every feature of a record. `N` boxes are a flat list of `4 N` floats, half-open
#: pixels of the original frame, and `N` positions in the manifest's pathologies.
SCHEMA = {
    "image": tf.io.FixedLenFeature([], tf.string),  # PNG, 8-bit grey, stored size
    "name": tf.io.FixedLenFeature([], tf.string),
    "patient": tf.io.FixedLenFeature([], tf.string),
    "view": tf.io.FixedLenFeature([], tf.string),
    "sex": tf.io.FixedLenFeature([], tf.string),
    "age": tf.io.FixedLenFeature([], tf.float32),  # years, NaN where unknown
    "original_size": tf.io.FixedLenFeature([2], tf.int64),  # height, width
    "labels": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
    "box_xyxy": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
    "box_pathology": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
}


def serialize(
    record: Record,
    png: bytes,
    original_size: tuple[int, int],
    pathologies: tuple[str, ...],
) -> bytes:
    """Return one record as a serialized `tf.train.Example` of `SCHEMA`."""
    features = {
        "image": _bytes(png),
        "name": _bytes(record.name.encode()),
        "patient": _bytes(record.patient.encode()),
        "view": _bytes(record.view.encode()),
        "sex": _bytes(record.sex.encode()),
        "age": _floats([float("nan") if record.age is None else record.age]),
        "original_size": _integers(original_size),
        "labels": _floats(record.labels),
        "box_xyxy": _floats([value for box in record.boxes for value in box.xyxy]),
        "box_pathology": _integers(
            [pathologies.index(box.pathology) for box in record.boxes]
        ),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def write_shard(path: Path, serialized: Iterable[bytes]) -> None:
    """Write serialized records to one TFRecord file."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in serialized:
            writer.write(record)


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parse one record, its image still encoded."""
    return tf.io.parse_single_example(serialized, SCHEMA)


def decode_image(png: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    """Decode the image of a record to `uint8`, `(height, width, 1)`."""
    return tf.ensure_shape(tf.io.decode_png(png, channels=1), (*image_size, 1))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _floats(values: Iterable[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _integers(values: Iterable[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
