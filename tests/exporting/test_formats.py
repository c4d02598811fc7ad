"""Other formats than the SavedModel: each variant against the Keras model."""

import json

import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.export import check_name, export_formats, read_formats
from keras_mscam.exporting import converting, formats, tfjs
from keras_mscam.exporting.agreement import (
    LIMITS,
    check_agreement,
    compare_variant,
)
from keras_mscam.exporting.contract import read_contract, read_contract_beside
from keras_mscam.exporting.converting import check_weights
from keras_mscam.exporting.formats import FORMATS, check_installed, measure_size
from keras_mscam.exporting.manifest import verify_export
from keras_mscam.exporting.network import build_network
from keras_mscam.exporting.repository import (
    OTHER_FORMATS,
    find_export,
    list_versions,
)
from keras_mscam.serving.version_folders import find_models


@pytest.fixture(scope="session")
def network(exportable):
    return build_network(exportable.localizer, exportable.contract)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_written(converted, exported, kind):
    folder = converted(kind)
    assert folder.name == exported.name == "1"
    for variant in FORMATS[kind].variants:
        assert (folder / FORMATS[kind].path.format(variant)).is_file()
    assert verify_export(folder) >= 4
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert read_contract_beside(folder / "x") == read_contract(exported)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_was_measured_is_written_down(converted, kind):
    content = json.loads((converted(kind) / "manifest.json").read_text())
    assert content["calibration"] == "6 phantoms, as the run's records are gone"
    exact, half, small = content["variants"].values()
    assert exact["agreement"]["probabilities"] <= 1e-5
    assert exact["agreement"]["positives"] == 1
    assert half["bytes"] < exact["bytes"]
    assert small["bytes"] < exact["bytes"]
    assert half["agreement"]["mean_maps"] > exact["agreement"]["mean_maps"]
    assert exact["milliseconds"] > 0


def test_every_format_has_its_folder():
    assert tuple(FORMATS) == OTHER_FORMATS


def test_other_formats_are_served_by_nobody(converted):
    repository = converted("litert").parents[1]
    assert list_versions(repository / "keras_mscam-litert") == [1]
    with pytest.raises(UserError, match="holds no model"):
        find_models(repository)
    with pytest.raises(UserError, match="holds no exported model"):
        find_export(repository)
    with pytest.raises(UserError, match="holds no exported model"):
        find_export(repository / "keras_mscam-litert")


def test_a_model_without_its_weights_is_refused(network, run, tmp_path, monkeypatch):
    pytest.importorskip("ai_edge_litert")

    def write_float32(_network, folder, _images):
        (folder / "float32.tflite").write_bytes(b"graph alone")

    monkeypatch.setattr(converting, "get_writer", lambda *_: write_float32)
    with pytest.raises(UserError, match=r"litert float32 has 11 bytes, too few for"):
        export_formats(run.path, tmp_path, ["litert"], progress=False)
    assert list(tmp_path.iterdir()) == []


def test_how_many_bytes_weights_need(network):
    # 4 bytes each in float32, 1 in int8; a fifth may have been folded into others.
    count = network.count_params()
    check_weights(4 * count, network, "float32")
    check_weights(count, network, "int8")
    for variant in ("float32", "float16"):
        with pytest.raises(UserError, match="the converter lost them"):
            check_weights(count, network, variant)


def make_outputs(contract, images=2):
    rng = np.random.default_rng(3)
    count = len(contract.pathologies)
    sides = {"cam_block2": 8, "cam_block3": 4, "cam_block4": 2, "attention": 16}
    maps = {
        name: rng.normal(size=(images, side, side + 1, count)).astype("float32")
        for name, side in sides.items()
    }
    return {"probabilities": rng.uniform(size=(images, count)), **maps}


def test_equal_outputs_agree(exportable):
    outputs = make_outputs(exportable.contract)
    agreement = compare_variant(outputs, outputs, exportable.contract)
    assert agreement.probabilities == agreement.maps == 0
    assert agreement.positives == agreement.boxes == 1
    check_agreement(agreement, LIMITS["float32"], "it")


def test_differences_are_worst_and_mean(exportable):
    contract = exportable.contract
    expected = make_outputs(contract)
    found = {name: values.copy() for name, values in expected.items()}
    found["probabilities"][0, 0] += 0.3
    span = np.ptp(expected["cam_block4"][1, ..., 2])
    found["cam_block4"][1, 0, 0, 2] += span / 2
    agreement = compare_variant(found, expected, contract)
    # 0.3 in one of 2 * 3 probabilities; half of the range in one of 2 * 2 * 3 * 3
    # values of one of four maps.
    assert agreement.probabilities == pytest.approx(0.3)
    assert agreement.mean_probabilities == pytest.approx(0.05)
    assert agreement.maps == pytest.approx(0.5, rel=1e-5)
    assert agreement.mean_maps == pytest.approx(0.5 / 36 / 4, rel=1e-5)
    with pytest.raises(
        UserError, match=r"litert int8 differs .* probabilities by 0\.3"
    ):
        check_agreement(agreement, LIMITS["float32"], "litert int8")


def test_positives_that_differ_are_counted_and_limited(exportable):
    contract = exportable.contract  # Mass is positive from 0.5 on
    expected = make_outputs(contract)
    expected["probabilities"][:, 1] = 0.49
    found = {**expected, "probabilities": expected["probabilities"].copy()}
    found["probabilities"][0, 1] = 0.51
    agreement = compare_variant(found, expected, contract)
    assert agreement.positives == pytest.approx(5 / 6)
    with pytest.raises(UserError, match=r"calls 83\.3% of images"):
        check_agreement(agreement, LIMITS["int8"], "onnx int8")


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda outputs: outputs.pop("cam_block3"), "lost its output 'cam_block3'"),
        (
            lambda outputs: outputs.update(cam_block2=outputs["cam_block3"]),
            r"'cam_block2' has shape \(2, 4, 5, 3\) instead of \(2, 8, 9, 3\)",
        ),
        (
            lambda outputs: outputs.update(attention=outputs["attention"] * np.nan),
            "'attention' has values that aren't finite",
        ),
    ],
)
def test_lost_and_odd_outputs_are_refused(exportable, change, sentence):
    expected = make_outputs(exportable.contract)
    found = dict(expected)
    change(found)
    with pytest.raises(UserError, match=sentence):
        compare_variant(found, expected, exportable.contract)


def test_a_size_is_that_of_all_files(tmp_path):
    sizes = {"a.xml": 3, "a.bin": 4, "b.xml": 5, "c/model.json": 1, "c/x": 2}
    for name, size in sizes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    assert measure_size(tmp_path / "a.xml") == 7
    assert measure_size(tmp_path / "c" / "model.json") == 3


def test_a_missing_library_is_said_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'onnxruntime, which are not .*\[formats\]"'):
        check_installed("onnx")
    monkeypatch.setenv(tfjs.VARIABLE, str(tmp_path))
    monkeypatch.setattr(tfjs.shutil, "which", lambda name: "/bin/node")
    with pytest.raises(UserError, match=r"run export/tfjs/install\.sh"):
        check_installed("tfjs")
    monkeypatch.setattr(tfjs.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs Node"):
        check_installed("tfjs")


def test_formats_are_named_with_commas_or_spaces():
    assert read_formats(["onnx,litert", "tfjs", "onnx"]) == ("onnx", "litert", "tfjs")
    with pytest.raises(UserError, match="There is no format 'coreml'"):
        read_formats(["onnx", "coreml"])


def test_names_that_end_like_a_format_are_refused():
    with pytest.raises(UserError, match="end the names of other formats"):
        check_name("chest-onnx")
