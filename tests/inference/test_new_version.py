import pytest

from keras_mscam.errors import UserError
from keras_mscam.inference.export_folder import list_versions, new_version


def list_names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_version_appears_whole(tmp_path):
    with new_version(tmp_path, "model", 7) as folder:
        (folder / "saved_model.pb").touch()
        assert list_versions(tmp_path / "model") == []
    assert list_names(tmp_path / "model") == ["7"]
    assert list_names(tmp_path / "model" / "7") == ["saved_model.pb"]


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), new_version(tmp_path, "model", 1) as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert list_names(tmp_path) == []


def test_a_failure_leaves_other_versions(tmp_path):
    (tmp_path / "model" / "1").mkdir(parents=True)
    with pytest.raises(RuntimeError), new_version(tmp_path, "model", 2):
        raise RuntimeError
    assert list_names(tmp_path / "model") == ["1"]


def test_what_a_killed_export_left_is_replaced(tmp_path):
    (tmp_path / "model" / ".1").mkdir(parents=True)
    (tmp_path / "model" / ".1" / "half").touch()
    with new_version(tmp_path, "model", 1) as folder:
        assert list_names(folder) == []


def test_two_exports_at_once_do_not_mix(tmp_path):
    with new_version(tmp_path, "model", 1) as folder:
        (folder / "first").touch()
        with (
            pytest.raises(UserError, match="Another export is writing into"),
            new_version(tmp_path, "model", 1),
        ):
            pass
        with new_version(tmp_path, "other", 1):
            pass  # another model is no matter
    assert list_names(tmp_path / "model" / "1") == ["first"]


def test_a_version_is_never_replaced(tmp_path):
    (tmp_path / "model" / "1").mkdir(parents=True)
    with (
        pytest.raises(UserError, match="is there already"),
        new_version(tmp_path, "model", 1),
    ):
        pass
    assert list_names(tmp_path / "model") == ["1"]


def test_a_file_in_the_way_is_a_sentence(tmp_path):
    (tmp_path / "model").touch()
    with (
        pytest.raises(UserError, match=r"model can.t be written: a file is where"),
        new_version(tmp_path, "model", 1),
    ):
        pass
