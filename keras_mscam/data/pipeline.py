"""Batches for training and evaluation, from prepared records, by `tf.data`."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_mscam.data.manifest import Manifest
from keras_mscam.data.records import Box
from keras_mscam.data.tfrecords import decode_image, parse

#: Decoded splits up to this size stay in memory; larger ones are read every epoch.
CACHE_BYTES = 2**31
#: Images that are shuffled at a time where the split doesn't fit in memory.
SHUFFLE_IMAGES = 8192


@dataclass(frozen=True)
class Example:
    """One X-ray of a prepared set.

    Args:
        name: file name.
        patient: identifier.
        image: `uint8` array `(height, width)` of the stored size.
        labels: `float32` array, 1, 0 or NaN for each pathology.
        original_size: `(height, width)`, the frame of the boxes.
        boxes: half-open pixels of the original frame.
    """

    name: str
    patient: str
    image: np.ndarray
    labels: np.ndarray
    original_size: tuple[int, int]
    boxes: tuple[Box, ...]


def make_dataset(directory: Path, split: str, *, batch_size: int) -> tf.data.Dataset:
    """Return one pass over a split, in the order of its records.

    Args:
        directory: prepared records.
        split: `train`, `validation` or `test`.
        batch_size: images a batch; the last one may hold fewer.

    Returns:
        Pairs: `uint8` images `(batch, height, width, 1)`, and `float32` labels
        `(batch, pathologies)`, NaN where unknown.

    Raises:
        UserError: no prepared records.
    """
    manifest = Manifest.read(directory)
    paths = [str(Path(directory) / name) for name in manifest.splits[split].shards]
    batches = _decode(tf.data.TFRecordDataset(paths), manifest).batch(batch_size)
    count = -(-manifest.splits[split].images // batch_size)
    # Known lengths let Keras see the end coming instead of warning of it.
    batches = batches.apply(tf.data.experimental.assert_cardinality(count))
    return batches.prefetch(tf.data.AUTOTUNE)


def make_training_dataset(
    directory: Path, *, batch_size: int, seed: int, epochs: int, first_epoch: int = 0
) -> tf.data.Dataset:
    """Return the training split, shuffled, for one epoch behind the other.

    The order within an epoch depends on the seed and on the number of the epoch alone,
    so a run that resumes at an epoch sees what it would have seen. What doesn't fill a
    batch is dropped, other images every epoch.

    Args:
        directory: prepared records.
        batch_size: images a batch.
        seed: of the order.
        epochs: number of the last epoch.
        first_epoch: epochs to leave out at the start.

    Returns:
        Pairs as `make_dataset` gives them, `epochs - first_epoch` times
        `images // batch_size` of them.

    Raises:
        UserError: no prepared records.
    """
    manifest = Manifest.read(directory)
    split = manifest.splits["train"]
    height, width = manifest.image_size
    fits = split.images * height * width <= CACHE_BYTES
    paths = [str(Path(directory) / name) for name in split.shards]
    cached = _decode(tf.data.TFRecordDataset(paths), manifest).cache() if fits else None

    def shuffle(epoch: int) -> tf.data.Dataset:
        rng = np.random.default_rng([seed, epoch])
        buffer_seed = int(rng.integers(2**31))
        images = cached
        if images is None:
            order = [paths[index] for index in rng.permutation(len(paths))]
            images = _decode(tf.data.TFRecordDataset(order), manifest)
        buffer = split.images if fits else SHUFFLE_IMAGES
        images = images.shuffle(buffer, buffer_seed, reshuffle_each_iteration=False)
        return images.batch(batch_size, drop_remainder=True)

    datasets = [shuffle(epoch) for epoch in range(first_epoch, epochs)]
    joined = reduce(lambda a, b: a.concatenate(b), datasets)
    count = len(datasets) * (split.images // batch_size)
    joined = joined.apply(tf.data.experimental.assert_cardinality(count))
    return joined.prefetch(tf.data.AUTOTUNE)


def read_examples(directory: Path, split: str) -> Iterator[Example]:
    """Give every X-ray of a split with all that is known of it, in order.

    Args:
        directory: prepared records.
        split: `train`, `validation` or `test`.

    Yields:
        Examples, decoded one at a time.

    Raises:
        UserError: no prepared records.
    """
    manifest = Manifest.read(directory)
    paths = [str(Path(directory) / name) for name in manifest.splits[split].shards]
    for serialized in tf.data.TFRecordDataset(paths).prefetch(64):
        record = {name: value.numpy() for name, value in parse(serialized).items()}
        boxes = zip(
            record["box_pathology"], record["box_xyxy"].reshape(-1, 4), strict=True
        )
        image = decode_image(record["image"], manifest.image_size)
        yield Example(
            name=record["name"].decode(),
            patient=record["patient"].decode(),
            image=image.numpy()[..., 0],
            labels=record["labels"],
            original_size=tuple(int(side) for side in record["original_size"]),
            boxes=tuple(
                Box(manifest.pathologies[index], tuple(map(float, xyxy)))
                for index, xyxy in boxes
            ),
        )


def _decode(records: tf.data.Dataset, manifest: Manifest) -> tf.data.Dataset:
    def decode(serialized):
        record = parse(serialized)
        labels = tf.ensure_shape(record["labels"], (len(manifest.pathologies),))
        return decode_image(record["image"], manifest.image_size), labels

    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
