"""Every runtime says what the Keras model says; the right one is chosen."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_mscam import Predictor
from keras_mscam.errors import UserError
from keras_mscam.exporting.examples import draw_examples
from keras_mscam.inference.runtimes import RUNTIMES, load_runtime, runtime

_BY_PATHOLOGY = ("slopes", "intercepts", "map_scales", "probability_thresholds")
_BY_BLOCK = ("fusion_weights", "relevance_weights")
FILES = {"litert": "float32.tflite", "onnx": "float32.onnx", "openvino": "float32.xml"}


@pytest.fixture(scope="module")
def images():
    size = (96, 64)  # as OpenCV says it
    files = [np.frombuffer(file.data, np.uint8) for file in draw_examples(size[::-1])]
    found = [cv2.imdecode(file, cv2.IMREAD_GRAYSCALE) for file in files[:3]]
    return np.stack([cv2.resize(image, size) for image in found])


@pytest.fixture(scope="module")
def expected(calibrated_model, images):
    return calibrated_model.localizer.predict_on_batch(images[..., None])


@pytest.fixture(scope="module")
def everything(converted, exported, tmp_path_factory):
    """A repository with all formats that can be made here."""
    repository = tmp_path_factory.mktemp("repository")
    shutil.copytree(exported.parent, repository / "keras_mscam")
    for kind in FILES:
        pytest.importorskip(runtime._LIBRARIES[kind])
        folder = converted(kind).parent
        shutil.copytree(folder, repository / folder.name)
    return repository


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("count", [1, 3])
def test_outputs_are_those_of_keras(converted, images, expected, kind, count):
    runtime = load_runtime(converted(kind) / FILES[kind])
    assert runtime.name == kind
    outputs = runtime.run(images[:count])
    assert set(outputs) == set(runtime.contract.output_names)
    for name, values in outputs.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(
            values, expected[name][:count], rtol=1e-4,
            atol=1e-4 * np.ptp(expected[name]),
        )  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_what_a_call_gave_is_not_overwritten_by_the_next(converted, images, kind):
    runtime = load_runtime(converted(kind) / FILES[kind])
    first = runtime.run(images[:1])
    kept = {name: values.copy() for name, values in first.items()}
    runtime.run(images[1:2])
    for name, values in first.items():
        np.testing.assert_array_equal(values, kept[name])


@pytest.mark.parametrize("kind", FILES)
def test_images_of_a_batch_are_told_apart(converted, images, kind):
    runtime = load_runtime(converted(kind) / FILES[kind])
    forth, back = runtime.run(images), runtime.run(images[::-1])
    for name in forth:
        np.testing.assert_allclose(forth[name], back[name][::-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_predictor_by_every_runtime(run, everything, runtime):
    path = run.path if runtime == "keras" else everything
    file = draw_examples((64, 96))[4].data  # of an odd size
    found = Predictor(path, runtime).predict(file)
    first = Predictor(run.path).predict(file)
    assert found.probabilities == pytest.approx(first.probabilities, abs=1e-5)
    assert found.original_size == first.original_size
    assert [box.pathology for box in found.boxes] == [
        box.pathology for box in first.boxes
    ]
    np.testing.assert_allclose(
        [box.xyxy for box in found.boxes], [box.xyxy for box in first.boxes], atol=1
    )


def test_nobody_is_told_what_is_converted():
    pytest.importorskip("nncf")
    program = (
        "import sys, keras_mscam.exporting.formats.openvino, openvino.tools.ovc; "
        "print(sys.modules['openvino_telemetry'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert result.stdout == "None\n", result.stderr


def test_auto_takes_the_fastest_that_is_installed(everything, monkeypatch):
    missing = set()
    monkeypatch.setattr(runtime, "_is_installed", lambda name: name not in missing)
    for name in ("litert", "openvino", "onnx", "tensorflow"):
        assert runtime.choose_runtime(runtime.find_models(everything), "x") == name
        missing.add(name)


def test_a_path_says_what_runs_it(everything, run):
    base = everything / "keras_mscam"
    assert set(runtime.find_models(base)) == {
        "openvino",
        "litert",
        "onnx",
        "tensorflow",
    }
    assert set(runtime.find_models(base / "1")) == {"tensorflow"}
    assert set(runtime.find_models(base / "1" / "saved_model.pb")) == {"tensorflow"}
    assert set(runtime.find_models(everything / "keras_mscam-onnx")) == {"onnx"}
    assert set(runtime.find_models(everything / "keras_mscam-onnx" / "1")) == {"onnx"}
    assert set(runtime.find_models(run.path)) == {"keras"}
    assert set(runtime.find_models(run.path / "model.keras")) == {"keras"}


def test_a_folder_without_float32_names_the_file_to_give(converted, tmp_path):
    version = tmp_path / "toy-litert" / "1"
    version.mkdir(parents=True)
    (version / "int8.tflite").write_bytes(b"x")
    (version / "contract.json").write_text("{}")
    for path in (tmp_path, version):
        with pytest.raises(UserError, match=r"int8\.tflite"):
            load_runtime(path)


def test_formats_of_an_older_version_are_passed_over(everything, tmp_path):
    shutil.copytree(everything, tmp_path / "models")
    model = tmp_path / "models" / "keras_mscam"
    (model / "1").rename(model / "2")
    assert set(runtime.find_models(tmp_path / "models")) == {"tensorflow"}


@pytest.mark.parametrize(
    "kind, command",
    [("onnx", r'"keras_mscam\[onnx\]"\.$'), ("tensorflow", r"tensorflow\.$")],
)
def test_a_missing_library_is_one_sentence(monkeypatch, kind, command):
    monkeypatch.setattr(runtime, "_is_installed", lambda name: False)
    with pytest.raises(UserError, match=f"not installed: pip install {command}"):
        runtime.choose_runtime({kind: Path("model")}, "model")


@pytest.mark.parametrize(
    "runtime, sentence",
    [
        ("onnx", "has no model for the runtime 'onnx', only for keras"),
        ("torch", "no runtime 'torch'; there are auto, litert"),
    ],
)
def test_a_runtime_that_can_not_run_it_is_a_sentence(run, runtime, sentence):
    with pytest.raises(UserError, match=sentence):
        load_runtime(run.path, runtime)


@pytest.fixture
def copied(converted, tmp_path):
    """Copy an export, and give the path of its exact variant."""

    def copy(kind):
        return Path(shutil.copytree(converted(kind), tmp_path / "copy")) / FILES[kind]

    return copy


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize("kind", FILES)
def test_a_copy_runs_wherever_it_is(copied, kind):
    path = copied(kind)
    assert runtime.find_models(path.parent) == {kind: path}
    assert load_runtime(path.parent).name == kind


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_a_sentence(copied, kind):
    path = copied(kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(UserError, match=r"float32\.\w+ has changed since it was"):
        load_runtime(path)
    (path.parent / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"float32\.\w+ can't be loaded"):
        load_runtime(path)


@pytest.mark.parametrize("kind", FILES)
def test_a_flipped_bit_of_a_weight_is_found(copied, kind):
    path = copied(kind)
    weights = path.with_suffix(".bin") if kind == "openvino" else path
    flip_a_bit(weights)
    with pytest.raises(UserError, match=f"{weights.name} has changed since"):
        load_runtime(path)


LIBRARIES = {
    "litert": "ai_edge_litert.interpreter.Interpreter",
    "onnx": "onnxruntime.InferenceSession",
    "openvino": "keras_mscam.inference.runtimes.converted.get_core",
    "saved_model": "tensorflow.saved_model.load",
}
DAMAGE = (
    lambda data: None,
    lambda data: b"",
    lambda data: data[:-1],
    lambda data: data + b"\0",
    lambda data: bytes([data[0] ^ 1]) + data[1:],
    lambda data: data[:-1] + bytes([data[-1] ^ 128]),
)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_library_never_sees_what_has_changed(
    converted, exported, tmp_path, monkeypatch, kind
):
    """Libraries parse files in C++, and take them for good."""
    source = exported if kind == "saved_model" else converted(kind)
    folder = Path(shutil.copytree(source, tmp_path / "1"))
    pytest.importorskip(LIBRARIES[kind].split(".")[0])
    monkeypatch.setattr(LIBRARIES[kind], lambda *_, **__: pytest.fail("is loaded"))
    model = folder / FILES.get(kind, "saved_model.pb")
    files = [*folder.glob(f"{model.stem}.*"), *folder.glob("variables/*")]
    for file in (*files, *folder.rglob("contract.json")):
        content = file.read_bytes()
        for damage in DAMAGE:
            file.unlink(missing_ok=True)
            if damage(content) is not None:
                file.write_bytes(damage(content))
            with pytest.raises(
                UserError, match=r"changed|damaged|can't be read|no (ex|mod)"
            ):
                load_runtime(folder)
        file.write_bytes(content)


def test_a_flipped_bit_of_a_saved_model_is_found(exported, tmp_path):
    copy = shutil.copytree(exported, tmp_path / "1")
    flip_a_bit(copy / "variables" / "variables.data-00000-of-00001")
    with pytest.raises(UserError, match=r"variables\.data-\S+ has changed since"):
        load_runtime(copy)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"image_size": [32, 32]}, r"takes 'image' of \[32, 32, 1\]: it takes 'image'"),
        ({"blocks": [2, 3, 5]}, "gives 'cam_block5' of 3 pathologies: it gives"),
        (
            {"pathologies": ["Mass"]}
            | {name: [0.5] for name in _BY_PATHOLOGY}
            | {name: [[0.5]] * 3 for name in _BY_BLOCK},
            "gives 'probabilities' of 1 pathologies: it gives",
        ),
    ],
)
def test_the_contract_of_another_model_is_a_sentence(copied, kind, change, sentence):
    path = copied(kind)
    (path.parent / "manifest.json").unlink()
    contract = path.with_name("contract.json")
    contract.write_text(json.dumps(json.loads(contract.read_text()) | change))
    with pytest.raises(UserError, match=sentence):
        load_runtime(path)


def test_a_file_without_its_contract_is_a_sentence(converted, tmp_path):
    path = shutil.copy(converted("onnx") / "float32.onnx", tmp_path)
    with pytest.raises(UserError, match=r"contract\.json can't be read"):
        load_runtime(path)


@pytest.mark.parametrize("name", ["a.txt", "a.keras"])
def test_other_files_are_a_sentence(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"is no model|can't be read by itself"):
        load_runtime(tmp_path / name)
