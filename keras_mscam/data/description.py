"""From what was written to its manifest, and to what a person is told."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from keras_mscam.data.manifest import Manifest, Split
from keras_mscam.data.records import Dataset, Record
from keras_mscam.data.shards import Shard
from keras_mscam.data.splits import SPLITS, SplitRule
from keras_mscam.files import compute_checksum
from keras_mscam.versions import find_versions

#: What reads, resizes and writes.
PACKAGES = ("keras_mscam", "opencv-python-headless", "numpy", "pydicom", "tensorflow")


def describe(
    dataset: Dataset,
    shards: list[Shard],
    image_size: tuple[int, int] | None,
    rule: SplitRule,
    rejected: int,
    problems: tuple[str, ...],
    folder: Path,
) -> Manifest:
    """Describe what has been written into a folder.

    Args:
        dataset: where it came from.
        shards: what was written.
        image_size: (height, width) that images were stored at, if one.
        rule: how they were split.
        rejected: number of images that couldn't be used.
        problems: what was odd about the source.
        folder: the folder; every file in it gets a checksum.

    Returns:
        A manifest for it.
    """
    splits = {}
    for name in SPLITS:
        here = [shard for shard in shards if shard.split == name]
        records = [stored.record for shard in here for stored in shard.records]
        files = [shard.name for shard in here]
        splits[name] = describe_split(records, dataset.pathologies, files)
    unseen = [name for name, count in splits["train"].positives.items() if not count]
    if unseen:
        problems += (f"no positive training image of {', '.join(unseen)}",)
    return Manifest(
        pathologies=dataset.pathologies,
        image_size=image_size and tuple(image_size),
        split_rule=str(rule),
        seed=rule.seed,
        splits=splits,
        beta=compute_beta(splits["train"]),
        checksums={p.name: compute_checksum(p) for p in sorted(folder.iterdir())},
        sources={path.name: compute_checksum(path) for path in dataset.tables},
        rejected=rejected,
        problems=problems,
        versions=find_versions(PACKAGES),
    )


def summarize_splits(manifest: Manifest) -> str:
    """Return a table of sizes and prevalences, one column a split, as text."""
    columns = {
        name: {
            "images": f"{split.images:,}",
            "patients": f"{split.patients:,}",
            **{
                pathology: "unknown" if share is None else f"{share:.1%}"
                for pathology, share in split.prevalence.items()
            },
        }
        for name, split in manifest.splits.items()
    }
    return pd.DataFrame(columns).to_string()


def describe_split(
    records: Sequence[Record], pathologies: Sequence[str], shards: Sequence[str]
) -> Split:
    """Count the images, patients and labels of one split.

    Args:
        records: those in the shards, at least one.
        pathologies: C names, in the order of the labels.
        shards: file names.

    Returns:
        The split's entry in a manifest. Unknown labels (NaN) count nowhere.
    """
    labels = np.array([record.labels for record in records])
    positives = (labels == 1).sum(axis=0).tolist()
    known = (~np.isnan(labels)).sum(axis=0).tolist()
    prevalence = [p / n if n else None for p, n in zip(positives, known, strict=True)]
    return Split(
        shards=tuple(shards),
        images=len(records),
        patients=len({record.patient for record in records}),
        positives=dict(zip(pathologies, positives, strict=True)),
        prevalence=dict(zip(pathologies, prevalence, strict=True)),
    )


def compute_beta(train: Split) -> dict[str, float]:
    """Return the fraction of zeros of each pathology among its known labels.

    `beta = 1 - prevalence`; one half, which balances nothing, without known labels.

    Reference:
        Sedai et al. 2018, section 2.
    """
    return {
        name: 0.5 if prevalence is None else 1 - prevalence
        for name, prevalence in train.prevalence.items()
    }
