import importlib
import json
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

import keras_mscam
from keras_mscam.batch_predict.predict_files import predict
from keras_mscam.cli import weights
from keras_mscam.configs.schema import ModelConfig
from keras_mscam.errors import UserError
from keras_mscam.evaluation.evaluate_run import evaluate
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import write_config
from keras_mscam.modeling import build_classifier
from keras_mscam.modeling.classifier import find_leaves
from keras_mscam.modeling.published import OUTPUT_NAMES, read_published
from keras_mscam.modeling.pytorch_layouts import pair_layers
from keras_mscam.training.convert_weights import convert
from keras_mscam.training.initial_weights import (
    adopt_normalization,
    build_initial_classifier,
    open_weights,
)

from ..conftest import write_pytorch

SIZE = (64, 64)
NAMES = OUTPUT_NAMES["torchxrayvision"]


@pytest.fixture(scope="module")
def network():
    """A DenseNet-121 for TorchXRayVision's pixels, with 18 outputs."""
    keras.utils.set_random_seed(3)
    classifier = build_classifier(
        18, SIZE, "densenet121", (4,), normalization="torchxrayvision"
    )
    bias = np.random.default_rng(3).normal(size=18)
    classifier.get_layer("head_block4").bias.assign(bias)
    return classifier


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    """Its weights as TorchXRayVision saves them."""
    layers = find_leaves(network)
    parts = ("weight", "bias", "running_mean", "running_var")
    tensors = {}
    for torch_name, keras_name in pair_layers("densenet121"):
        for part, array in zip(parts, layers[keras_name].get_weights(), strict=False):
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
            tensors[f"features.{torch_name}.{part}"] = np.ascontiguousarray(array)
    kernel, bias = layers["head_block4"].get_weights()
    tensors |= {"classifier.weight": kernel.T.copy(), "classifier.bias": bias}
    thresholds = np.linspace(0.1, 0.9, 18, dtype="float32")
    thresholds[[3, 14]] = np.nan  # Pneumothorax and Lung Lesion were not trained
    folder = tmp_path_factory.mktemp("weights")
    tensors |= {"op_threshs": thresholds}
    write_pytorch(folder / "densenet121.pt", tensors)
    save_file(tensors, folder / "xrv.safetensors")
    return folder / "xrv.safetensors"


@pytest.fixture(scope="module")
def run(checkpoint, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "converted"
    return convert(checkpoint, output, image_size=SIZE)


@pytest.fixture
def xray(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, SIZE).astype("uint8")
    cv2.imwrite(str(tmp_path / "xray.png"), pixels)
    return tmp_path / "xray.png", pixels


@pytest.fixture(scope="module")
def published(run):
    output = run.path.with_name("published")
    write_config(run, {"commit": "trained"})
    command("publish", run.path, "--output", output, "--license", "mit")
    return output


@pytest.fixture
def hub(monkeypatch, published, tmp_path):
    """A hub that holds a copy of the published run at `owner/name`."""
    folder = shutil.copytree(published, tmp_path / "hub")

    def download(repository, revision=None):
        if repository != "owner/name":
            raise OSError("no such\nrepository")
        return str(folder)

    fake = SimpleNamespace(snapshot_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return folder


def command(*arguments):
    sys.argv = ["keras_mscam-weights", *map(str, arguments)]
    weights.main()


def test_a_converted_run_predicts_what_the_network_does(network, run, xray):
    path, pixels = xray
    prediction = keras_mscam.Predictor(run.path).predict(path)
    logits = np.array(network(pixels[None, ..., None])["logits"])[0]
    kept = [i for i in range(18) if i not in (3, 14)]
    assert list(prediction.probabilities) == [NAMES[i] for i in kept]
    np.testing.assert_allclose(
        list(prediction.probabilities.values()), 1 / (1 + np.exp(-logits[kept])), 1e-4
    )
    thresholds = np.linspace(0.1, 0.9, 18)[kept]
    np.testing.assert_allclose(
        prediction.contract.probability_thresholds, thresholds, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("op_threshs", (17,), r"thresholds of shape \(17,\) for 18 outputs"),
        ("op_threshs", (3, 6), r"thresholds of shape \(3, 6\) for 18 outputs"),
        ("features.conv0.weight", (3,), r"features\.conv0\.weight that is no kernel"),
    ],
)
def test_tensors_of_another_shape_are_one_sentence(
    checkpoint, tmp_path, name, shape, message
):
    tensors = load_file(checkpoint) | {name: np.zeros(shape, "float32")}
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match=message):
        read_published(tmp_path / "odd.safetensors")


