"""Training batches in an order that their numbers determine, and hosts share.

The records are streamed from their shards, or decoded once and held, in memory or on
disk, to draw any image from.
"""

import fcntl
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_mscam.data.manifest import Manifest
from keras_mscam.errors import UserError, explain_disk
from keras_mscam.files import passing_folder

#: Records that are shuffled among each other at most,
BLOCK_RECORDS = 8192
#: and their bytes, encoded: 65 kB each for as many records, fewer of larger ones.
BLOCK_BYTES = 2**29
#: Shards that are read side by side, and records in a row from one of them. Constants,
#: since the order depends on them.
OPEN_SHARDS, RUN_RECORDS = 8, 16
_IMAGES, _LABELS = "images.npy", "labels.npy"


@dataclass(frozen=True)
class Plan:
    """The batches of a run from some step on, and one host's part of them.

    `images` is the number of the training split's; the others are arguments of
    `make_training_dataset`.

    Raises:
        UserError: there are fewer images than one batch holds, or the hosts can't
            share a batch equally.
    """

    images: int
    batch_size: int
    seed: int
    epochs: int
    first_epoch: int = 0
    first_step: int = 0
    host: tuple[int, int] = (0, 1)

    def __post_init__(self):
        index, hosts = self.host
        if self.images < self.batch_size:
            raise UserError(
                f"The training split has {self.images} images, fewer than a batch of "
                f"{self.batch_size}; choose a smaller batch."
            )
        if not 0 <= index < hosts:
            raise UserError(f"There is no host {index} among {hosts}, counted from 0.")
        if self.batch_size % hosts:
            raise UserError(
                f"{hosts} hosts can't share a batch of {self.batch_size} equally; "
                "choose a multiple of their number."
            )

    @property
    def steps(self) -> int:
        """Whole batches an epoch."""
        return self.images // self.batch_size

    @property
    def first(self) -> int:
        """Number of the first batch, counted from the beginning of epoch 0."""
        return self.first_epoch * self.steps + self.first_step

    @property
    def end(self) -> int:
        """Number of the last batch, plus 1."""
        return max(self.epochs * self.steps, self.first)

    @property
    def own(self) -> slice:
        """The part of every batch that is this host's."""
        index, hosts = self.host
        part = self.batch_size // hosts
        return slice(index * part, (index + 1) * part)

    def epoch_range(self) -> tf.data.Dataset:
        """Return the numbers of the epochs, int64, and of the first step of each."""
        epoch, step = divmod(self.first, self.steps)
        steps = tf.constant([0, step], tf.int64)
        epochs = tf.data.Dataset.range(epoch, self.epochs)
        return epochs.map(lambda e: (e, steps[tf.cast(e == epoch, tf.int32)]))


def permute(count: tf.Tensor | int, seed: int, key: tf.Tensor) -> tf.Tensor:
    """Return int32 `(count,)`: the numbers below `count` in an order drawn for a key.

    The key, an int64 scalar, is the number of this permutation; the seed any integer.
    """
    keys = tf.random.stateless_uniform(
        [count], (seed, key), minval=None, maxval=None, dtype=tf.int64
    )
    return tf.argsort(keys, stable=True)


def group_by_pathology(labels: np.ndarray) -> list[np.ndarray]:
    """Return the positions of images of each pathology that occurs, and of none.

    `labels` are `(images, pathologies)`: 1, 0 or NaN (unknown). An image of several
    pathologies is in several groups.
    """
    positive = labels == 1
    groups = [*positive.T, ~positive.any(axis=1)]
    return [np.flatnonzero(group) for group in groups if group.any()]


def draw_balanced(
    groups: list[np.ndarray], count: int, seed: int, key: tf.Tensor
) -> tf.Tensor:
    """Draw int32 positions `(count,)`, each from a group that is drawn first.

    Both are drawn uniformly, with replacement, from groups of `group_by_pathology`.
    """
    sizes = np.array([len(group) for group in groups])
    starts = np.cumsum(sizes) - sizes
    uniform = tf.random.stateless_uniform([count, 2], (seed, key), dtype=tf.float64)
    group = tf.cast(uniform[:, 0] * len(groups), tf.int32)
    size = tf.gather(tf.constant(sizes, tf.float64), group)
    member = tf.cast(uniform[:, 1] * size, tf.int32)
    members = tf.constant(np.concatenate(groups), tf.int32)
    return tf.gather(members, tf.gather(tf.constant(starts, tf.int32), group) + member)


def stream(paths: list[Path], plan: Plan) -> tf.data.Dataset:
    """Give the serialized records of a host's part of every batch, one after the other.

    Every epoch reads the shards in a new order, eight side by side, and permutes their
    records within blocks of 8192 (or 512 MiB) as they come. Records of other hosts, and
    of steps before the first, are read but not given.
    """
    record_bytes = sum(path.stat().st_size for path in paths) / plan.images
    block = max(1, min(BLOCK_RECORDS, int(BLOCK_BYTES / record_bytes)))

    def read_epoch(epoch, step):
        records = _shuffle(list(map(str, paths)), block, plan.seed, epoch)
        batches = records.batch(plan.batch_size, drop_remainder=True)
        return batches.skip(step).map(lambda batch: batch[plan.own]).unbatch()

    return plan.epoch_range().flat_map(read_epoch)


