"""Which patient is for training, which for validation, which for the test."""

from collections.abc import Sequence

import numpy as np

from keras_mscam.data.records import Record
from keras_mscam.errors import UserError

SPLITS = ("train", "validation", "test")

#: The rule of `split_by_patient`, as it is recorded in a manifest.
PAPER_RULE = "paper"


def split_by_patient(
    records: Sequence[Record],
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
) -> dict[str, list[Record]]:
    """Split at random by patient, every patient with a box going to the test.

    The test takes all patients with a box and is filled up with others, drawn at
    random, to its fraction of all patients; with more boxed patients than that, it is
    these alone. The others go to training and validation in the ratio of their
    fractions. The fractions count patients, not images, and every split gets one
    patient at least.

    Args:
        records: the data set; its order doesn't matter to who goes where.
        seed: of the random draw.
        fractions: of all patients for training, validation and test.

    Returns:
        Records by the name of their split, in their order in `records`.

    Raises:
        UserError: there are too few patients for three splits.

    Example:
        >>> splits = split_by_patient(dataset.records, seed=0)
        >>> len(splits["train"])

    Reference:
        Sedai et al. 2018, section 3: 70, 10 and 20%, boxed images in the test.
    """
    boxed = {record.patient for record in records if record.boxes}
    patients = sorted({record.patient for record in records})
    order = np.random.default_rng(seed).permutation(len(patients))
    others = [patients[i] for i in order if patients[i] not in boxed]
    if len(patients) < 3 or len(others) < 2:
        raise UserError(
            f"{len(patients)} patients, {len(boxed)} of them with boxes, leave no "
            "patient for the split 'validation'; images of three are needed, two of "
            "them without a box."
        )
    n_fill = max(round(fractions[2] * len(patients)), 1) - len(boxed)
    n_fill = min(max(n_fill, 0), len(others) - 2)
    n_rest = len(others) - n_fill
    n_validation = round(n_rest * fractions[1] / (fractions[0] + fractions[1]))
    n_validation = min(max(n_validation, 1), n_rest - 1)
    split_of = dict.fromkeys(boxed, "test")
    split_of |= dict.fromkeys(others[:n_fill], "test")
    split_of |= dict.fromkeys(others[n_fill : n_fill + n_validation], "validation")
    splits = {split: [] for split in SPLITS}
    for record in records:
        splits[split_of.get(record.patient, "train")].append(record)
    return splits
