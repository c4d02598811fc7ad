"""Batches for training and evaluation, from prepared records, by `tf.data`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from keras_mscam.configs.schema import AugmentationConfig
from keras_mscam.data.augmentation import augment_batches
from keras_mscam.data.cache import Cache, cache_in_memory, cache_on_disk
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.order import Plan, stream
from keras_mscam.data.records import Box
from keras_mscam.data.tfrecords import (
    choose_size,
    choose_warped_size,
    decode,
    decode_to_size,
    parse,
)
from keras_mscam.errors import UserError

#: A training split up to this size is held in memory, decoded.
MEMORY_BYTES = 2**31
#: Where decoded training images can be held, see `make_training_dataset`.
CACHES = ("auto", "memory", "disk", "none")


@dataclass(frozen=True)
class Example:
    """One X-ray of a prepared set with everything that is known of it."""

    name: str
    patient: str  # identifier of the person
    # uint8 `(height, width)`, of the stored size or the one asked for
    image: np.ndarray
    labels: np.ndarray  # float32 `(pathologies,)`: 1, 0 or NaN (unknown)
    original_size: tuple[int, int]  # (height, width) in pixels, the frame of the boxes
    boxes: tuple[Box, ...]  # boxes in the original image frame


def make_dataset(
    directory: Path,
    split: str,
    *,
    batch_size: int,
    image_size: tuple[int, int] | None = None,
    host: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Make one pass over a split, in the order of its records.

    Args:
        directory: prepared records.
        split: `train`, `validation` or `test`.
        batch_size: images per batch; the last one may have fewer.
        image_size: (height, width) to resize images to, by area averaging where they
            shrink; `None` for the size they are stored at.
        host: as of `make_training_dataset`. The last batch then is filled up by images
            whose labels are all unknown.

    Returns:
        Pairs of images, uint8 `(batch, height, width, 1)`, and labels, float32
        `(batch, pathologies)`, NaN where unknown.

    Raises:
        UserError: these aren't prepared records, a shard is missing, or images are
            stored at sizes of their own and no `image_size` is given.
    """
    manifest = Manifest.read(directory)
    size = choose_size(manifest, image_size)
    records = _read_records(directory, manifest, split)
    images = manifest.splits[split].images
    count = -(-images // batch_size)
    if host is None:
        batches = decode(records, manifest, size).batch(batch_size)
    else:
        batches = _share_batches(records, images, batch_size, host, manifest, size)
    batches = batches.apply(tf.data.experimental.assert_cardinality(count))
    return batches.prefetch(tf.data.AUTOTUNE)


def _share_batches(
    records: tf.data.Dataset, images: int, batch_size: int, host, manifest, size
) -> tf.data.Dataset:
    """Give a host its part of whole batches, the last one filled up."""
    index, hosts = host
    part = batch_size // hosts
    filled = records.concatenate(records.take(1).repeat(-images % batch_size))
    own = filled.enumerate().filter(lambda i, _: i % batch_size // part == index)
    numbers, records = own.map(lambda i, _: i), own.map(lambda _, record: record)

    def forget(number, example):
        image, labels = example
        return image, tf.where(number < images, labels, np.nan)

    decoded = tf.data.Dataset.zip(numbers, decode(records, manifest, size))
    return decoded.map(forget).batch(part, drop_remainder=True)


def make_training_dataset(
    directory: Path,
    *,
    batch_size: int,
    seed: int,
    epochs: int,
    first_epoch: int = 0,
    first_step: int = 0,
    image_size: tuple[int, int] | None = None,
    cache: Literal["auto", "memory", "disk", "none"] = "auto",
    cache_folder: Path | None = None,
    balanced: bool = False,
    augmentation: AugmentationConfig | None = None,
    host: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Make shuffled batches of the training split, one epoch behind the other.

    The order within an epoch is a function of `(seed, epoch)` alone, and what is drawn
    for an image one of its place there too: neither depends on what came before nor on
    TensorFlow's global seed. So a run resumed at any step sees what it would have seen
    uninterrupted, and several hosts together see what one would see. An epoch has each
    image at most once, and those left over from its last whole batch not at all.

    Args:
        directory: prepared records.
        batch_size: images in every batch, those of all hosts together.
        seed: of the order and the augmentation, any integer.
        epochs: where to end: the number of the last epoch, plus 1.
        first_epoch, first_step: where to begin, both counted from 0.
        image_size: as in `make_dataset`. Augmentation scales images that are stored up
            to twice as large by its own transform, at the cost of a larger cache.
        cache: where images are held once they are decoded. From `memory` and `disk` the
            split is permuted as a whole. With `none` its shards are read anew each
            epoch, in a new order, and permuted within blocks of up to 8192 records as
            they come. `auto` is `memory` up to 2 GiB of images, else `none`.
        cache_folder: of `disk`; `cache` in the folder of the records by default. What
            is there from an earlier run is used again.
        balanced: draw, for each place of a batch, uniformly one of the pathologies that
            occur or "no finding", then uniformly an image of it. Images then come
            several times an epoch, or not at all. Needs `memory` or `disk`.
        augmentation: random changes; `None` for none.
        host: (index, count) of this process among those that share every batch equally.
            Under JAX these are `(jax.process_index(), jax.process_count())`.

    Returns:
        Pairs as those of `make_dataset`: `images // batch_size` for each of the
        `epochs - first_epoch` epochs, less `first_step`.

    Raises:
        UserError: as `make_dataset`; or there are fewer images than one batch holds,
            the hosts can't share a batch equally, `balanced` comes without a cache, or
            the cache can't be written.
    """
    manifest = Manifest.read(directory)
    count = manifest.splits["train"].images
    plan = Plan(count, batch_size, seed, epochs, first_epoch, first_step, host)
    augmentation = augmentation or AugmentationConfig()
    size, decoded_size, kind = _choose(manifest, image_size, cache, augmentation)
    if balanced and kind == "none":
        raise UserError(
            "Balanced sampling needs all images at hand; choose the cache memory or "
            "disk."
        )
    if kind == "none":
        records = stream(manifest.shard_paths(directory, "train"), plan)
        batches = decode(records, manifest, decoded_size)
        batches = batches.batch(batch_size // host[1], drop_remainder=True)
    else:
        records = _read_records(directory, manifest, "train")
        decoded = decode(records, manifest, decoded_size)
        if kind == "disk":
            folder = Path(cache_folder or Path(directory) / "cache")
            held = cache_on_disk(folder, manifest, decoded_size, decoded)
        else:
            held = cache_in_memory(decoded, count)
        batches = held.give(plan, balanced)
    if augmentation != AugmentationConfig():
        batches = augment_batches(batches, plan, augmentation, size)
    steps = tf.data.experimental.assert_cardinality(plan.end - plan.first)
    return batches.apply(steps).prefetch(tf.data.AUTOTUNE)


def _choose(
    manifest: Manifest,
    image_size: tuple[int, int] | None,
    cache: str,
    augmentation: AugmentationConfig | None,
) -> tuple[tuple[int, int], tuple[int, int], str]:
    """Return the size of images, that at which they are decoded, and their cache."""
    size = decoded_size = choose_size(manifest, image_size)
    if augmentation not in (None, AugmentationConfig()):
        decoded_size = choose_warped_size(manifest, size)
    if cache not in CACHES:
        raise UserError(f"There is no cache {cache!r}, only {', '.join(CACHES)}.")
    if cache == "auto":
        held = manifest.splits["train"].images * math.prod(decoded_size)
        cache = "memory" if held <= MEMORY_BYTES else "none"
    return size, decoded_size, cache


def name_batch(
    directory: Path,
    split: str,
    epoch: int,
    step: int,
    *,
    batch_size: int,
    seed: int,
    image_size: tuple[int, int] | None = None,
    cache: Literal["auto", "memory", "disk", "none"] = "auto",
    balanced: bool = False,
    augmentation: AugmentationConfig | None = None,
) -> list[str]:
    """Return the names of the images of one batch, by epoch and step, both from 0.

    All records are read to find them, which training itself is spared: it doesn't carry
    names along. The split `train` is meant as `make_training_dataset` gives it with the
    same arguments, another as `make_dataset` does.
    """
    manifest = Manifest.read(directory)
    if split != "train":
        records = _read_records(directory, manifest, split).skip(step * batch_size)
        return _read_names(records.take(batch_size))
    count = manifest.splits["train"].images
    plan = Plan(count, batch_size, seed, epoch + 1, epoch, step)
    if _choose(manifest, image_size, cache, augmentation)[-1] == "none":
        records = stream(manifest.shard_paths(directory, "train"), plan)
        return _read_names(records.take(batch_size))
    records = _read_records(directory, manifest, "train")
    labels = records.map(lambda record: parse(record, ("labels",))["labels"])
    names = np.array([name.encode() for name in _read_names(records)])
    held = Cache(names, np.stack([*labels.as_numpy_iterator()]))
    names, _ = next(held.give(plan, balanced).as_numpy_iterator())
    return [name.decode() for name in names]


def read_examples(
    directory: Path,
    split: str,
    *,
    image_size: tuple[int, int] | None = None,
    first: int = 0,
) -> Iterator[Example]:
    """Give every X-ray of a split, from number `first` on, and what is known of it.

    Images are resized as by `make_dataset`, which see for errors; boxes stay in the
    original image frame. Only a few examples are in memory.
    """
    manifest = Manifest.read(directory)
    size = choose_size(manifest, image_size)

    def decode_features(serialized):
        features = parse(serialized)
        image = decode_to_size(features["image"], manifest.image_size, size)
        return {**features, "image": image}

    records = _read_records(directory, manifest, split)
    examples = records.skip(first).map(decode_features).prefetch(16)
    for features in examples.as_numpy_iterator():
        pathologies = [manifest.pathologies[k] for k in features["box_pathology"]]
        xyxy = features["box_xyxy"].reshape(-1, 4)
        yield Example(
            name=features["name"].decode(),
            patient=features["patient"].decode(),
            image=features["image"][..., 0],
            labels=features["labels"],
            original_size=tuple(features["original_size"].tolist()),
            boxes=tuple(
                Box(pathology, (left, top, right, bottom))
                for pathology, (left, top, right, bottom) in zip(
                    pathologies, xyxy.tolist(), strict=True
                )
            ),
        )


def _read_records(directory: Path, manifest: Manifest, split: str) -> tf.data.Dataset:
    paths = manifest.shard_paths(directory, split)
    return tf.data.TFRecordDataset([str(path) for path in paths])


def _read_names(records: tf.data.Dataset) -> list[str]:
    names = records.map(lambda record: parse(record, ("name",))["name"])
    return [name.decode() for name in names.as_numpy_iterator()]
