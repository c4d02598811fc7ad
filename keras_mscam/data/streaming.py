"""Shuffled records straight from the shards, for splits too large to hold decoded."""

from pathlib import Path

import tensorflow as tf

from keras_mscam.data.ordering import permute
from keras_mscam.data.plan import Plan

#: Records that are shuffled among each other at most,
BLOCK_RECORDS = 8192
#: and their bytes, encoded: 65 kB each for as many records, fewer of larger ones.
BLOCK_BYTES = 2**29
#: Shards that are read side by side, and records in a row from one of them. Constants,
#: since the order depends on them.
OPEN_SHARDS, RUN_RECORDS = 8, 16


def stream(paths: list[Path], plan: Plan) -> tf.data.Dataset:
    """Give the records of a host's part of every batch, one after the other.

    Every epoch reads the shards in a new order, eight side by side, and permutes their
    records within blocks of 8192 (or 512 MiB) as they come.

    Args:
        paths: shards of the training split.
        plan: which batches.

    Returns:
        Serialized records. Those of other hosts, and of steps before the first, are
        read but not given.
    """
    block = _choose_block(paths, plan.images)

    def read_epoch(epoch, step):
        records = _shuffle(list(map(str, paths)), block, plan.seed, epoch)
        batches = records.batch(plan.batch_size, drop_remainder=True)
        return batches.skip(step).map(lambda batch: batch[plan.own]).unbatch()

    return plan.epoch_range().flat_map(read_epoch)


def _choose_block(paths: list[Path], images: int) -> int:
    record_bytes = sum(path.stat().st_size for path in paths) / images
    return max(1, min(BLOCK_RECORDS, int(BLOCK_BYTES / record_bytes)))


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
