"""A set of planted lesions as a whole: patients, split, bytes, files."""

import csv
import hashlib
from collections import Counter

import cv2
import pytest

from keras_mscam.cli.train import parse_options
from keras_mscam.configs.schema import Config, merge_config
from keras_mscam.data.chestxray14 import read_chestxray14
from keras_mscam.data.splits import SplitRule, split_records
from keras_mscam.errors import UserError
from keras_mscam.inference.run_folder import Run
from keras_mscam.pathologies import BOXED_PATHOLOGIES
from keras_mscam.phantom import write_phantoms
from keras_mscam.phantom.write_set import plan_planted
from keras_mscam.training.train_run import prepare_data


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def folder(write_plain):
    """Nine patients, the first with two X-rays, and a file that is damaged."""
    names = [f"{p:08d}_000.png" for p in range(1, 10)]
    directory = write_plain([*names, "00000001_001.png"])
    (directory / "00000050_000.png").write_bytes(b"no image")
    return directory


@pytest.fixture
def written(folder, tmp_path):
    options = {"size": (72, 64), "progress": False, "backgrounds": [folder]}
    problems = write_phantoms(tmp_path / "set", 91, 3, workers=1, **options)
    return tmp_path / "set", problems, options


@pytest.mark.slow
def test_same_bytes_whatever_the_processes(written, tmp_path):
    first, _, options = written
    write_phantoms(tmp_path / "again", 91, 3, workers=2, **options)
    assert digests(first) == digests(tmp_path / "again")
    write_phantoms(tmp_path / "other", 91, 4, workers=1, **options)
    assert digests(first) != digests(tmp_path / "other")


def test_patients_are_the_real_ones_and_have_equally_many_images(written):
    directory, _, _ = written
    dataset = read_chestxray14(directory)
    assert dataset.problems == ()
    assert len(dataset.records) == 91
    counts = Counter(record.patient for record in dataset.records)
    # 91 = 9 * 10 + 1
    assert sorted(counts.values()) == [10] * 8 + [11]
    assert set(counts) == {str(p) for p in range(1, 10)}
    image = cv2.imread(str(dataset.records[0].path), cv2.IMREAD_UNCHANGED)
    assert image.shape == (72, 64)
    assert len({record.path.read_bytes() for record in dataset.records}) == 91


@pytest.mark.parametrize("seed", range(3))
def test_no_patient_is_in_two_splits_and_the_boxed_ones_are_the_test(written, seed):
    dataset = read_chestxray14(written[0])
    splits, _ = split_records(dataset, SplitRule("paper", seed))
    patients = {name: {r.patient for r in split} for name, split in splits.items()}
    assert sum(map(len, patients.values())) == len(set().union(*patients.values()))
    boxed = {record.patient for record in dataset.records if record.boxes}
    # 0.22 * 9 = 1.98
    assert len(boxed) == 2
    assert patients["test"] == boxed
    assert not any(r.boxes for r in splits["train"] + splits["validation"])


def test_every_finding_of_a_boxed_patient_has_one_box(written):
    dataset = read_chestxray14(written[0])
    boxed = {record.patient for record in dataset.records if record.boxes}
    for record in dataset.records:
        present = [
            p for p, y in zip(dataset.pathologies, record.labels, strict=True) if y
        ]
        if record.patient in boxed:
            assert sorted(box.pathology for box in record.boxes) == sorted(present)
            assert all(box.clip((72, 64)) == box for box in record.boxes)
    assert set(dataset.pathologies) == set(BOXED_PATHOLOGIES)


def test_what_was_used_and_what_was_not_is_on_record(written):
    directory, problems, _ = written
    assert len(problems) == 1 and "00000050_000.png" in problems[0]
    with (directory / "backgrounds.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert len(rows) == 11
    assert "is not a PNG" in rows["00000050_000.png"]["refused"]
    assert rows["00000001_000.png"]["patient"] == "1"
    boxed = {row["patient"] for row in rows.values() if row["boxed"] == "1"}
    records = read_chestxray14(directory).records
    assert boxed == {record.patient for record in records if record.boxes}


def test_fewer_images_than_patients():
    patients = [[f"of patient {p}"] for p in range(9)]
    tasks = list(plan_planted(patients, 4))
    assert [visits for _, visits, _ in tasks] == [1, 1, 1, 1]
    # 0.22 * 4 = 0.88
    assert [boxed for *_, boxed in tasks] == [True, False, False, False]


def test_nothing_is_written_without_backgrounds(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no X-ray"):
        write_phantoms(
            tmp_path / "set", 5, progress=False, backgrounds=[tmp_path / "empty"]
        )
    assert not (tmp_path / "set").exists()


def test_option_and_configuration(tmp_path):
    options = parse_options(["--backgrounds", "a", "b", "--output", str(tmp_path)])
    assert [str(path) for path in options.data.backgrounds] == ["a", "b"]
    config = merge_config(Config(), {"data": {"backgrounds": ["a"]}}, "the test")
    assert [str(path) for path in config.data.backgrounds] == ["a"]
    assert Config().data.backgrounds == ()


def test_a_run_prepares_planted_lesions(folder, tmp_path):
    data = {"phantoms": 30, "image_size": [64, 48], "backgrounds": [str(folder)]}
    config = merge_config(Config(), {"data": data}, "the test")
    run = Run(tmp_path / "run", config)
    run.path.mkdir()
    with pytest.warns(UserWarning, match=r"00000050_000\.png"):
        prepare_data(run)
    assert (run.path / "phantom" / "backgrounds.csv").is_file()
    assert run.records.is_dir()


def test_backgrounds_beside_other_data_are_refused(tmp_path):
    data = {"path": str(tmp_path), "backgrounds": [str(tmp_path)]}
    config = merge_config(Config(), {"data": data}, "the test")
    with pytest.raises(UserError, match="--backgrounds"):
        prepare_data(Run(tmp_path / "run", config))


@pytest.mark.slow
def test_planted_in_the_real_x_rays(shared, tmp_path):
    folders = [shared / "chestxray14-normal"]
    problems = write_phantoms(
        tmp_path / "set", 60, size=(64, 64), progress=False, backgrounds=folders
    )
    dataset = read_chestxray14(tmp_path / "set")
    assert len(dataset.records) == 60
    # 50 X-rays; a few that the lungs aren't found in are told of
    assert 40 <= len({record.patient for record in dataset.records}) <= 50
    assert problems
