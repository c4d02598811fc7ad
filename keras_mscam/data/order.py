"""Training batches in an order that their numbers determine, and hosts share.

Records are streamed from their shards here; `cache` holds them decoded, to draw any
image from.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_mscam.errors import UserError

#: Records that are shuffled among each other at most,
BLOCK_RECORDS = 8192
#: and their bytes, encoded: 65 kB each for as many records, fewer of larger ones.
BLOCK_BYTES = 2**29
#: Shards that are read side by side, and records in a row from one of them. Constants,
#: since the order depends on them.
OPEN_SHARDS, RUN_RECORDS = 8, 16


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
                f"{self.batch_size}; give a smaller --batch-size."
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
