"""Which record goes into which file."""

from dataclasses import dataclass

import numpy as np

from keras_mscam.data.records import Record
from keras_mscam.data.splits import SPLITS

#: Images in a shard: some 35 MB at 256x256.
SHARD_IMAGES = 1024


@dataclass(frozen=True)
class Shard:
    """A TFRecord file to write.

    Args:
        split: the split it belongs to.
        name: file name, such as `train-00000-of-00004.tfrecord`.
        records: what goes into it, in order.
    """

    split: str
    name: str
    records: list[Record]


def plan_shards(splits: dict[str, list[Record]], seed: int) -> list[Shard]:
    """Lay out all files of a data set before an image is read.

    Training records are put in an order drawn once, so that neighbours in a file, which
    training shuffles among each other, are not of the same patients. The other splits
    keep theirs. An image that turns out to be unusable leaves its file shorter.

    Args:
        splits: records by split, as `split_by_patient` gives them.
        seed: of the order of training records.

    Returns:
        Shards of 1024 records, the last of a split with fewer, split after split.
    """
    order = np.random.default_rng(seed).permutation(len(splits["train"]))
    ordered = splits | {"train": [splits["train"][i] for i in order]}
    shards = []
    for split in SPLITS:
        starts = range(0, len(ordered[split]), SHARD_IMAGES)
        for number, start in enumerate(starts):
            name = f"{split}-{number:05d}-of-{len(starts):05d}.tfrecord"
            records = ordered[split][start : start + SHARD_IMAGES]
            shards.append(Shard(split, name, records))
    return shards
