"""The network that comes with the package."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from keras_mscam import Predictor
from keras_mscam.cli.predict import _find_model
from keras_mscam.errors import UserError
from keras_mscam.exporting.examples import draw_examples
from keras_mscam.inference.run_folder import PRETRAINED
from keras_mscam.pathologies import BOXED_PATHOLOGIES

BOXED = Path(__file__).parents[3] / "shared" / "data" / "chestxray14-boxed"


@pytest.fixture(scope="module")
def metrics():
    return json.loads((PRETRAINED / "metrics.json").read_text())


@pytest.fixture(scope="module")
def predictor():
    return Predictor()


def test_it_predicts_without_being_named(predictor):
    prediction = predictor.predict(draw_examples((512, 640))[0].data)
    assert set(prediction.pathologies) == set(BOXED_PATHOLOGIES)
    assert all(0 < value < 1 for value in prediction.probabilities.values())
    assert sum(file.stat().st_size for file in PRETRAINED.iterdir()) < 2e6


def test_its_card_says_what_was_measured(metrics):
    # A network with less was not to come with the package.
    assert metrics["auroc_mean"]["value"] >= 0.65
    card = (PRETRAINED / "README.md").read_text()
    said = re.findall(r"^\| (\w+) \| (\S+) \[", card, re.MULTILINE)
    table = metrics["classification"]
    expected = {name: table[name]["auroc"]["value"] for name in table}
    expected["mean"] = metrics["auroc_mean"]["value"]
    assert dict(said) == {name: f"{value:.2f}" for name, value in expected.items()}


def test_it_reaches_what_its_card_says(predictor, metrics):
    if not BOXED.is_dir():
        pytest.skip("needs the X-rays of ../shared/data")
    with (BOXED / "Data_Entry_2017_v2020.csv").open() as file:
        found = {
            row["Image Index"]: row["Finding Labels"] for row in csv.DictReader(file)
        }
    files = sorted((BOXED / "images").glob("*.png"))
    predictions = [
        prediction
        for start in range(0, len(files), 64)
        for prediction in predictor.predict_batch(files[start : start + 64])
    ]
    for name, measured in metrics["classification"].items():
        truth = [name in found[file.name].split("|") for file in files]
        scores = [prediction.probabilities[name] for prediction in predictions]
        auroc = roc_auc_score(truth, scores)
        assert auroc == pytest.approx(measured["auroc"]["value"], abs=0.005)


def test_the_first_path_may_be_a_model_or_an_xray(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # Folders of X-rays are numbered like versions of a model.
    for folder in ("plain", "patients/1", "patients/2"):
        Path(folder).mkdir(parents=True)
        cv2.imwrite(f"{folder}/a.png", np.zeros((40, 40), "uint8"))
    model = str(run.path)
    assert _find_model((model, "plain/a.png")) == (model, ("plain/a.png",))
    assert _find_model(("hf://owner/name", "a.png"))[0] == "hf://owner/name"
    assert (
        _find_model(("model.onnx", "a.png"))[0] == "model.onnx"
    )  # not there: an error
    assert capsys.readouterr().err == ""
    for inputs in (("plain/a.png",), ("plain",), ("patients",), ("*/a.png",), ("-",)):
        assert _find_model(inputs) == (PRETRAINED, inputs)
        assert (
            "the small network that comes with the package" in capsys.readouterr().err
        )
    with pytest.raises(UserError, match="no model, and no X-ray, at runs/typo"):
        _find_model(("runs/typo", "plain/a.png"))
