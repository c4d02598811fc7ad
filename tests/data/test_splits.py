from pathlib import Path

import numpy as np
import pytest

from keras_mscam.data.records import Box, Record
from keras_mscam.data.splits import split_by_patient
from keras_mscam.errors import UserError

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def make_records(patients, boxed=(), images_each=3):
    box = (Box("Mass", (0.0, 0.0, 1.0, 1.0)),)
    return [
        Record(
            name=f"{patient}_{image}.png",
            path=Path("nowhere"),
            patient=f"{patient:04d}",
            view="",
            age=None,
            sex="",
            labels=(0.0,),
            boxes=box if patient in boxed and image == 0 else (),
        )
        for patient in range(patients)
        for image in range(images_each)
    ]


def patients_of(records):
    return {record.patient for record in records}


def test_fractions_count_patients_and_no_patient_is_in_two_splits():
    records = make_records(100, boxed={3, 50, 99})
    splits = split_by_patient(records, seed=1)
    train, validation, test = (patients_of(splits[s]) for s in splits)
    assert list(splits) == ["train", "validation", "test"]
    assert (len(train), len(validation), len(test)) == (70, 10, 20)
    assert not train & validation and not train & test and not validation & test
    assert {"0003", "0050", "0099"} <= test
    # Images go with their patient, without exception and in their order.
    assert [len(splits[s]) for s in splits] == [210, 30, 60]
    assert splits["train"] == [r for r in records if r.patient in train]


def test_more_boxed_patients_than_the_fraction_are_the_whole_test():
    # 30 of 100 are boxed; the other 70 are parted 7 to 1: 8.75 rounds to 9.
    splits = split_by_patient(make_records(100, boxed=range(30)), seed=0)
    assert patients_of(splits["test"]) == {f"{p:04d}" for p in range(30)}
    assert len(patients_of(splits["validation"])) == 9
    assert len(patients_of(splits["train"])) == 61


def test_exactly_the_fraction_boxed():
    splits = split_by_patient(make_records(50, boxed=range(10)), seed=0)
    assert patients_of(splits["test"]) == {f"{p:04d}" for p in range(10)}


def test_the_seed_and_nothing_else_decides():
    records = make_records(60, boxed={1})
    first = split_by_patient(records, seed=5)
    shuffled = [records[i] for i in np.random.default_rng(0).permutation(len(records))]
    again = split_by_patient(shuffled, seed=5)
    other = split_by_patient(records, seed=6)
    for split in first:
        assert patients_of(first[split]) == patients_of(again[split])
    assert patients_of(first["train"]) != patients_of(other["train"])


@pytest.mark.parametrize(
    ("patients", "boxed"), [(3, ()), (3, {0}), (4, {0, 1}), (5, ()), (7, {0, 1, 2, 3})]
)
def test_few_patients_still_fill_every_split(patients, boxed):
    for seed in range(20):
        splits = split_by_patient(make_records(patients, boxed), seed)
        sizes = [len(patients_of(records)) for records in splits.values()]
        assert min(sizes) >= 1 and sum(sizes) == patients
        assert {f"{p:04d}" for p in boxed} <= patients_of(splits["test"])


@pytest.mark.parametrize(("patients", "boxed"), [(0, ()), (2, ()), (3, {0, 1})])
def test_too_few_patients(patients, boxed):
    with pytest.raises(UserError, match="no patient for the split"):
        split_by_patient(make_records(patients, boxed), seed=0)


@pytest.mark.skipif(not (DATA / "chestxray14-labels").is_dir(), reason=f"needs {DATA}")
def test_the_full_label_file():
    from keras_mscam.data.chestxray14 import read_tables

    splits = split_by_patient(read_tables(DATA / "chestxray14-labels").records, seed=0)
    # Of 30,805 patients: 6161 are 20%; of the other 24,644, an eighth is 3080.5, which
    # rounding in binary makes 3081.
    sizes = [len(patients_of(records)) for records in splits.values()]
    assert sizes == [21_563, 3081, 6161]
    assert sum(len(records) for records in splits.values()) == 112_120
    boxed = {name: sum(bool(r.boxes) for r in splits[name]) for name in splits}
    assert boxed == {"train": 0, "validation": 0, "test": 880}