def _shuffle(
    paths: list[str], block: int, seed: int, epoch: tf.Tensor
) -> tf.data.Dataset:
    """Give the serialized records of one epoch."""
    first_key = epoch * 2**32  # room for the numbers of an epoch's blocks
    shards = tf.gather(paths, permute(len(paths), seed, first_key))
    records = tf.data.Dataset.from_tensor_slices(shards).interleave(
        tf.data.TFRecordDataset,
        cycle_length=OPEN_SHARDS,
        block_length=RUN_RECORDS,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )

    def permute_block(number, records):
        order = permute(tf.size(records), seed, first_key + 1 + number)
        return tf.gather(records, order)

    blocks = records.batch(block).enumerate().map(permute_block)
    return blocks.prefetch(1).unbatch()


@dataclass(frozen=True)
class Cache:
    """All images of a split, and their labels, in the order of the records."""

    # uint8 `(images, height, width, 1)`, in memory or mapped from a file; or bytes
    # `(images,)`, the names, to know which images a batch has
    images: np.ndarray
    labels: np.ndarray  # float32 `(images, pathologies)`: 1, 0 or NaN (unknown)

    def give(self, plan: Plan, balanced: bool) -> tf.data.Dataset:
        """Give images and labels of a host's part of every batch of a plan.

        They are drawn as `draw_balanced` does, or all of them are permuted.
        """
        groups = group_by_pathology(self.labels) if balanced else []
        used = plan.steps * plan.batch_size

        def order_epoch(epoch, step):
            if balanced:
                order = draw_balanced(groups, used, plan.seed, epoch)
            else:
                order = permute(len(self.images), plan.seed, epoch)[:used]
            batches = tf.reshape(order, (plan.steps, plan.batch_size))
            own = tf.data.Dataset.from_tensor_slices(batches[:, plan.own])
            return own.skip(step)

        positions = plan.epoch_range().flat_map(order_epoch)
        return positions.map(self._gather, num_parallel_calls=2, deterministic=True)

    def _gather(self, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Tensors that a dataset refers to are copied with its graph, arrays are not.
        batch = tf.numpy_function(
            lambda p: (self.images[p], self.labels[p]),
            [positions],
            (tf.as_dtype(self.images.dtype), tf.float32),
        )
        count = positions.shape[0]
        shapes = (count, *self.images.shape[1:]), (count, *self.labels.shape[1:])
        return tuple(map(tf.ensure_shape, batch, shapes))


def cache_in_memory(decoded: tf.data.Dataset, count: int) -> Cache:
    """Hold a decoded split of `count` images in memory, few of them there twice."""
    images = np.empty((count, *decoded.element_spec[0].shape), np.uint8)
    labels, start = [], 0
    for some_images, some_labels in _read_batches(decoded, count):
        images[start : start + len(some_images)] = some_images
        labels.append(some_labels)
        start += len(some_images)
    return Cache(images, np.concatenate(labels))


def cache_on_disk(
    folder: Path,
    manifest: Manifest,
    image_size: tuple[int, int],
    decoded: tf.data.Dataset,
) -> Cache:
    """Map a decoded split from disk, after decoding it there if need be.

    It is in a folder of its own within `folder`, named after the checksums of its
    shards and the size, which appears when it is whole: other records or another size
    never meet it. One whose files are cut short, or aren't what they should be by their
    headers, is made anew. Processes that need the same one wait for the first.

    Raises:
        UserError: the shards have more or fewer records than the manifest says.
        DiskError: the cache can't be written.
    """
    train = manifest.splits["train"]
    count = train.images
    shapes = (count, *image_size, 1), (count, len(manifest.pathologies))
    shards = [[name, manifest.checksums.get(name)] for name in train.shards]
    content = json.dumps([shards, manifest.pathologies, image_size])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    path = Path(folder) / f"train-{digest}"
    cache = _open_cache(path, shapes)
    if cache is not None:
        return cache
    with explain_disk(path, "Or give another --cache-folder, or --cache none."):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            cache = _open_cache(path, shapes)
            if cache is None:
                _write_cache(path, decoded, count)
                cache = _open_cache(path, shapes)
    assert cache is not None
    return cache


def _open_cache(path: Path, shapes: tuple[tuple[int, ...], ...]) -> Cache | None:
    """Return the cache in a folder, `None` if it isn't there or is damaged."""
    try:
        # As plain arrays, which are quicker to index than the subclass `memmap`.
        images = np.asarray(np.load(path / _IMAGES, mmap_mode="r"))
        labels = np.load(path / _LABELS)
    except (OSError, ValueError, EOFError):
        return None
    whole = (images.shape, labels.shape) == shapes
    return Cache(images, labels) if whole and images.dtype == np.uint8 else None


def _write_cache(path: Path, decoded: tf.data.Dataset, count: int) -> None:
    shutil.rmtree(path, ignore_errors=True)  # damaged
    labels = []
    with passing_folder(path.with_name(f".{path.name}")) as partial:
        # Written: on a full disk this raises, where a map would kill the process.
        with (partial / _IMAGES).open("wb") as file:
            shape = (count, *decoded.element_spec[0].shape)
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(file, header)
            for some_images, some_labels in _read_batches(decoded, count):
                file.write(some_images.data)
                labels.append(some_labels)
        data = io.BytesIO()  # into a file, NumPy would not say what the system said
        np.save(data, np.concatenate(labels))
        (partial / _LABELS).write_bytes(data.getvalue())
        partial.replace(path)


def _read_batches(
    decoded: tf.data.Dataset, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give some images and labels at a time."""
    found = 0
    # One more than there should be is enough to see that there are too many.
    for images, labels in decoded.take(count + 1).batch(64).as_numpy_iterator():
        found += len(images)
        if found <= count:
            yield images, labels
    if found != count:
        raise UserError(
            f"The training shards don't have the {count} records that their manifest "
            "says; prepare the records again."
        )
