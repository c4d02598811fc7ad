import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.cli.prepare import main
from keras_mscam.data import preparation, shards
from keras_mscam.data.manifest import Manifest, verify
from keras_mscam.data.pipeline import read_examples
from keras_mscam.data.preparation import prepare, unfinished_folder
from keras_mscam.errors import DiskError, UserError
from keras_mscam.images.grey_values import DARK
from keras_mscam.parallel import in_order

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


def read_frames(files):
    """Return the records of all shards, with their lengths and checksums."""
    frames = []
    for name, data in files.items():
        while name.endswith(".tfrecord") and data:
            length = int.from_bytes(data[:8], "little") + 16
            frames.append(data[:length])
            data = data[length:]
    return frames


def test_dark_images_are_counted_and_made_bright(source, tmp_path, monkeypatch, capsys):
    names = ["00000004_000.png", "00000005_000.png"]
    for name in names:
        pixels = np.random.default_rng(0).integers(0, 4096, (18, 30, 1), np.uint16)
        png = tf.io.encode_png(pixels).numpy()
        (source / "images" / name).write_bytes(png)
    dark = f'2 images with the warning "{DARK}", such as {names[0]}'
    for options in ([], ["--original-size"]):
        output = tmp_path / f"dark{len(options)}"
        arguments = [str(source), "--output", str(output), *options]
        monkeypatch.setattr(sys, "argv", ["keras_mscam-prepare", *arguments])
        main()
        assert capsys.readouterr().out.count(dark) == 1
        assert dark in Manifest.read(output).problems
    bright = prepare(source, tmp_path / "bright", max_value=4095, progress=False)
    assert not any("warning" in problem for problem in bright.problems)
    assert Manifest.read(tmp_path / "bright").max_value == 4095
    with pytest.raises(UserError, match="max value must be 1 or more, not -1"):
        prepare(source, tmp_path / "never", max_value=-1, progress=False)


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
    monkeypatch.setattr(shards, "SHARD_BYTES", 5000)
    monkeypatch.setattr(shards, "PART_IMAGES", 7)
    monkeypatch.setattr(in_order, "SMALL", 0)
    for workers in (1, 2, 3):
        prepare(source, tmp_path / str(workers), workers=workers, progress=False)
    files = read_files(tmp_path / "1")
    sizes = [len(data) for name, data in files.items() if name.startswith("train")]
    # A shard is closed by the record with which it has 5000 bytes.
    largest = max(map(len, read_frames(files)))
    assert len(sizes) > 2 and max(sizes) < 5000 + largest
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
        ("proc/nowhere can't be used", {"output": Path("/proc/nowhere/records")}),
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
    assert not (tmp_path / "records").exists()


def test_no_pathology(source, tmp_path):
    table = source / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace("Mass", "No Finding"))
    with pytest.raises(UserError, match="shows a pathology"):
        prepare(source, tmp_path / "records", progress=False)


def test_a_set_to_evaluate_on(source, tmp_path):
    # One of 40 images is cut off.
    manifest = prepare(source, tmp_path / "records", split="test")
    assert {name: s.images for name, s in manifest.splits.items()} == {
        "train": 0, "validation": 0, "test": 39,
    }  # fmt: skip
    assert manifest.split_rule == "test"
    assert not any("no image with" in problem for problem in manifest.problems)
    assert len(list(read_examples(tmp_path / "records", "test"))) == 39
    assert Manifest.read(tmp_path / "records") == manifest


def test_an_unseen_pathology_is_a_problem(source, tmp_path):
    # Patient 0 has a box and so is in the test: no training image shows a Hernia.
    table = source / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace("Mass", "Mass|Hernia", 1))
    manifest = prepare(source, tmp_path / "records", progress=False)
    assert manifest.problems[0] == (
        "The train split has no image with Hernia: nothing of them can be learned."
    )
    assert manifest.beta["Hernia"] == 1.0


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_going_on_after_a_stop(source, tmp_path, monkeypatch, error):
    """Whole parts are kept, and the result is as if there had been no stop."""
    monkeypatch.setattr(shards, "PART_IMAGES", 7)
    prepare(source, tmp_path / "whole", image_size=(9, 12), progress=False)
    convert_image, calls = shards.convert_image, []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) in (10, 30):
            raise error
        return convert_image(*arguments)

    monkeypatch.setattr(shards, "convert_image", stop)
    for _ in range(2):
        with pytest.raises(error):
            prepare(source, tmp_path / "records", image_size=(9, 12), progress=False)
        assert not (tmp_path / "records").exists()
    prepare(source, tmp_path / "records", image_size=(9, 12), progress=False)
    # 40 images in parts of 7. The first stop, at the 10th, keeps 7; the second, 20
    # images on, 14 of them; the 19 that are left are done at last.
    assert len(calls) == 10 + 20 + 19
    assert read_files(tmp_path / "records") == read_files(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"source", "whole", "records"}


