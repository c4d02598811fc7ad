"""Batches for training and evaluation, from prepared records, by `tf.data`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_mscam.data.manifest import Manifest
from keras_mscam.data.records import Box
from keras_mscam.data.tfrecords import decode_image, parse
from keras_mscam.errors import UserError

#: A training split up to this size is held in memory, decoded.
MEMORY_BYTES = 2**31
#: Records that are shuffled among each other where the split is larger than that.
BLOCK_RECORDS = 8192


@dataclass(frozen=True)
class Example:
    """One X-ray of a prepared set with everything that is known of it.

    Args:
        name: file name.
        patient: identifier of the person.
        image: uint8 `(height, width)`, of the stored size.
        labels: float32 `(pathologies,)`: 1, 0 or NaN (unknown).
        original_size: (height, width) in pixels, the frame of the boxes.
        boxes: boxes in the original image frame.
    """

    name: str
    patient: str
    image: np.ndarray
    labels: np.ndarray
    original_size: tuple[int, int]
    boxes: tuple[Box, ...]


def make_dataset(directory: Path, split: str, *, batch_size: int) -> tf.data.Dataset:
    """Make one pass over a split, in the order of its records.

    Args:
        directory: prepared records.
        split: `train`, `validation` or `test`.
        batch_size: images a batch; the last one may have fewer.

    Returns:
        Pairs of images, uint8 `(batch, height, width, 1)`, and labels, float32
        `(batch, pathologies)`, NaN where unknown.

    Raises:
        UserError: these aren't prepared records, or a shard is missing.

    Example:
        >>> for images, labels in make_dataset("records", "test", batch_size=32):
        ...     probabilities = model(images)
    """
    manifest = Manifest.read(directory)
    paths = [str(path) for path in manifest.shard_paths(directory, split)]
    batches = _decode(tf.data.TFRecordDataset(paths), manifest).batch(batch_size)
    count = -(-manifest.splits[split].images // batch_size)
    batches = batches.apply(tf.data.experimental.assert_cardinality(count))
    return batches.prefetch(tf.data.AUTOTUNE)


def make_training_dataset(
    directory: Path, *, batch_size: int, seed: int, epochs: int, first_epoch: int = 0
) -> tf.data.Dataset:
    """Make shuffled batches of the training split, one epoch behind the other.

    The order within an epoch is a function of `(seed, epoch)` alone, not of epochs
    before it nor of TensorFlow's global seed: a run resumed at an epoch sees what it
    would have seen uninterrupted. An epoch has each image at most once, and those
    left over from its last whole batch not at all.

    A split of up to 2 GiB is decoded once, into memory, and permuted as a whole.
    A larger one is read anew each epoch: its shards in a new order, and permuted
    within blocks of 8192 records as they come.

    Args:
        directory: prepared records.
        batch_size: images in every batch.
        seed: of the order, any integer.
        epochs: where to end: the number of the last epoch, plus 1.
        first_epoch: where to begin, counted from 0.

    Returns:
        Pairs as those of `make_dataset`: `images // batch_size` for each of the
        `epochs - first_epoch` epochs.

    Raises:
        UserError: these aren't prepared records, a shard is missing, or there are
            fewer images than one batch holds.
    """
    manifest = Manifest.read(directory)
    images = manifest.splits["train"].images
    if images < batch_size:
        raise UserError(
            f"The training split in {directory} has {images} images, fewer than a "
            f"batch of {batch_size}; choose a smaller batch."
        )
    steps = images // batch_size
    paths = [str(path) for path in manifest.shard_paths(directory, "train")]
    epoch_range = tf.data.Dataset.range(first_epoch, epochs)
    if images * np.prod(manifest.image_size) <= MEMORY_BYTES:
        batches = _permute_in_memory(paths, manifest, seed, batch_size, epoch_range)
    else:
        in_blocks = _shuffle_in_blocks(paths, seed)
        # Cut to whole batches here, so that no batch spans two epochs.
        records = epoch_range.flat_map(
            lambda epoch: in_blocks(epoch).take(steps * batch_size)
        )
        batches = _decode(records, manifest).batch(batch_size, drop_remainder=True)
    count = steps * max(epochs - first_epoch, 0)
    batches = batches.apply(tf.data.experimental.assert_cardinality(count))
    return batches.prefetch(tf.data.AUTOTUNE)


def read_examples(directory: Path, split: str) -> Iterator[Example]:
    """Give every X-ray of a split with all that is known of it, in order.

    Args:
        directory: prepared records.
        split: `train`, `validation` or `test`.

    Yields:
        One example after the other; only a few are in memory.

    Raises:
        UserError: these aren't prepared records, or a shard is missing.

    Example:
        >>> boxed = [e for e in read_examples("records", "test") if e.boxes]
    """
    manifest = Manifest.read(directory)
    paths = [str(path) for path in manifest.shard_paths(directory, split)]

    def decode(serialized):
        features = parse(serialized)
        image = decode_image(features["image"], manifest.image_size)
        return {**features, "image": image}

    examples = tf.data.TFRecordDataset(paths).map(decode).prefetch(16)
    for features in examples.as_numpy_iterator():
        yield Example(
            name=features["name"].decode(),
            patient=features["patient"].decode(),
            image=features["image"][..., 0],
            labels=features["labels"],
            original_size=tuple(features["original_size"].tolist()),
            boxes=_read_boxes(features, manifest),
        )


def _read_boxes(features: dict, manifest: Manifest) -> tuple[Box, ...]:
    xyxy = features["box_xyxy"].reshape(-1, 4).tolist()
    return tuple(
        Box(manifest.pathologies[position], tuple(sides))
        for position, sides in zip(features["box_pathology"], xyxy, strict=True)
    )


def _decode(records: tf.data.Dataset, manifest: Manifest) -> tf.data.Dataset:
    """Turn serialized records into pairs of image and labels, in the same order."""
    shape = (len(manifest.pathologies),)

    def decode(serialized):
        features = parse(serialized, ("image", "labels"))
        image = decode_image(features["image"], manifest.image_size)
        return image, tf.ensure_shape(features["labels"], shape)

    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _permute_in_memory(
    paths: list[str],
    manifest: Manifest,
    seed: int,
    batch_size: int,
    epochs: tf.data.Dataset,
) -> tf.data.Dataset:
    """Give batches of a permutation of all images for each epoch."""
    decoded = _decode(tf.data.TFRecordDataset(paths), manifest)
    images, labels = _load(decoded, manifest)

    def permute(epoch):
        order = _permutation(len(images), seed, epoch)
        positions = tf.data.Dataset.from_tensor_slices(order)
        return positions.batch(batch_size, drop_remainder=True)

    def gather(positions):
        # Tensors that a dataset refers to are copied with its graph, arrays are not.
        batch = tf.numpy_function(
            lambda p: (images[p], labels[p]), [positions], (tf.uint8, tf.float32)
        )
        shapes = (batch_size, *images.shape[1:]), (batch_size, *labels.shape[1:])
        return tuple(map(tf.ensure_shape, batch, shapes))

    batches = epochs.flat_map(permute)
    return batches.map(gather, num_parallel_calls=2, deterministic=True)


def _load(
    decoded: tf.data.Dataset, manifest: Manifest
) -> tuple[np.ndarray, np.ndarray]:
    """Return all training images and labels, with few of them in memory twice."""
    count = manifest.splits["train"].images
    images = np.empty((count, *manifest.image_size, 1), np.uint8)
    labels = np.empty((count, len(manifest.pathologies)), np.float32)
    start = 0
    for some_images, some_labels in decoded.batch(64).as_numpy_iterator():
        stop = start + len(some_images)
        images[start:stop], labels[start:stop] = some_images, some_labels
        start = stop
    return images, labels


def _shuffle_in_blocks(
    paths: list[str], seed: int
) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """Return a function of the epoch that gives its serialized records, shuffled."""

    def shuffle(epoch):
        first_key = epoch * 2**32  # room for the numbers of an epoch's blocks
        shards = tf.gather(paths, _permutation(len(paths), seed, first_key))

        def permute(number, block):
            order = _permutation(tf.size(block), seed, first_key + 1 + number)
            return tf.gather(block, order)

        blocks = tf.data.TFRecordDataset(shards).batch(BLOCK_RECORDS).enumerate()
        return blocks.map(permute).prefetch(1).unbatch()

    return shuffle


def _permutation(count: tf.Tensor | int, seed: int, key: tf.Tensor) -> tf.Tensor:
    """Return the numbers below `count` in an order that (seed, key) determine.

    `Dataset.shuffle` would also depend on the seed that a program sets globally.
    """
    keys = tf.random.stateless_uniform(
        [count], (seed, key), minval=None, maxval=None, dtype=tf.int64
    )
    return tf.argsort(keys, stable=True)
