import json

import pytest

from keras_mscam.errors import UserError
from keras_mscam.inference.export_folder import (
    find_manifest,
    list_variant_files,
    verify_files,
    write_manifest,
)


@pytest.fixture
def export(tmp_path):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "variables" / "data").write_bytes(b"weights")
    parity = {"whole": {"probabilities": 1e-7}}
    write_manifest(tmp_path, "abc", {"python": "3"}, {"parity": parity})
    return tmp_path


def test_says_what_was_met(export):
    content = json.loads(find_manifest(export).read_text())
    assert content["parity"]["whole"]["probabilities"] == 1e-7
    # printf graph | sha256sum
    assert content["checksums"]["saved_model.pb"] == (
        "eef93e1d14482804277fca0172464032d1a4fdbcc338524059fa1e861454ad4d"
    )


FILES = ("saved_model.pb", "variables/data")


def verify(export):
    verify_files(export, *FILES)


def test_every_file_has_its_checksum(export):
    checksums = json.loads(find_manifest(export).read_text())["checksums"]
    assert sorted(checksums) == sorted(FILES)
    verify(export)


def test_a_flipped_bit_is_found(export):
    (export / "variables" / "data").write_bytes(b"weighds")  # t is 0x74, d is 0x64
    with pytest.raises(UserError, match="data has changed since it was exported"):
        verify(export)


def test_other_files_are_not_looked_at(export):
    (export / "variables" / "data").write_bytes(b"weighds")
    (export / "own.onnx").touch()
    verify_files(export, "saved_model.pb", "own.onnx")
    with pytest.raises(UserError, match="data has changed"):
        verify_files(export, "variables/*")


def test_a_file_that_is_gone_is_found(export):
    (export / "variables" / "data").unlink()
    with pytest.raises(UserError, match=r"data has changed .*, or is gone"):
        verify_files(export, "variables/*")


def test_without_a_manifest_nothing_is_verified(export):
    find_manifest(export).unlink()
    verify(export)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"checksums": 3}', '{"checksums": [[1, 2]]}']
)
def test_a_damaged_manifest_is_a_sentence(export, text):
    find_manifest(export).write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        verify(export)


def test_the_files_of_a_variant(tmp_path):
    for name in ("a.xml", "a.bin", "ab.xml", "contract.json", "c/model.json", "c/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [path.name for path in list_variant_files(tmp_path / "a.xml")]
    assert names == ["a.bin", "a.xml"]
    names = [path.name for path in list_variant_files(tmp_path / "c" / "model.json")]
    assert names == ["model.json", "x"]
