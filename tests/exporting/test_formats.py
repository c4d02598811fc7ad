"""Other formats than the SavedModel: each variant against the Keras model."""

import json
import math
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest

from keras_mscam.errors import UserError
from keras_mscam.exporting.export_run import check_name, export_formats, read_formats
from keras_mscam.exporting.formats import build_network, conversion, tfjs
from keras_mscam.exporting.formats.conversion import (
    FORMATS,
    check_installed,
    check_weights,
    measure_size,
)
from keras_mscam.inference.contract import read_contract
from keras_mscam.inference.export_folder import (
    OTHER_FORMATS,
    find_formats,
    list_versions,
)
from keras_mscam.serving.served_models import find_models


@pytest.fixture(scope="session")
def network(calibrated_model):
    return build_network(calibrated_model.localizer, calibrated_model.contract)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_written(converted, exported, kind):
    folder = converted(kind)
    assert folder.name == exported.name == "1"
    for variant in FORMATS[kind].variants:
        assert (folder / FORMATS[kind].path.format(variant)).is_file()
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    checksums = json.loads((folder / "manifest.json").read_text())["checksums"]
    assert {*map(Path, checksums), Path("manifest.json")} == files
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert read_contract(folder / "x.onnx") == read_contract(exported)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_was_measured_is_written_down(converted, kind):
    content = json.loads((converted(kind) / "manifest.json").read_text())
    versions = content["environment"]["versions"]
    for package in FORMATS[kind].modules:
        assert versions[package] == metadata.version(package)
    source = "6 synthetic radiographs, as the run's records are gone"
    assert content["calibration"] == source
    exact, half, small = content["variants"].values()
    assert exact["agreement"]["probabilities"] <= 1e-5
    assert exact["agreement"]["positives"] == 1
    assert half["bytes"] < exact["bytes"]
    assert small["bytes"] < exact["bytes"]
    assert half["agreement"]["mean_maps"] > exact["agreement"]["mean_maps"]


def test_onnx_in_8_bits_gives_the_same_on_every_processor(converted):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(converted("onnx") / "int8.onnx")
    kernels = [
        onnx.numpy_helper.to_array(weights)
        for weights in model.graph.initializer
        if weights.data_type == onnx.TensorProto.INT8 and len(weights.dims) == 4
    ]
    assert kernels
    # Without VNNI instructions two products at a time are added in 16 bits:
    # 2 * 255 * 64 = 32640 fits, 2 * 255 * 65 = 33150 is more than 32767.
    assert max(abs(kernel.astype(int)).max() for kernel in kernels) == 64


def test_every_format_has_its_folder():
    assert tuple(FORMATS) == OTHER_FORMATS


def test_other_formats_are_served_by_nobody(converted):
    repository = converted("litert").parents[1]
    assert list_versions(repository / "keras_mscam-litert") == [1]
    with pytest.raises(UserError, match="holds no model"):
        find_models(repository)
    for path in (repository, repository / "keras_mscam-litert"):
        assert set(find_formats(path)) == {"litert"}


def test_a_model_without_its_weights_is_refused(network, run, tmp_path, monkeypatch):
    pytest.importorskip("ai_edge_litert")

    def write_float32(_network, folder, _images):
        (folder / "float32.tflite").write_bytes(b"graph alone")

    monkeypatch.setattr(conversion, "get_writer", lambda *_: write_float32)
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


def test_one_wrong_weight_is_refused_and_leaves_nothing(
    calibrated_model, network, run, tmp_path, monkeypatch
):
    *_, kernel = (item for item in network.weights if "kernel" in item.path)

    def run_wrongly(images):
        kept = kernel.numpy()
        kernel.assign(kept * 1.01)
        try:
            return network.predict_on_batch(images[..., None])
        finally:
            kernel.assign(kept)

    def write(_network, folder, _images):
        (folder / "float32.onnx").write_bytes(bytes(4 * network.count_params()))

    monkeypatch.setattr(conversion, "check_installed", lambda name: None)
    monkeypatch.setattr(conversion, "get_writer", lambda *_: write)
    monkeypatch.setattr(conversion, "load_variant", lambda *_: run_wrongly)
    with pytest.raises(UserError, match="onnx float32 differs from the Keras model"):
        export_formats(run.path, tmp_path, ["onnx"], progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda p: 1 - p, "it was not exported"),
        (lambda p: p * math.inf, "aren't finite"),
    ],
)
def test_a_variant_of_fewer_bits_that_differs_is_left_out(
    wrong, said, network, run, tmp_path, monkeypatch
):
    """Float32, which the Keras model stands for, is exported all the same."""

    def get_writer(_name, weights):
        def write(_network, folder, _images):
            size = 4 * network.count_params()
            (folder / f"{weights}.onnx").write_bytes(bytes(size))

        return write

    def load_variant(_name, path):
        def compute(images):
            outputs = network.predict_on_batch(images[..., None].astype("float32"))
            if path.stem == "int8":
                outputs["probabilities"] = wrong(outputs["probabilities"])
            return outputs

        return compute

    monkeypatch.setattr(conversion, "check_installed", lambda name: None)
    monkeypatch.setattr(conversion, "get_writer", get_writer)
    monkeypatch.setattr(conversion, "load_variant", load_variant)
    with pytest.warns(UserWarning, match=f"onnx int8 .*{said}"):
        export_formats(run.path, tmp_path, ["onnx"], progress=False)
    folder = tmp_path / "keras_mscam-onnx" / "1"
    assert {path.name for path in folder.iterdir()} == {
        "contract.json", "manifest.json", "float32.onnx", "float16.onnx",
    }  # fmt: skip
    content = json.loads((folder / "manifest.json").read_text())
    assert set(content["variants"]) == {"float32", "float16"}


def test_a_size_is_that_of_all_files(tmp_path):
    sizes = {"a.xml": 3, "a.bin": 4, "b.xml": 5, "c/model.json": 1, "c/x": 2}
    for name, size in sizes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    assert measure_size(tmp_path / "a.xml") == 7
    assert measure_size(tmp_path / "c" / "model.json") == 3


def test_a_missing_library_is_said_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr(conversion.importlib.util, "find_spec", lambda name: None)
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
    with pytest.raises(UserError, match="No format is named; there are saved_model,"):
        read_formats([])


def test_formats_are_checked_before_the_run_is_read(tmp_path):
    with pytest.raises(UserError, match="There is no format 'l'"):
        export_formats(tmp_path, tmp_path, "litert")


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("chest-onnx", "end the names of other formats"),
        ("2", "not digits alone"),  # it would be taken for a version
        (".chest", "can't be a model's name"),
    ],
)
def test_names_that_would_be_mistaken_are_refused(name, sentence):
    with pytest.raises(UserError, match=sentence):
        check_name(name)


@pytest.mark.skipif(not shutil.which("node"), reason="Node is not installed")
def test_the_reason_of_a_failure_in_node_is_said(tmp_path):
    script = tmp_path / "run.mjs"
    script.write_text('throw new TypeError("no weights")')
    with pytest.raises(UserError, match=r"run\.mjs failed: TypeError: no weights$"):
        tfjs._call(["node", script])
    with pytest.raises(UserError, match=r"-c failed: ValueError: no weights$"):
        tfjs._call([sys.executable, "-c", "raise ValueError('no weights')"])
    with pytest.raises(UserError, match=r"-c failed: it said nothing$"):
        tfjs._call([sys.executable, "-c", "exit(3)"])
