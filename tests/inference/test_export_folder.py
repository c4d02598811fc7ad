from pathlib import Path

import pytest

from keras_mscam.errors import UserError
from keras_mscam.inference.export_folder import (
    find_formats,
    list_versions,
    next_common_version,
)


def make(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()


def test_versions_are_numbers_and_the_next_follows_the_highest(tmp_path):
    for name in ("1", "3", "12", "x", ".4", "-5", "²"):
        (tmp_path / name).mkdir()
    (tmp_path / "99").touch()  # a file is no version
    assert list_versions(tmp_path) == [1, 3, 12]
    assert next_common_version(tmp_path.parent, tmp_path.name) == 13


def test_the_first_version_is_1(tmp_path):
    assert next_common_version(tmp_path, "missing") == 1


def test_the_newest_export_is_found_from_every_level(tmp_path):
    for version in ("2", "10"):
        make(tmp_path / "model" / version)
    newest = tmp_path / "model" / "10"
    for path in (newest, newest.parent, tmp_path):
        assert find_formats(path) == {"saved_model": newest}


def test_one_of_several_models_must_be_named(tmp_path):
    make(tmp_path / "a" / "1")
    make(tmp_path / "b" / "1")
    with pytest.raises(UserError, match=r"several models \(a, b\)"):
        find_formats(tmp_path)


def test_other_formats_are_no_models_of_their_own(tmp_path):
    make(tmp_path / "chest" / "1")
    for name in ("chest-litert", "chest-onnx"):
        (tmp_path / name / "1").mkdir(parents=True)
    expected = {
        "saved_model": tmp_path / "chest" / "1",
        "litert": tmp_path / "chest-litert" / "1",
        "onnx": tmp_path / "chest-onnx" / "1",
    }
    assert find_formats(tmp_path) == find_formats(tmp_path / "chest") == expected
    assert find_formats(tmp_path / "chest-onnx") == {"onnx": expected["onnx"]}
    assert find_formats(expected["litert"]) == {"litert": expected["litert"]}
    make(tmp_path / "heart" / "1")
    with pytest.raises(UserError, match=r"several models \(chest, heart\)"):
        find_formats(tmp_path)


def test_formats_of_older_versions_are_not_the_newest(tmp_path):
    make(tmp_path / "chest" / "1")
    (tmp_path / "chest-onnx" / "2").mkdir(parents=True)
    assert find_formats(tmp_path) == {"onnx": tmp_path / "chest-onnx" / "2"}
    # The next of all formats is the same, and one that none of them has.
    assert next_common_version(tmp_path, "chest") == 3
    assert next_common_version(tmp_path, "heart") == 1


def test_a_repository_may_be_named_like_a_version(tmp_path, monkeypatch):
    repository = tmp_path / "2026"
    make(repository / "chest" / "1")
    (repository / "chest-onnx" / "1").mkdir(parents=True)
    expected = {
        "saved_model": repository / "chest" / "1",
        "onnx": repository / "chest-onnx" / "1",
    }
    assert find_formats(repository) == expected
    monkeypatch.chdir(expected["onnx"])
    assert find_formats(".") == {"onnx": Path(".")}


@pytest.mark.parametrize("there", [True, False])
def test_no_format_is_a_sentence(tmp_path, there):
    with pytest.raises(UserError, match="holds no exported model"):
        find_formats(tmp_path if there else tmp_path / "missing")
