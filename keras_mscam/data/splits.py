"""Which patient is for training, which for validation, which for the test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_mscam.data.records import Dataset, Record, summarize
from keras_mscam.errors import UserError

SPLITS = ("train", "validation", "test")
RULES = ("paper", "official", "csv", "folds", "test")
#: Share of the patients outside of the test that validate: 10 of the 80% that Sedai et
#: al. don't test on.
_VALIDATION = 1 / 8


@dataclass(frozen=True)
class SplitRule:
    """How a data set is split.

    Raises:
        UserError: an unknown name, or folds that don't exist.
    """

    name: str = "paper"  # one of `RULES`; `split_records` tells them apart
    seed: int = 0  # of whatever is drawn at random
    folds: int = 5  # number of parts for `folds`, 3 or more
    fold: int = 0  # which of them is the test, counted from 0; the next one validates

    def __post_init__(self):
        if self.name not in RULES:
            raise UserError(f"The split {self.name!r} isn't one of {', '.join(RULES)}.")
        if self.seed < 0:
            raise UserError(f"The seed {self.seed} must be 0 or more.")
        if self.folds < 3 or not 0 <= self.fold < self.folds:
            raise UserError(
                f"There is no fold {self.fold} of {self.folds}; there must be 3 folds "
                "or more, and they are counted from 0."
            )

    def __str__(self) -> str:
        folds = f", test fold {self.fold} of {self.folds}"
        return self.name + (folds if self.name == "folds" else "")


def split_records(
    dataset: Dataset, rule: SplitRule
) -> tuple[dict[str, list[Record]], tuple[str, ...]]:
    """Split a data set by patient, whatever the order of its records.

    - `paper`: at random, 70, 10 and 20% of the patients, every patient with a box in
      the test (Sedai et al. 2018).
    - `official`: the lists that came with ChestX-ray14; of the patients listed for
      training and validation, an eighth at random validates.
    - `csv`: what the data set's own table says. Where it names no image for validation,
      an eighth of the training patients.
    - `folds`: patients at random into parts of equal size, those with boxes into parts
      of equal size too; one part is the test, the next one validates.
    - `test`: every image is for the test: a set to evaluate on, not to train on.

    Returns:
        Records by the name of their split, in their order in the data set, and a
        sentence for each kind of record that was left out.

    Raises:
        UserError: too few patients for three splits, no lists, or a patient in two of
            them.
    """
    records, problems = dataset.records, ()
    if rule.name in ("official", "csv"):
        records, problems = _keep_listed(dataset, rule)
        split_of = _follow_lists(records, dataset.lists, rule.seed)
    elif rule.name == "folds":
        split_of = _split_in_folds(records, rule)
    elif rule.name == "test":
        return {"train": [], "validation": [], "test": list(records)}, problems
    else:
        split_of = _split_as_in_paper(records, rule.seed)
    splits = {split: [] for split in SPLITS}
    for record in records:
        splits[split_of[record.patient]].append(record)
    empty = [split for split in SPLITS if not splits[split]]
    if empty:
        patients = len(split_of)
        raise UserError(
            f"{patients} patients split by the rule {rule} leave no image for the "
            f"split {empty[0]!r}; each split needs a patient, and by the rule 'paper', "
            "which tests on everyone with a box, two must be without one. "
            "keras_mscam-prepare --split folds has boxes in every split."
        )
    return splits, problems


def _split_as_in_paper(records: Sequence[Record], seed: int) -> dict[str, str]:
    """Fill the test up from the patients with boxes to a fifth of all patients."""
    boxed = _boxed(records)
    patients = _shuffle(records, seed)
    others = [patient for patient in patients if patient not in boxed]
    if len(others) < 2 or len(patients) < 3:
        return dict.fromkeys(patients, "test")
    n_fill = max(round(0.2 * len(patients)), 1) - len(boxed)
    n_fill = min(max(n_fill, 0), len(others) - 2)
    rest = others[n_fill:]
    n_validation = min(max(round(_VALIDATION * len(rest)), 1), len(rest) - 1)
    return (
        dict.fromkeys([*boxed, *others[:n_fill]], "test")
        | dict.fromkeys(rest[:n_validation], "validation")
        | dict.fromkeys(rest[n_validation:], "train")
    )


def _split_in_folds(records: Sequence[Record], rule: SplitRule) -> dict[str, str]:
    boxed = _boxed(records)
    # A stable sort: at random among those with boxes, and among the others.
    order = sorted(_shuffle(records, rule.seed), key=lambda patient: patient in boxed)
    roles = {rule.fold: "test", (rule.fold + 1) % rule.folds: "validation"}
    return {
        patient: roles.get(place % rule.folds, "train")
        for place, patient in enumerate(order)
    }


def _keep_listed(
    dataset: Dataset, rule: SplitRule
) -> tuple[list[Record], tuple[str, ...]]:
    """Leave out what no list names; of the two published lists, one is enough."""
    lists = set(dataset.lists.values())
    if not lists:
        files = "train_val_list.txt or test_list.txt"
        missing = "column 'split'" if rule.name == "csv" else files
        raise UserError(
            f"The split {rule.name!r} isn't possible: the data set has no {missing}; "
            "add it, or choose another split."
        )
    kept = [record for record in dataset.records if record.name in dataset.lists]
    left = [r.name for r in dataset.records if r.name not in dataset.lists]
    if not kept:
        raise UserError(
            f"The split {rule.name!r} isn't possible: no list names an image that is "
            f"there, such as {left[0]}; one names {next(iter(dataset.lists))}."
        )
    if rule.name == "official" and lists in ({"train_val"}, {"test"}):
        return list(dataset.records), ()
    return kept, summarize(("images that are in no list, left out", left))


def _follow_lists(
    records: Sequence[Record], lists: Mapping[str, str], seed: int
) -> dict[str, str]:
    rest = "test" if set(lists.values()) == {"train_val"} else "train_val"
    split_of = {}
    for record in records:
        split = lists.get(record.name, rest)
        if split_of.setdefault(record.patient, split) != split:
            raise UserError(
                f"Patient {record.patient} is in two splits, "
                f"{split_of[record.patient]!r} and {split!r} (image {record.name}); "
                "all images of a patient must be in the same."
            )
    if "validation" not in split_of.values():
        whole = "train_val" if "train_val" in split_of.values() else "train"
        patients = [p for p in _shuffle(records, seed) if split_of[p] == whole]
        n_validation = max(round(_VALIDATION * len(patients)), 1)
        split_of = split_of | dict.fromkeys(patients[:n_validation], "validation")
    return {
        patient: "train" if split == "train_val" else split
        for patient, split in split_of.items()
    }


def _boxed(records: Sequence[Record]) -> set[str]:
    return {record.patient for record in records if record.boxes}


def _shuffle(records: Sequence[Record], seed: int) -> list[str]:
    """Return all patients in an order that the seed alone determines."""
    patients = sorted({record.patient for record in records})
    order = np.random.default_rng(seed).permutation(len(patients))
    return [patients[i] for i in order]
