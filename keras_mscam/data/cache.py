"""Decoded images held in memory or on disk, to give batches in any order."""

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
from keras_mscam.data.order import Plan, draw_balanced, group_by_pathology, permute
from keras_mscam.errors import UserError, explain_disk
from keras_mscam.files import passing_folder

_IMAGES, _LABELS = "images.npy", "labels.npy"


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
