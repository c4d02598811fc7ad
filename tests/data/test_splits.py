from pathlib import Path

import numpy as np
import pytest

from keras_mscam.data.records import Box, Dataset, Record
from keras_mscam.data.splits import SplitRule, split_records
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


def split_by_patient(records, seed):
    """Split by the paper's rule, which never leaves a record out."""
    splits, problems = split_records(
        Dataset(("Mass",), tuple(records), ()), SplitRule("paper", seed)
    )
    assert problems == ()
    return splits


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
    with pytest.raises(UserError, match="leave no image for the split"):
        split_by_patient(make_records(patients, boxed), seed=0)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "chestxray14-labels").is_dir(), reason=f"needs {DATA}")
def test_the_full_label_file():
    from keras_mscam.data.chestxray14 import read_tables

    splits = split_by_patient(read_tables(DATA / "chestxray14-labels").records, seed=0)
    # Of 30,805 patients: 6161 are 20%; of the other 24,644, an eighth is 3080.5, which
    # is rounded to the even number.
    sizes = [len(patients_of(records)) for records in splits.values()]
    assert sizes == [21_564, 3080, 6161]
    assert sum(len(records) for records in splits.values()) == 112_120
    boxed = {name: sum(bool(r.boxes) for r in splits[name]) for name in splits}
    assert boxed == {"train": 0, "validation": 0, "test": 880}


@pytest.mark.skipif(not (DATA / "chestxray14-labels").is_dir(), reason=f"needs {DATA}")
def test_the_official_lists():
    """Only the list for training and validation is there: the rest is the test."""
    from keras_mscam.data.chestxray14 import read_tables

    dataset = read_tables(DATA / "chestxray14-labels")
    splits, problems = split_records(dataset, SplitRule("official", seed=3))
    assert problems == ()
    # The published sizes: 86,524 and 25,596 images.
    assert len(splits["test"]) == 25_596
    assert len(splits["train"]) + len(splits["validation"]) == 86_524
    assert sum(bool(record.boxes) for record in splits["test"]) == 880
    train, validation, test = (patients_of(records) for records in splits.values())
    assert not train & validation and not train & test and not validation & test
    assert len(validation) == round(len(train | validation) / 8)


def make_dataset(records, lists=None):
    return Dataset(("Mass",), tuple(records), (), lists or {})


def test_both_official_lists():
    records = make_records(20, images_each=2)
    lists = {r.name: "train_val" if int(r.patient) < 16 else "test" for r in records}
    del lists["3_0.png"], lists["3_1.png"]
    splits, problems = split_records(
        make_dataset(records, lists), SplitRule("official")
    )
    assert patients_of(splits["test"]) == {"0016", "0017", "0018", "0019"}
    # An eighth of 15 patients is 1.875.
    assert len(patients_of(splits["validation"])) == 2
    assert len(patients_of(splits["train"])) == 13
    assert problems == ("2 images that are in no list, left out, such as 3_0.png",)


def test_the_split_of_a_table():
    records = make_records(9, images_each=1)
    names = ["train", "validation", "test"]
    lists = {record.name: names[int(record.patient) % 3] for record in records}
    splits, _ = split_records(make_dataset(records, lists), SplitRule("csv"))
    assert {name: len(splits[name]) for name in names} == dict.fromkeys(names, 3)
    assert patients_of(splits["validation"]) == {"0001", "0004", "0007"}


def test_what_a_table_leaves_out_is_in_no_split():
    records = make_records(9, images_each=1)
    for name in ("train", "test"):
        lists = {record.name: name for record in records[:4]}
        with pytest.raises(UserError, match="leave no image for the split"):
            split_records(make_dataset(records, lists), SplitRule("csv"))


def test_lists_of_other_images():
    for lists in ({"x.png": "train_val"}, {"x.png": "train_val", "y.png": "test"}):
        dataset = make_dataset(make_records(3), lists)
        with pytest.raises(UserError, match=r"no list names .* 0_0\.png; .* x\.png"):
            split_records(dataset, SplitRule("official"))


def test_a_patient_in_two_lists():
    records = make_records(5)
    lists = {r.name: "test" if r.name == "2_1.png" else "train_val" for r in records}
    with pytest.raises(UserError, match=r"Patient 0002 is in two splits"):
        split_records(make_dataset(records, lists), SplitRule("official"))


@pytest.mark.parametrize(
    ("name", "message"), [("official", "train_val_list.txt"), ("csv", "column 'split'")]
)
def test_no_lists(name, message):
    with pytest.raises(UserError, match=message):
        split_records(make_dataset(make_records(9)), SplitRule(name))


def test_every_patient_is_in_the_test_of_one_fold_and_validates_in_another():
    records = make_records(23, boxed=range(7))
    tests, validations = [], []
    for fold in range(5):
        rule = SplitRule("folds", seed=2, folds=5, fold=fold)
        splits, _ = split_records(make_dataset(records), rule)
        tests += patients_of(splits["test"])
        validations += patients_of(splits["validation"])
        # 23 patients, 7 with boxes, in 5 folds: 4 or 5, and 1 or 2 with boxes.
        assert len(patients_of(splits["test"])) in (4, 5)
        assert sum(bool(record.boxes) for record in splits["test"]) in (1, 2)
        assert sum(map(len, splits.values())) == len(records)
    everyone = [f"{patient:04d}" for patient in range(23)]
    assert sorted(tests) == sorted(validations) == everyone


def test_a_rule_that_makes_no_sense():
    for message, arguments in [
        ("isn't one of paper, official", {"name": "random"}),
        ("no fold 5 of 5", {"name": "folds", "fold": 5}),
        ("no fold 0 of 2", {"name": "folds", "folds": 2}),
        ("seed", {"seed": -1}),
    ]:
        with pytest.raises(UserError, match=message):
            SplitRule(**arguments)
    assert str(SplitRule("folds", 0, 5, 2)) == "folds, test fold 2 of 5"