def test_another_split_goes_on_with_the_same_images(source, tmp_path, monkeypatch):
    output = tmp_path / "records"
    monkeypatch.setattr(shards, "PART_IMAGES", 7)
    prepare(source, tmp_path / "whole", seed=5, image_size=(9, 12), progress=False)
    stop_at(30, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, output, seed=4, image_size=(9, 12), progress=False)
    monkeypatch.undo()
    monkeypatch.setattr(shards, "PART_IMAGES", 7)
    prepare(source, output, seed=5, image_size=(9, 12), progress=False)
    assert read_files(output) == read_files(tmp_path / "whole")


def test_images_that_were_replaced_meanwhile_are_read_again(
    source, tmp_path, monkeypatch
):
    monkeypatch.setattr(shards, "PART_IMAGES", 7)
    stop_at(30, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "records", image_size=(9, 12), progress=False)
    images = sorted((source / "images").iterdir())
    images[3].write_bytes(images[4].read_bytes())
    convert_image, calls = shards.convert_image, []
    monkeypatch.setattr(
        shards, "convert_image", lambda *a: calls.append(a) or convert_image(*a)
    )
    prepare(source, tmp_path / "records", image_size=(9, 12), progress=False)
    assert len(calls) == 7 + 12  # the first part, and what was not done by the 30th
    prepare(source, tmp_path / "whole", image_size=(9, 12), progress=False)
    assert read_files(tmp_path / "records") == read_files(tmp_path / "whole")


def test_other_work_is_not_gone_on_with(source, tmp_path, monkeypatch):
    stop_at(30, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "records", progress=False)
    with pytest.raises(UserError, match="unfinished preparation of other data, or"):
        prepare(source, tmp_path / "records", image_size=(9, 9), progress=False)
    (source / "images" / "00000004_000.png").unlink()
    with pytest.raises(UserError, match=r"\.records\.unfinished holds"):
        prepare(source, tmp_path / "records", progress=False)


def stop_at(number, monkeypatch):
    convert_image, calls = shards.convert_image, []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise KeyboardInterrupt
        return convert_image(*arguments)

    monkeypatch.setattr(shards, "convert_image", stop)


def test_images_that_were_mended_are_read_again(source, tmp_path, monkeypatch):
    whole = {path: path.read_bytes() for path in (source / "images").iterdir()}
    whole[source / "images" / "00000000_001.png"] = next(iter(whole.values()))
    for path in whole:
        path.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(UserError, match=r"No image .* split can be used.*is empty"):
            prepare(source, tmp_path / "records", progress=False)
    for path, content in whole.items():
        path.write_bytes(content)
    assert prepare(source, tmp_path / "records", progress=False).rejected == 0
    prepare(source, tmp_path / "at once", progress=False)
    assert read_files(tmp_path / "records") == read_files(tmp_path / "at once")


def test_places_that_no_folder_can_be_renamed_to(source, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match="give a folder inside it"):
        prepare(source, Path("."), progress=False)
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    with pytest.raises(UserError, match="give a folder inside it"):
        prepare(source, tmp_path / "disk", progress=False)


def test_a_link_to_an_empty_folder(source, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "records").symlink_to(tmp_path / "disk")
    prepare(source, tmp_path / "records", progress=False)
    assert (tmp_path / "records").is_symlink()
    assert (tmp_path / "disk" / "manifest.json").is_file()


def test_two_at_once(source, tmp_path):
    with (
        unfinished_folder(tmp_path / "records", {}),
        pytest.raises(UserError, match="Another process is at work"),
    ):
        prepare(source, tmp_path / "records", progress=False)


def test_a_plan_is_whole_or_not_there(tmp_path, small_files):
    """Half a plan would be taken for that of other work, and end it for good."""
    plan = {"images": ["x"] * 1000}
    with (
        small_files(),
        pytest.raises(DiskError),
        unfinished_folder(tmp_path / "out", plan),
    ):
        pass
    with unfinished_folder(tmp_path / "out", plan):
        pass