@pytest.mark.slow
def test_names_are_given_and_chosen(checkpoint, tmp_path):
    names = [f"finding {i}" for i in range(17)] + [""]
    run = convert(
        checkpoint, tmp_path / "run", names=names, keep=["finding 5", "finding 2"],
        image_size=SIZE, probability_threshold=0.3,
    )  # fmt: skip
    loaded = load_classifier(run)
    kernel = read_published(checkpoint).head[0]
    np.testing.assert_array_equal(
        loaded.get_layer("head_block4").get_weights()[0], kernel[:, [5, 2]]
    )
    with pytest.raises(UserError, match="has 18 outputs, but 14 names are given"):
        convert(checkpoint, tmp_path / "b", names=["chestxray14"])
    with pytest.raises(UserError, match="has no output 'Edema'; it has finding 0"):
        convert(checkpoint, tmp_path / "b", names=names, keep=["Edema"])
    with pytest.raises(UserError, match="'x' is given twice"):
        convert(checkpoint, tmp_path / "b", names=["x"] * 18)
    assert not (tmp_path / "b").exists()


def test_records_calibrate_what_they_have_labels_of(
    checkpoint, phantom_records, tmp_path, capsys
):
    run = convert(checkpoint, tmp_path / "run", data=phantom_records, image_size=SIZE)
    assert "Left out, as" in capsys.readouterr().err
    content = json.loads(run.calibration_path.read_text())
    # Of TorchXRayVision's eighteen less two, the built-in set has seven.
    assert set(content["calibrations"]) == {
        "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule",
        "Pneumonia",
    }  # fmt: skip
    assert np.min(content["map_deviations"]) > 0
    metrics = evaluate(run.path, report=False, progress=False).metrics
    assert set(metrics["classification"]) == set(content["calibrations"])


def test_tensors_that_do_not_match_are_listed(checkpoint, tmp_path):
    tensors = load_file(checkpoint)
    tensors["features.norm9.weight"] = tensors.pop("features.norm5.weight")
    path = tmp_path / "renamed.safetensors"
    save_file(tensors, path)
    with pytest.raises(UserError, match="1 tensors of a densenet121 are missing") as e:
        convert(path, tmp_path / "run")
    assert "missing (norm5.weight)" in str(e.value)
    assert "1 tensors are left over (features.norm9.weight)" in str(e.value)
    with pytest.raises(UserError, match="is no plain densenet121"):
        open_weights(ModelConfig(weights=str(path)))
    assert not (tmp_path / "run").exists()


def test_tensors_of_other_shapes_are_refused(checkpoint, tmp_path):
    tensors = load_file(checkpoint)
    name = "features.denseblock2.denselayer3.conv1.weight"
    tensors[name] = tensors[name][:64].copy()
    path = tmp_path / "narrow.safetensors"
    save_file(tensors, path)
    with pytest.raises(UserError, match="its layer conv3_block3_1_conv has the shape"):
        convert(path, tmp_path / "run", image_size=SIZE)
    assert not (tmp_path / "run").exists()


def test_a_training_starts_from_the_file_and_from_its_run(checkpoint, run, capsys):
    pathologies = ["Mass", "Tuberculosis"]
    column = NAMES.index("Mass")
    kernel, bias = read_published(checkpoint).head
    image = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 1)).astype("uint8")
    features = []
    for source in (checkpoint, run.path):
        model = ModelConfig(weights=str(source), blocks=(3, 4))
        classifier = build_initial_classifier(
            adopt_normalization(model), pathologies, SIZE
        )
        head = classifier.get_layer("head_block4")
        np.testing.assert_array_equal(np.array(head.kernel)[:, 0], kernel[:, column])
        assert np.array(head.bias)[0] == bias[column]
        features.append(classifier.get_layer("backbone")(image)[1])
    assert "for Mass, the head of block 4" in capsys.readouterr().err
    # The normalization of grey values and the epsilons come with the weights.
    np.testing.assert_array_equal(*features)
    with pytest.raises(UserError, match="is a densenet121, not a resnet50: give"):
        open_weights(ModelConfig(weights=str(checkpoint), backbone="resnet50"))


