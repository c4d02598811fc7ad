import json

import pytest

from keras_mscam.errors import UserError
from keras_mscam.exporting.manifest import (
    describe_parities,
    find_manifest,
    verify_export,
    write_manifest,
)
from keras_mscam.exporting.parity import Parity


@pytest.fixture
def export(tmp_path):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "variables" / "data").write_bytes(b"weights")
    parity = Parity(4, 1e-7, 1e-6, 0.0, 1.0)
    measured = describe_parities({"whole": parity})
    write_manifest(tmp_path, "abc", {"python": "3"}, measured)
    return tmp_path


def test_a_fresh_export_is_verified(export):
    assert verify_export(export) == 2


def test_says_what_was_met(export):
    content = json.loads(find_manifest(export).read_text())
    assert content["parity"]["whole"]["probabilities"] == 1e-7
    assert content["parity"]["whole"]["tolerances"]["probabilities"] == 1e-5
    # printf graph | sha256sum
    assert content["checksums"]["saved_model.pb"] == (
        "eef93e1d14482804277fca0172464032d1a4fdbcc338524059fa1e861454ad4d"
    )


def test_a_changed_file_is_found(export):
    (export / "variables" / "data").write_bytes(b"weightz")
    with pytest.raises(UserError, match="data has changed"):
        verify_export(export)


def test_a_missing_file_is_found(export):
    (export / "saved_model.pb").unlink()
    with pytest.raises(UserError, match=r"lacks its file saved_model\.pb"):
        verify_export(export)


def test_a_foreign_file_is_found(export):
    (export / "more").touch()
    with pytest.raises(UserError, match="no part of it: more"):
        verify_export(export)


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_damaged_manifest_is_a_sentence(export, text):
    find_manifest(export).write_text(text)
    with pytest.raises(UserError, match="can't be read"):
        verify_export(export)
