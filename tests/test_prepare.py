import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_mscam import pool
from keras_mscam import prepare as prepare_module
from keras_mscam.data import shards
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import read_examples
from keras_mscam.errors import UserError
from keras_mscam.pool import map_in_order
from keras_mscam.prepare import main, prepare

LABELS = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


@pytest.fixture
def source(tmp_path):
    """20 patients with 2 images each, of 18 x 30 pixels; image i shows a Mass if even.

    One of the test's images, which the box makes its patient's, is cut off.
    """
    directory = tmp_path / "source"
    (directory / "images").mkdir(parents=True)
    rows = [LABELS]
    for index in range(40):
        name = f"{index // 2:08d}_{index % 2:03d}.png"
        label = "No Finding" if index % 2 else "Mass"
        rows.append(f"{name},{label},0,{index // 2},058Y,F,PA,30,18,0.1,0.1,")
        pixels = np.random.default_rng(index).integers(0, 256, (18, 30, 1), np.uint8)
        png = tf.io.encode_png(pixels).numpy()
        (directory / "images" / name).write_bytes(png[:200] if index == 1 else png)
    (directory / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n")
    (directory / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000000_000.png,Mass,1,2,3,4\n"
    )
    return directory


def read_files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_prepares_and_counts(source, tmp_path):
    output = tmp_path / "deep" / "records"
    manifest = prepare(source, output, image_size=(9, 12), seed=1, progress=False)
    assert manifest == Manifest.read(output)
    assert manifest.pathologies == ("Mass",)
    assert manifest.image_size == (9, 12)
    # 20 patients: 14, 2 and 4, two images each; one of the test's can't be read.
    sizes = {name: (s.images, s.patients) for name, s in manifest.splits.items()}
    assert sizes == {"train": (28, 14), "validation": (4, 2), "test": (7, 4)}
    assert manifest.splits["test"].positives == {"Mass": 4}
    assert manifest.splits["test"].prevalence == {"Mass": 4 / 7}
    assert manifest.beta == {"Mass": 0.5}
    assert manifest.rejected == 1
    with (output / "rejected.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["name", "reason"]
    assert [row[0] for row in rows[1:]] == ["00000000_001.png"]
    assert "damaged" in rows[1][1]
    assert [path.name for path in output.parent.iterdir()] == ["records"]
    assert {path.name for path in output.iterdir()} == {
        "manifest.json",
        "rejected.csv",
        "train-00000-of-00001.tfrecord",
        "validation-00000-of-00001.tfrecord",
        "test-00000-of-00001.tfrecord",
    }


def test_training_records_are_shuffled_by_the_seed_and_the_others_are_not(
    source, tmp_path
):
    names = {}
    for number, seed in enumerate([0, 0, 1]):
        output = tmp_path / str(number)
        prepare(source, output, image_size=(4, 4), seed=seed, progress=False)
        for split in ("train", "test"):
            names[number, split] = [e.name for e in read_examples(output, split)]
    assert names[0, "train"] == names[1, "train"] != names[2, "train"]
    assert names[0, "train"] != sorted(names[0, "train"])
    assert names[0, "test"] == sorted(names[0, "test"])


def test_any_number_of_workers_writes_the_same_bytes(source, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_IMAGES", 6)
    monkeypatch.setattr(pool, "SMALL", 0)
    for workers in (1, 2, 3):
        prepare(source, tmp_path / str(workers), workers=workers, progress=False)
    files = read_files(tmp_path / "1")
    # 28 train images make 5 shards of 6 at most, 4 validation images 1, 8 test ones 2.
    assert len(files) == 5 + 1 + 2 + 2
    assert files == read_files(tmp_path / "2") == read_files(tmp_path / "3")


def test_an_empty_folder_may_be_filled(source, tmp_path):
    output = tmp_path / "records"
    output.mkdir()
    prepare(source, output, image_size=(4, 4), progress=False)
    assert Manifest.read(output).rejected == 1


def test_mistakes(source, tmp_path):
    new = tmp_path / "new"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    for message, arguments in [
        ("isn't empty", {"output": tmp_path / "full"}),
        ("isn't empty", {"output": source / "Data_Entry_2017.csv"}),
        ("image size", {"image_size": (0, 5)}),
        ("seed", {"seed": -1}),
        ("worker", {"workers": 0}),
        ("is not a folder", {"source": tmp_path / "nowhere"}),
        ("can't be written", {"output": Path("/proc/nowhere/records")}),
    ]:
        arguments = {"source": source, "output": new, "progress": False} | arguments
        with pytest.raises(UserError, match=message):
            prepare(**arguments)
    assert not new.exists()


def test_no_image_left(source, tmp_path):
    for path in (source / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"No image of the train split .* is empty"):
        prepare(source, tmp_path / "records", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_no_pathology(source, tmp_path):
    table = source / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace("Mass", "No Finding"))
    with pytest.raises(UserError, match="shows a pathology"):
        prepare(source, tmp_path / "records", progress=False)


def test_an_unseen_pathology_is_a_problem(source, tmp_path):
    # Patient 0 has a box and so is in the test: no training image shows a Hernia.
    table = source / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace("Mass", "Mass|Hernia", 1))
    manifest = prepare(source, tmp_path / "records", progress=False)
    assert manifest.problems == ("no positive training image of Hernia",)
    assert manifest.beta["Hernia"] == 1.0


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_stop_leaves_nothing_behind(source, tmp_path, monkeypatch, error):
    calls = []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 30:
            raise error
        return b"", (1, 1)

    monkeypatch.setattr(prepare_module, "convert_image", stop)
    with pytest.raises(error):
        prepare(source, tmp_path / "records", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_results_come_in_order_and_the_work_runs_only_a_little_ahead():
    jobs = [(number, 2) for number in range(1000)]
    results = map_in_order(pow, jobs, workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    results.close()
    assert list(map_in_order(pow, jobs, 2)) == [number**2 for number in range(1000)]
    assert list(map_in_order(pow, [], 2)) == []


def test_a_worker_that_dies():
    with pytest.raises(UserError, match="worker process died"):
        list(map_in_order(os._exit, [(1,)] * 300, workers=2))


def test_the_command(source, tmp_path, monkeypatch, capsys):
    output = tmp_path / "records"
    arguments = [str(source), "--output", str(output), "--image-size", "9", "12"]
    monkeypatch.setattr(sys, "argv", ["keras_mscam-prepare", *arguments])
    main()
    assert Manifest.read(output).image_size == (9, 12)
    printed = capsys.readouterr().out
    assert "train: 28 images of 14 patients" in printed
    assert "1 images rejected" in printed
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "isn't empty" in lines[0]


def test_ctrl_c_in_the_middle_of_parallel_work(tmp_path):
    """A whole group of processes gets the signal, as from a terminal."""
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (900, 900, 1), np.uint8)
    png = tf.io.encode_png(pixels, compression=1).numpy()
    rows = [LABELS]
    for index in range(2000):
        name = f"{index}.png"
        rows.append(f"{name},Mass,0,{index},058Y,F,PA,900,900,0.1,0.1,")
        if index < 2:
            (source / "images" / name).write_bytes(png)
        else:
            (source / "images" / name).hardlink_to(source / "images" / "0.png")
    (source / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "keras_mscam.prepare", str(source)),
            *("--output", str(tmp_path / "records"), "--workers", "2"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    read = ""
    while "/2000" not in read or " 0/2000" in read[-60:]:
        read += process.stderr.read(1)
        assert process.poll() is None, read
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