def test_what_is_published_names_no_folder(run, hub):
    assert sorted(path.name for path in hub.iterdir()) == [
        "README.md", "SHA256SUMS", "calibration.json", "config.json", "model.keras",
        "relevance_weights.csv", "source.json",
    ]  # fmt: skip
    for name in ("README.md", "config.json", "source.json"):
        assert str(run.path.parent) not in (hub / name).read_text()
    environments = [
        json.loads((folder / "config.json").read_text())["environment"]
        for folder in (run.path, hub)
    ]
    assert environments[0] == environments[1] and environments[0]["commit"] == "trained"
    card = (hub / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n") and "{{" not in card
    assert "Converted from `xrv.safetensors`" in card
    assert "were not calibrated" in card and "not for diagnosis" in card


@pytest.mark.slow
def test_a_published_run_is_taken_from_a_hub(run, hub, xray, tmp_path):
    path, _ = xray
    expected = keras_mscam.Predictor(run.path).predict(path)
    found = keras_mscam.Predictor("hf://owner/name@main").predict(path)
    assert found.probabilities == expected.probabilities
    assert keras_mscam.load_run("hf://owner/name").path == hub
    predict("hf:/owner/name", [path], tmp_path / "results", workers=1)
    assert (tmp_path / "results" / "predictions.csv").is_file()
    assert open_weights(ModelConfig(weights="hf://owner/name")).path == hub
    with pytest.raises(UserError, match="give another folder by --output"):
        evaluate("hf://owner/name")


def test_what_a_hub_may_do_wrong(hub, monkeypatch):
    with pytest.raises(UserError, match=r"downloaded \(OSError\): no such repo"):
        keras_mscam.load_run("hf://owner/other")
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(UserError, match="needs kagglehub: pip install"):
        keras_mscam.load_run("kaggle://owner/model/keras/small")
    with (hub / "model.keras").open("r+b") as file:
        file.seek(5000)
        file.write(b"\0\0\0\0")
    with pytest.raises(UserError, match=r"model\.keras is missing, or not as its"):
        keras_mscam.load_run("hf://owner/name")
    (hub / "model.keras").unlink()
    with pytest.raises(UserError, match=r"model\.keras is missing"):
        keras_mscam.Predictor("hf://owner/name")


def test_weights_of_others_on_a_hub(hub, checkpoint, tmp_path):
    """A folder as timm's on the Hugging Face Hub: weights, and a config of its own."""
    shutil.rmtree(hub)
    hub.mkdir()
    (hub / "config.json").write_text('{"architecture": "densenet121"}')
    with pytest.raises(UserError, match="unknown section"):
        open_weights(ModelConfig(weights="hf://owner/name"))
    shutil.copy(checkpoint, hub / "model.safetensors")
    published = open_weights(ModelConfig(weights="hf://owner/name"))
    assert published.backbone == "densenet121"
    assert convert("hf://owner/name", tmp_path / "run", image_size=SIZE).path.is_dir()


@pytest.mark.slow
def test_the_commands_of_the_readme(
    checkpoint, phantom_records, undrawn, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("densenet121.pt").symlink_to(checkpoint.with_name("densenet121.pt"))
    Path("records").symlink_to(phantom_records)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200)).astype("uint8")
    cv2.imwrite("chest.png", pixels)
    readme = Path(__file__).parents[2] / "README.md"
    text = readme.read_text().split("<!-- published weights -->\n```bash\n")[1]
    for line in text.split("```")[0].splitlines():
        name, *arguments = shlex.split(line, comments=True)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        module = name.removeprefix("keras_mscam-")
        importlib.import_module(f"keras_mscam.cli.{module}").main()
    assert Path("results-published/predictions.csv").is_file()
    history = pd.read_csv("runs/multiscale/history.csv")
    assert list(history["epoch"]) == [0]
    weights_of_blocks = pd.read_csv("runs/multiscale/relevance_weights.csv")
    assert list(weights_of_blocks.columns[1:]) == ["block2", "block3", "block4"]
    assert "head of block 4" in capsys.readouterr().err
    assert keras_mscam.load_run("published").config.model.blocks == (2, 3, 4)


def test_the_command(checkpoint, tmp_path, capsys):
    command("inspect", checkpoint)
    said = capsys.readouterr().out
    assert "densenet121, 1 input channels" in said
    assert "18, Atelectasis, Consolidation, Infiltration, (not trained), Edema" in said
    command("convert", checkpoint, "--output", tmp_path / "r", "--image-size", 64, 96)
    assert (tmp_path / "r" / "model.keras").is_file()
    with pytest.raises(SystemExit) as end:
        command("convert", checkpoint, "--output", tmp_path / "r")
    assert end.value.code == 2
    assert "already exists and isn't empty" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command("train")
    said = capsys.readouterr().err
    assert "Available subcommands: inspect, convert, average, publish" in said