def test_strict(source, tmp_path):
    with pytest.raises(UserError, match=r"00000000_001\.png is damaged"):
        prepare(source, tmp_path / "records", strict=True, progress=False)
    assert not (tmp_path / "records").exists()
    broken = source / "images" / "00000000_001.png"
    broken.write_bytes((source / "images" / "00000000_000.png").read_bytes())
    manifest = prepare(source, tmp_path / "records", strict=True, progress=False)
    assert manifest.rejected == 0


def test_strict_where_an_image_was_refused_before(source, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "write_shards", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, tmp_path / "records", progress=False)
    with pytest.raises(UserError, match=r"00000000_001\.png is damaged"):
        prepare(source, tmp_path / "records", strict=True, progress=False)
    broken = source / "images" / "00000000_001.png"
    broken.write_bytes((source / "images" / "00000000_000.png").read_bytes())
    manifest = prepare(source, tmp_path / "records", strict=True, progress=False)
    assert manifest.rejected == 0


def raise_interrupt(*_):
    raise KeyboardInterrupt


def test_boxes_end_at_the_edge_of_their_own_image(source, tmp_path):
    (source / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000000_000.png,Mass,20,4,20,40\n"  # 20 x 40 in a frame of 30 x 18
        "00000001_000.png,Mass,31,4,20,4\n"  # right of its frame
        "00000002_000.png,Mass,20,4,2,4\n"
    )
    manifest = prepare(source, tmp_path / "records", progress=False)
    boxes = {
        example.name: [box.xyxy for box in example.boxes]
        for example in read_examples(tmp_path / "records", "test")
    }
    assert boxes["00000000_000.png"] == [(20.0, 4.0, 30.0, 18.0)]
    assert boxes["00000001_000.png"] == []
    assert boxes["00000002_000.png"] == [(20.0, 4.0, 22.0, 8.0)]
    assert manifest.problems[:2] == (
        "1 boxes that stick out of their image, cut off at its edge, such as "
        "00000000_000.png",
        "1 boxes that lie outside of their image, left out, such as 00000001_000.png",
    )


def test_archives_give_what_files_give(source, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "PART_IMAGES", 7)
    prepare(source, tmp_path / "files", progress=False)
    images = sorted((source / "images").iterdir())
    for number, place in enumerate([images[:15], images[15:30][::-1]]):
        with tarfile.open(source / f"images_{number}.tar.gz", "w:gz") as tar:
            for path in place:
                tar.add(path, f"images/{path.name}")
                path.unlink()
    for workers in (1, 2):
        output = tmp_path / f"archives{workers}"
        monkeypatch.setattr(in_order, "SMALL", 0)
        prepare(source, output, workers=workers, progress=False)
        assert read_files(output) == read_files(tmp_path / "files")


def test_original_sizes_keep_their_bytes(source, tmp_path):
    manifest = prepare(source, tmp_path / "records", image_size=None, progress=False)
    assert manifest.image_size is None
    frames = b"".join(read_frames(read_files(tmp_path / "records")))
    for path in (source / "images").iterdir():
        if path.name != "00000000_001.png":
            assert path.read_bytes() in frames


@pytest.mark.parametrize("split", ["official", "csv", "folds"])
def test_other_splits(source, tmp_path, split):
    names = sorted(path.name for path in (source / "images").iterdir())
    (source / "train_val_list.txt").write_text("\n".join(names[:30]))
    (source / "test_list.txt").write_text("\n".join(names[30:]))
    manifest = prepare(
        source, tmp_path / "records", split=split, fold=1, progress=False
    )
    rule = {"folds": "folds, test fold 1 of 5"}.get(split, split)
    assert manifest.split_rule == rule
    # 5 of 20 patients are in the test list, 4 of 20 in a fold.
    patients = 4 if split == "folds" else 5
    assert manifest.splits["test"].patients == patients


