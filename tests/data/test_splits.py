from pathlib import Path

import pytest

from keras_mscam.data.records import Box, Record
from keras_mscam.data.splits import split_by_patient
from keras_mscam.errors import UserError


def record(name, patient, boxed=False):
    boxes = (Box("Mass", (0, 0, 1, 1)),) if boxed else ()
    return Record(name, Path(name), patient, "PA", None, "", (1.0,), boxes)


def make(patients, boxed=(), visits=3):
    return [
        record(f"{p}_{v}", str(p), p in boxed and v == 0)
        for p in range(patients)
        for v in range(visits)
    ]


def patients(split):
    return {record.patient for record in split}


def test_shares_of_patients():
    splits = split_by_patient(make(100))
    # 70, 10, 20 of 100; of the 80 left by the test, an eighth is for validation.
    assert {name: len(patients(split)) for name, split in splits.items()} == {
        "train": 70,
        "validation": 10,
        "test": 20,
    }
    assert sum(map(len, splits.values())) == 300


def test_no_patient_twice_and_boxed_ones_in_test():
    boxed = set(range(0, 60, 7))
    splits = split_by_patient(make(60, boxed), seed=3)
    sets = [patients(split) for split in splits.values()]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    assert {str(p) for p in boxed} <= patients(splits["test"])
    assert len(patients(splits["test"])) == 12


def test_boxed_patients_beyond_the_share_are_all_tested():
    splits = split_by_patient(make(20, boxed=range(12)))
    assert patients(splits["test"]) == {str(p) for p in range(12)}
    assert len(splits["validation"]) == 3  # one of eight patients, three visits


def test_depends_on_the_seed_and_not_on_the_order():
    records = make(50)
    one = split_by_patient(records, seed=1)
    assert split_by_patient(records[::-1], seed=1)["train"] == one["train"][::-1]
    assert split_by_patient(records, seed=2)["train"] != one["train"]


@pytest.mark.parametrize("records", [[], make(2), make(5, boxed=range(5))])
def test_refuses_an_empty_split(records):
    with pytest.raises(UserError, match="too few for training"):
        split_by_patient(records)
