"""Which record goes into which file, and those files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_mscam.data.parts import Stored
from keras_mscam.data.splits import SPLITS

#: A shard is closed when it has as many bytes: some 1,800 images of 256x256.
SHARD_BYTES = 64 * 2**20


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
    records: list[Stored]


def plan_shards(splits: dict[str, list[Stored]], seed: int) -> list[Shard]:
    """Lay out all files of a data set.

    Training records are put in an order drawn once, so that neighbours in a file, which
    training shuffles among each other, are not of the same patients. The other splits
    keep theirs.

    Args:
        splits: records by split.
        seed: of the order of training records.

    Returns:
        Shards of 64 MiB or a little more, the last of a split with less, split after
        split.
    """
    order = np.random.default_rng(seed).permutation(len(splits["train"]))
    ordered = splits | {"train": [splits["train"][i] for i in order]}
    shards = []
    for split in SPLITS:
        groups = _group_by_bytes(ordered[split])
        for number, group in enumerate(groups):
            name = f"{split}-{number:05d}-of-{len(groups):05d}.tfrecord"
            shards.append(Shard(split, name, group))
    return shards


def write_shards(shards: Sequence[Shard], folder: Path) -> None:
    """Write shards by copying their records, checksums included, out of the parts."""
    parts = {}
    try:
        for shard in shards:
            with (folder / shard.name).open("wb") as file:
                for stored in shard.records:
                    if stored.path not in parts:
                        parts[stored.path] = stored.path.open("rb")
                    part = parts[stored.path]
                    part.seek(stored.start)
                    file.write(part.read(stored.length))
    finally:
        for part in parts.values():
            part.close()


def _group_by_bytes(records: list[Stored]) -> list[list[Stored]]:
    groups, size = [], SHARD_BYTES
    for stored in records:
        if size >= SHARD_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(stored)
        size += stored.length
    return groups
