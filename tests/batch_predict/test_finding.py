import errno
import io
import os
from pathlib import Path

import pytest

from keras_mscam.batch_predict.discovery import find_files, read_stdin
from keras_mscam.batch_predict.journal import VERSION, open_folder
from keras_mscam.errors import UserError
from keras_mscam.files import stamp


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Make files in a folder that is gone to; return what finds in it."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def test_as_given_and_sorted_in_folders(place, tmp_path):
    place("b/2.png", "b/10.png", "b/a/9.dcm", "a.png", "c/x/IM0001")
    found = find_files(["c", "b", "a.png", "./b//2.png", "no.png"], tmp_path / "out")
    assert found.files == [
        "c/x/IM0001", "b/10.png", "b/2.png", "b/a/9.dcm", "a.png", "no.png",
    ]  # fmt: skip
    assert not +found.passed_over


def test_what_is_passed_over(place, tmp_path):
    place("d/.DS_Store", "d/labels.CSV", "d/DICOMDIR", "d/.git/x.png", "d/1", "d/t.gif")
    found = find_files(["d"], tmp_path / "out")
    # A GIF isn't read, but it is an image: it will be refused by name.
    assert found.files == ["d/1", "d/t.gif"]
    assert dict(found.passed_over) == {"hidden": 2, ".csv": 1, "DICOMDIR": 1}
    # What is given by its own name is never passed over.
    assert find_files(["d/labels.CSV"], tmp_path / "out").files == ["d/labels.CSV"]


def test_patterns(place, tmp_path):
    place("d/a1.png", "d/a2.png", "d/b.png", "d/e/a3.png", "d/[x].png")
    found = find_files(["d/a*.png"], tmp_path / "out")
    assert found.files == ["d/a1.png", "d/a2.png"]
    assert find_files(["d/**/a?.png"], tmp_path / "out").files == [
        "d/a1.png", "d/a2.png", "d/e/a3.png",
    ]  # fmt: skip
    # A file of that very name is meant, if there is one.
    assert find_files(["d/[x].png"], tmp_path / "out").files == ["d/[x].png"]
    with pytest.raises(UserError, match=r"No file matches d/\*.jpg"):
        find_files(["d/*.jpg"], tmp_path)


def test_standard_input(place, tmp_path):
    place("d/1.png")
    lines = ["a b.png\n", "\n", "d\r\n", "d/*.png"]
    # Lines are names, no patterns.
    found = find_files(["-"], tmp_path / "out", lines)
    assert found.files == ["a b.png", "d/1.png", "d/*.png"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_standard_input_with_a_byte_order_mark(monkeypatch, encoding):
    data = "a.png\r\ng\xe4.png\n".encode(encoding)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert find_files(["-"], Path("none"), read_stdin()).files == [
        "a.png", "g\xe4.png",
    ]  # fmt: skip


def test_results_are_not_looked_at(place, tmp_path):
    with open_folder(tmp_path / "out", {VERSION: "1"}):
        place("1.png", "outside.png", "out/overlays/1.Mass.png")
    os.symlink("out", tmp_path / "link")
    named = ["**/*.png", "out/overlays/1.Mass.png", "link/overlays/1.Mass.png", "-"]
    lines = ["./out/../out/overlays/1.Mass.png\n", "a\0/b.png\n"]
    for paths in (["."], named):
        for output in (tmp_path / "out", Path("link")):
            found = find_files(paths, output, lines).files
            assert [file for file in found if "\0" not in file] == [
                "1.png", "outside.png",
            ]  # fmt: skip
    assert find_files(named, Path("out"), lines).passed_over["results"] > 1
    # A folder of something else will be refused; until then, files in it are files.
    assert find_files(["out/overlays"], tmp_path).files == ["out/overlays/1.Mass.png"]
    assert find_files(["*.png"], Path("none")).files == ["1.png", "outside.png"]


def test_results_of_other_calls_are_not_looked_at(place, tmp_path):
    with open_folder(tmp_path / "d" / "results", {VERSION: "1"}):
        place("d/1.png", "d/results/overlays/1.Mass.png")
    found = find_files(["d"], tmp_path / "out")
    assert found.files == ["d/1.png"]
    assert +found.passed_over == {"folder of results": 1}
    overlay = "d/results/overlays/1.Mass.png"
    assert find_files(["d/results"], tmp_path / "out").files[-1] == overlay


def test_a_plan_that_cannot_be_read_hides_nothing(place, tmp_path):
    place("d/e/1.png")
    os.symlink("plan.json", tmp_path / "d" / "e" / "plan.json")
    found = find_files(["d"], tmp_path / "out").files
    assert "d/e/1.png" in found


def test_links_in_circles(place, tmp_path):
    place("d/1.png")
    os.symlink("..", tmp_path / "d" / "up")
    os.symlink("nowhere", tmp_path / "d" / "z.png")
    found = find_files(["d"], tmp_path / "out").files
    assert "d/1.png" in found and "d/z.png" in found and len(found) < 5


def test_nothing(place, tmp_path):
    place("d/notes.txt")
    with pytest.raises(UserError, match=r"no image \(passed over: 1 .txt\): give"):
        find_files(["d"], tmp_path / "out")
    with pytest.raises(UserError, match="There is no image: give files"):
        find_files([], tmp_path)


def test_folder_that_cannot_be_listed(place, tmp_path, monkeypatch):
    """For anyone but root, who runs tests in containers."""
    place("d/a/1.png", "d/b/2.png")
    scan = os.scandir

    def refuse(folder):
        if Path(folder).name == "a":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr("os.scandir", refuse)
    assert find_files(["d"], tmp_path / "out").files == ["d/b/2.png", "d/a"]
    assert find_files(["d/a"], tmp_path / "out").files == ["d/a"]


def test_stamp(tmp_path):
    path = tmp_path / "1.png"
    path.write_bytes(b"123")
    os.utime(path, ns=(5, 7))
    assert stamp(str(path)) == (3, 7)
    # Opening a named pipe would wait for ever.
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", tmp_path, tmp_path / "no", "a\0b"):
        assert stamp(str(other)) is None
