import hashlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from keras_mscam import prepare as module
from keras_mscam.data.images import read_grey, resize_area
from keras_mscam.data.pipeline import read_examples
from keras_mscam.errors import UserError
from keras_mscam.prepare import prepare


def digests(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def test_manifest_counts_by_hand(make_patients, tmp_path):
    manifest = prepare(make_patients(), tmp_path / "out", seed=1, progress=False)
    # 20 patients of 2 images: 14, 2 and 4 of them.
    assert {n: (s.images, s.patients) for n, s in manifest.splits.items()} == {
        "train": (28, 14),
        "validation": (4, 2),
        "test": (8, 4),
    }
    # Patients 0, 3, ..., 18 have a Mass: 7 of 20, 14 images over all splits.
    assert sum(s.positives["Mass"] for s in manifest.splits.values()) == 14
    positives = manifest.splits["train"].positives["Mass"]
    assert manifest.beta == {"Mass": pytest.approx(1 - positives / 28)}
    assert (tmp_path / "out" / "rejected.csv").read_text() == "name,reason\n"


def test_stores_what_it_read(make_patients, tmp_path):
    folder = make_patients()
    prepare(folder, tmp_path / "out", image_size=(20, 16), progress=False)
    for example in read_examples(tmp_path / "out", "train"):
        image = read_grey(folder / "images" / example.name)
        np.testing.assert_array_equal(example.image, resize_area(image, (20, 16)))


def test_same_bytes_for_any_number_of_workers(make_patients, tmp_path, monkeypatch):
    folder = make_patients()
    prepare(folder, tmp_path / "one", workers=1, progress=False)
    # 2 processes must really be used, though the set is small.
    monkeypatch.setattr(module, "POOL_IMAGES", 0)
    prepare(folder, tmp_path / "two", workers=2, progress=False)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_shards_by_count(make_patients, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_IMAGES", 10)
    manifest = prepare(make_patients(), tmp_path / "out", progress=False)
    assert manifest.splits["train"].shards == (
        "train-00000-of-00003.tfrecord",
        "train-00001-of-00003.tfrecord",
        "train-00002-of-00003.tfrecord",
    )
    assert len(list(read_examples(tmp_path / "out", "train"))) == 28


def test_bad_images_are_listed_and_counted(make_patients, tmp_path):
    folder = make_patients()
    images = sorted((folder / "images").iterdir())
    images[2].write_bytes(b"")
    images[3].write_bytes(images[3].read_bytes()[:60])
    manifest = prepare(folder, tmp_path / "out", progress=False)
    assert manifest.rejected == 2
    assert sum(split.images for split in manifest.splits.values()) == 38
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv").set_index("name")
    assert rejected.loc[images[2].name, "reason"] == "is empty"
    assert "damaged" in rejected.loc[images[3].name, "reason"]


def test_nothing_is_left_of_a_failure(make_patients, tmp_path):
    folder = make_patients()
    for path in (folder / "images").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="None of the .* images of the train split"):
        prepare(folder, tmp_path / "out" / "records", progress=False)
    assert list((tmp_path / "out").iterdir()) == []


def test_does_not_overwrite(make_patients, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="already exists"):
        prepare(make_patients(), tmp_path / "out")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "keras_mscam.prepare", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def test_command(make_patients, tmp_path):
    result = run(make_patients(), "--output", tmp_path / "out", "--image-size", 32, 48)
    assert result.returncode == 0, result.stderr
    assert "train: 28 images of 14 patients" in result.stdout


def test_command_says_what_is_wrong_in_one_line(tmp_path):
    result = run(tmp_path / "nowhere", "--output", tmp_path / "out")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: There is no folder")
    assert "Traceback" not in result.stderr


def test_the_real_sample(shared, tmp_path):
    manifest = prepare(
        shared / "chestxray14-sample", tmp_path / "out", image_size=(64, 64), progress=False
    )
    assert sum(split.images for split in manifest.splits.values()) == 240
    assert manifest.rejected == 0
    boxed = [e for e in read_examples(tmp_path / "out", "test") if e.boxes]
    assert len(boxed) == 6
    assert {e.original_size for e in boxed} == {(1024, 1024)}
