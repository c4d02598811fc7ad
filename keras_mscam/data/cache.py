"""A training split decoded once, in memory or on disk, to draw any image from."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_mscam.data.manifest import Manifest
from keras_mscam.data.order import Plan, draw_balanced, group_by_pathology, permute
from keras_mscam.errors import UserError

_IMAGES, _LABELS = "images.npy", "labels.npy"


@dataclass(frozen=True)
class Cache:
    """All images of a split, and their labels, in the order of the records.

    Args:
        images: uint8 `(images, height, width, 1)`, in memory or mapped from a file.
        labels: float32 `(images, pathologies)`: 1, 0 or NaN (unknown).
    """

    images: np.ndarray
    labels: np.ndarray

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
            (tf.uint8, tf.float32),
        )
        count = positions.shape[0]
        shapes = (count, *self.images.shape[1:]), (count, *self.labels.shape[1:])
        return tuple(map(tf.ensure_shape, batch, shapes))


def cache_in_memory(decoded: tf.data.Dataset, count: int) -> Cache:
    """Hold a decoded split in memory, with few of its images there twice.

    Args:
        decoded: pairs of one image and its labels.
        count: how many.

    Raises:
        UserError: there are more or fewer.
    """
    images = np.empty((count, *decoded.element_spec[0].shape), np.uint8)
    labels, start = [], 0
    for some_images, some_labels in _read(decoded, count):
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
    never meet it. One whose files are cut short, or aren't what they should be by
    their headers, is made anew. Processes that need the same one wait for the first.

    Args:
        folder: where caches are kept; made if it isn't there.
        manifest: of the prepared records.
        image_size: (height, width) of the images, in pixels.
        decoded: pairs of one image and its labels; read only to make the cache.

    Raises:
        UserError: the cache can't be written, or the shards have more or fewer
            records than the manifest says.
    """
    count = manifest.splits["train"].images
    shapes = (count, *image_size, 1), (count, len(manifest.pathologies))
    path = Path(folder) / f"train-{_compute_digest(manifest, image_size)}"
    cache = _open(path, shapes)
    if cache is not None:
        return cache
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _open(path, shapes) is None:
                _write(path, decoded, count)
    except OSError as error:
        raise UserError(
            f"The cache can't be written to {folder} ({error.strerror or error}); give "
            "another cache folder, or no cache."
        ) from error
    return _open(path, shapes)


def _compute_digest(manifest: Manifest, image_size: tuple[int, int]) -> str:
    shards = manifest.splits["train"].shards
    content = [
        [[name, manifest.checksums.get(name)] for name in shards],
        manifest.pathologies,
        image_size,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _open(path: Path, shapes: tuple[tuple[int, ...], ...]) -> Cache | None:
    """Return the cache in a folder, `None` if it isn't there or is damaged."""
    try:
        # As plain arrays, which are quicker to index than the subclass `memmap`.
        images = np.asarray(np.load(path / _IMAGES, mmap_mode="r"))
        labels = np.load(path / _LABELS)
    except (OSError, ValueError, EOFError):
        return None
    whole = (images.shape, labels.shape) == shapes
    return Cache(images, labels) if whole and images.dtype == np.uint8 else None


def _write(path: Path, decoded: tf.data.Dataset, count: int) -> None:
    partial = path.with_name(f".{path.name}")
    for folder in (path, partial):  # damaged, or of a process that was killed
        shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir()
    labels = []
    # Written, not mapped: on a full disk this raises, where a map kills the process.
    with (partial / _IMAGES).open("wb") as file:
        shape = (count, *decoded.element_spec[0].shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(file, header)
        for some_images, some_labels in _read(decoded, count):
            file.write(some_images.data)
            labels.append(some_labels)
    np.save(partial / _LABELS, np.concatenate(labels))
    partial.replace(path)


def _read(
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
