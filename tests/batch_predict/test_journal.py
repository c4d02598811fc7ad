import json
import resource
import signal

import pytest

from keras_mscam.batch_predict.journal import (
    VERSION,
    Journal,
    drop_lines,
    open_folder,
    read_lines,
)
from keras_mscam.errors import UserError

PLAN = {"model": "1", "--maps": False, VERSION: "1"}
#: Of an image that was read.
LINE = {
    "path": "a", "status": "read", "name": "a", "stamp": [3, 7], "warnings": [],
    "positives": ["Mass"], "probabilities": {"Mass": 0.5}, "files": {},
    "original_size": [60, 40], "boxes": [],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "predictions.jsonl").touch()
    return tmp_path


def write(folder, *paths):
    journal = Journal(folder)
    for path in paths:
        line = {"path": path, "status": "refused", "stamp": None, "error": "is empty"}
        journal.append(json.dumps(line))
    journal.close()


def read(folder):
    return [result["path"] for result in read_lines(folder)]


@pytest.mark.parametrize("torn", ['{"path": "b', "{", "x" * 200_000])
@pytest.mark.parametrize("before", [[], ["a"]])
def test_torn_line_is_cut_off(tmp_path, before, torn):
    with open_folder(tmp_path, PLAN):
        write(tmp_path, *before)
    with (tmp_path / "predictions.jsonl").open("a") as file:
        file.write(torn)
    with open_folder(tmp_path, PLAN):
        assert read(tmp_path) == before
        write(tmp_path, "c")
    assert read(tmp_path) == [*before, "c"]


def test_no_half_line_on_a_full_disk(tmp_path):
    """A limit on the file's size takes a part of the line first, as a disk may."""
    with open_folder(tmp_path, PLAN):
        write(tmp_path, "a" * 300)  # longer than the plan is
    before = (tmp_path / "predictions.jsonl").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, hard))
    try:
        with (
            pytest.raises(UserError, match=r"can't be written: it gets larger"),
            open_folder(tmp_path, PLAN),
        ):
            write(tmp_path, "b" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "predictions.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "box",
    [
        1,
        {},
        {"pathology": "Mass", "xyxy": [1, 2, 3, 4]},
        {"pathology": "Mass", "xyxy": [1, 2, 3], "score": 0.5},
        {"pathology": "Nodule", "xyxy": [1, 2, 3, 4], "score": 0.5},
    ],
)
def test_a_box_that_is_none(folder, box):
    whole = {"pathology": "Mass", "xyxy": [1, 2.5, 3, 4], "score": 0.5}
    lines = (LINE | {"boxes": [whole]}, LINE | {"boxes": [whole, box]})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "predictions.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"Line 2 of .*jsonl is damaged; remove"):
        list(read_lines(folder))


def test_a_line_without_a_probability_of_the_model(folder):
    (folder / "predictions.jsonl").write_text(json.dumps(LINE) + "\n")
    assert len(list(read_lines(folder, ["Mass"]))) == 1
    with pytest.raises(UserError, match=r"Line 1 of .*jsonl is damaged; remove"):
        list(read_lines(folder, ["Mass", "Nodule"]))


@pytest.mark.parametrize("damage", ["{\n", "\n", "\0\0\n", "\udcff\n"])
def test_damaged_line(folder, damage):
    write(folder, "a")
    with (folder / "predictions.jsonl").open("a", errors="surrogateescape") as file:
        file.write(damage)
    write(folder, "b")
    with pytest.raises(UserError, match=r"Line 2 of .*jsonl is damaged; remove"):
        read(folder)


def test_drop_lines(folder):
    write(folder, "a", "b", "ü\udcff\n")
    drop_lines(folder, {"a"})
    assert read(folder) == ["b", "ü\udcff\n"]


def test_other_plan(tmp_path):
    with open_folder(tmp_path / "out", PLAN):
        write(tmp_path / "out", "a")
    with open_folder(tmp_path / "out", dict(PLAN)):
        pass
    with (
        pytest.raises(UserError, match="a different --maps; give another --output"),
        open_folder(tmp_path / "out", PLAN | {"--maps": True}),
    ):
        pass
    assert read(tmp_path / "out") == ["a"]
    (tmp_path / "out" / "overlays").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with open_folder(tmp_path / "out", PLAN | {"--maps": True}, overwrite=True):
        assert read(tmp_path / "out") == []
        write(tmp_path / "out", "b")
    # Broken off, the same command goes on.
    with open_folder(tmp_path / "out", PLAN | {"--maps": True}, overwrite=True):
        assert read(tmp_path / "out") == ["b"]
    assert (tmp_path / "out" / "mine.txt").exists()
    assert not (tmp_path / "out" / "overlays").exists()


def test_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").touch()
    for overwrite in (False, True):
        with (
            pytest.raises(UserError, match="holds something else already"),
            open_folder(tmp_path, PLAN, overwrite),
        ):
            pass
    with (
        pytest.raises(UserError, match=r"thesis.tex can't be written: a file is where"),
        open_folder(tmp_path / "thesis.tex", PLAN),
    ):
        pass


def test_plan_of_something_else(tmp_path):
    """`overwrite` removes folders of such common names as `maps` and `reports`."""
    (tmp_path / "maps").mkdir()
    for plan in ("[1]", "{}", '{"model": 1}', "no JSON", ""):
        (tmp_path / "plan.json").write_text(plan)
        with (
            pytest.raises(UserError, match="holds something else already"),
            open_folder(tmp_path, PLAN, overwrite=True),
        ):
            pass
    assert (tmp_path / "maps").exists()


def test_what_an_earlier_plan_lacks_is_added(tmp_path):
    with open_folder(tmp_path, PLAN):
        pass
    with open_folder(tmp_path, PLAN | {"working directory": "/a"}):
        pass
    with open_folder(tmp_path, PLAN):
        pass
    with (
        pytest.raises(UserError, match="a different working directory; give"),
        open_folder(tmp_path, PLAN | {"working directory": "/b"}),
    ):
        pass


@pytest.mark.parametrize(
    "names", [(), (".lock",), (".lock", ".plan.12.json"), (".lock", "plan.json")]
)
def test_killed_at_the_very_beginning(tmp_path, names):
    for name in names:
        text = json.dumps(PLAN) if name == "plan.json" else ""
        (tmp_path / name).write_text(text)
    with open_folder(tmp_path, PLAN):
        assert read(tmp_path) == []


def test_one_at_a_time(tmp_path):
    with (
        open_folder(tmp_path / "out", PLAN),
        pytest.raises(UserError, match="Another process is writing"),
        open_folder(tmp_path / "out", PLAN),
    ):
        pass


def test_halves_are_removed(tmp_path):
    with open_folder(tmp_path / "out", PLAN):
        pass
    overlays = tmp_path / "out" / "overlays"
    overlays.mkdir()
    # As `write_whole` calls what it hasn't finished.
    for name in (".a.Mass.123.png", "a.Mass.png", ".DS_Store"):
        (overlays / name).touch()
    with open_folder(tmp_path / "out", PLAN):
        names = sorted(path.name for path in overlays.iterdir())
        assert names == [".DS_Store", "a.Mass.png"]
        # A process, or a node of a cluster, is lost meanwhile.
        (overlays / ".b.Mass.456.png").touch()
    assert sorted(path.name for path in overlays.iterdir()) == names