def test_verifying(source, tmp_path, monkeypatch, capsys):
    output = tmp_path / "records"
    prepare(source, output, progress=False)
    assert len(verify(output, progress=False).checksums) == 4
    shard = output / "train-00000-of-00001.tfrecord"
    data = shard.read_bytes()
    shard.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.raises(UserError, match=r"1 of 4 files differ: train.* has changed"):
        verify(output, progress=False)
    shard.unlink()
    monkeypatch.setattr(sys, "argv", ["keras_mscam-prepare", "--verify", str(output)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "can't be read (No such file" in capsys.readouterr().err
    shard.write_bytes(data)
    main()
    assert "all 4 files are as they were made" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give a source and an output"),
        (["SOURCE"], "Give a source and an output"),
        (["SOURCE", "--verify", "x"], "goes alone"),
        (["--verify", "x", "--seed", "1"], "goes alone"),
        (
            [
                "SOURCE",
                "--output",
                "new",
                "--original-size",
                "--image-size",
                "64",
                "64",
            ],
            "--original-size or --image-size",
        ),
        (["SOURCE", "--output", "new", "--fold", "1"], "need --split folds"),
        (
            ["SOURCE", "--output", "new", "--split", "folds", "--folds", "2"],
            "must be 3 folds",
        ),
        (["SOURCE", "--output", "new", "--split", "csv"], "no column 'split'"),
        (["SOURCE", "--output", "new", "--boxes", "b.csv"], "BBox_List_2017"),
    ],
)
def test_options_that_make_no_sense(
    source, tmp_path, monkeypatch, capsys, arguments, message
):
    arguments = [str(source) if word == "SOURCE" else word for word in arguments]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["keras_mscam-prepare", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_the_command(source, tmp_path, monkeypatch, capsys):
    output = tmp_path / "records"
    arguments = [str(source), "--output", str(output), "--image-size", "9", "12"]
    monkeypatch.setattr(sys, "argv", ["keras_mscam-prepare", *arguments])
    main()
    assert Manifest.read(output).image_size == (9, 12)
    printed = capsys.readouterr().out
    assert re.search(r"images +28 +4 +7", printed)
    assert re.search(r"patients +14 +2 +4", printed)
    assert re.search(r"Mass +50\.0% +50\.0% +57\.1%", printed)  # 14, 2 and 4 images
    assert "1 images rejected" in printed
    assert printed.endswith(f"Records: {output}\n")
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "isn't empty" in lines[0]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """2500 patients with an image of 300 x 300 pixels each."""
    source = tmp_path_factory.mktemp("many") / "source"
    (source / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = [LABELS]
    for index in range(2500):
        name = f"{index:04d}.png"
        rows.append(f"{name},Mass,0,{index},058Y,F,PA,300,300,0.1,0.1,")
        if index < 50:
            pixels = rng.integers(0, 256, (300, 300, 1), np.uint8)
            png = tf.io.encode_png(pixels, compression=1).numpy()
            (source / "images" / name).write_bytes(png)
        else:
            original = source / "images" / f"{index % 50:04d}.png"
            (source / "images" / name).hardlink_to(original)
    (source / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n")
    return source


def start(source, output):
    return subprocess.Popen(
        [
            sys.executable, "-m", "keras_mscam.cli.prepare", str(source),
            "--output", str(output), "--workers", "2",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )  # fmt: skip


def wait_for(process, done):
    """Wait until the bar shows more than so many images."""
    read = ""
    while not any(int(found) > done for found in re.findall(r"(\d+)/2500", read[-99:])):
        read += process.stderr.read(1)
        assert process.poll() is None, read


def test_ctrl_c_in_the_middle_of_parallel_work(many, tmp_path):
    """A whole group of processes gets the signal, as from a terminal."""
    process = start(many, tmp_path / "records")
    wait_for(process, 0)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "Go on by the same command." in errors
    assert [path.name for path in tmp_path.iterdir()] == [".records.unfinished"]


def has_members(group):
    """Whether a process of a group runs still; a zombie is one that nobody asks for."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, number = stat.read_text().rpartition(")")[2].split()[:3]
            if int(number) == group and state != "Z":
                return True
    return False


@pytest.mark.slow
def test_killed_and_gone_on_with(many, tmp_path):
    """`kill -9` leaves no worker behind and no trace in the result."""
    output = tmp_path / "records"
    for done in (200, 1300):
        process = start(many, output)
        wait_for(process, done)
        process.kill()
        process.communicate(timeout=60)
        for _ in range(100):
            if not has_members(process.pid):
                break
            time.sleep(0.1)
        else:
            pytest.fail("workers outlive their parent")
        assert not output.exists()
    prepare(many, output, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
    prepare(many, tmp_path / "whole", progress=False)
    assert read_files(output) == read_files(tmp_path / "whole")
