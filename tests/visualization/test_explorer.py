"""The explorer without a browser: its controls are set, and what they do is read."""

import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import Box, find_boxes
from keras_mscam.inference.prediction import Prediction

pytest.importorskip("ipywidgets", reason="needs ipywidgets (the extra `notebooks`)")
from keras_mscam.visualization.explorer import Explorer

RNG = np.random.default_rng(0)
SIZE = (48, 72)


@pytest.fixture
def prediction():
    """As a predictor gives it, of two pathologies and three blocks."""
    weights = ((0.2, 0.5), (0.3, 0.25), (0.5, 0.25))
    contract = Contract(
        "toy", ("Mass", "Nodule"), (2, 3, 4), (32, 48), (8, 12), weights, weights,
        (1.0, 1.0), (0.0, 0.0), (0.5, None), "min_max", (1.0, 1.0),
        1 / 3, 0.0, 1.0, 10,
    )  # fmt: skip
    cams = {2: (8, 12, 2), 3: (4, 6, 2), 4: (2, 3, 2)}
    cams = {block: RNG.normal(size=shape) for block, shape in cams.items()}
    outputs = {f"cam_block{block}": cam[None] for block, cam in cams.items()}
    outputs["probabilities"] = np.array([[0.8, 0.3]], "float32")
    boxes, scores = find_boxes(contract, outputs, np.array([SIZE]))
    found = [
        Box("Mass", tuple(map(float, box)), float(score))
        for box, score in zip(boxes[0, 0], scores[0, 0], strict=True)
        if score
    ]
    return Prediction(
        {"Mass": 0.8, "Nodule": 0.3}, tuple(found), SIZE, cams=cams, contract=contract,
        image=RNG.integers(0, 256, SIZE, "uint8"),
    )  # fmt: skip


def read_picture(explorer):
    data = np.frombuffer(explorer.picture.value, "uint8")
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def test_begins_as_the_model_has_it(prediction):
    explorer = Explorer(prediction)
    assert explorer.pathology.value == "Mass"
    assert [slider.value for slider in explorer.weights] == [0.2, 0.3, 0.5]
    for box, expected in zip(explorer.prediction.boxes, prediction.boxes, strict=True):
        assert box.xyxy == expected.xyxy
        assert box.score == pytest.approx(expected.score, rel=1e-5)
    assert np.allclose(explorer.prediction.heatmap("Mass"), prediction.heatmap("Mass"))
    assert read_picture(explorer).shape == (*SIZE, 3)


def test_a_block_switched_off_counts_nothing(prediction):
    explorer = Explorer(prediction)
    explorer.blocks[2].value = False
    # 0.2 and 0.3 of their sum, 0.5.
    assert [label.value for label in explorer.shares] == [
        "counts 0.40", "counts 0.60", "counts 0.00"
    ]  # fmt: skip
    without = replace(prediction, cams={**prediction.cams, 4: np.zeros((2, 3, 2))})
    expected = without.heatmap("Mass")  # min-max: the factor makes no difference
    assert np.allclose(explorer.prediction.heatmap("Mass"), expected, atol=1e-6)


def test_the_threshold_moves_the_boxes_and_reset_brings_them_back(prediction):
    explorer = Explorer(prediction)
    before, picture = explorer.prediction.boxes, explorer.picture.value
    explorer.threshold.value = 0.95
    areas = [
        sum((b.xyxy[2] - b.xyxy[0]) * (b.xyxy[3] - b.xyxy[1]) for b in boxes)
        for boxes in (before, explorer.prediction.boxes)
    ]
    assert areas[1] < areas[0]
    assert explorer.picture.value != picture
    explorer.threshold.value = 0.33  # where it began: a third, to the nearest step
    assert explorer.prediction.boxes == before
    assert explorer.prediction.contract.shown_threshold == 1 / 3
    explorer.threshold.value = 0.5
    explorer.weights[0].value = 1.0
    explorer.opacity.value = 0.2
    explorer.reset_button.click()
    assert explorer.prediction.boxes == before
    assert explorer.picture.value == picture


def test_another_pathology_has_its_own_weights(prediction):
    explorer = Explorer(prediction)
    explorer.blocks[0].value = False
    explorer.pathology.value = "Nodule"
    assert explorer.blocks[0].value
    assert [slider.value for slider in explorer.weights] == [0.5, 0.25, 0.25]
    assert {box.pathology for box in explorer.prediction.boxes} == {"Nodule"}
    assert "Nodule: not positive" in explorer.text.value


def test_without_opacity_only_boxes_are_drawn(prediction):
    explorer = Explorer(prediction)
    for box in explorer.blocks:
        box.value = False
    assert explorer.prediction.boxes == ()
    explorer.blocks[0].value = True
    explorer.threshold.value = 0.99
    explorer.opacity.value = 0.0
    picture, image = read_picture(explorer), prediction.image
    left = np.ones(SIZE, bool)
    for box in explorer.prediction.boxes:
        x_min, y_min, x_max, y_max = np.rint(box.xyxy).astype(int)
        left[max(0, y_min - 1) : y_max + 1, max(0, x_min - 1) : x_max + 1] = False
    assert left.any() and (picture == image[..., None])[left].all()


def test_shows_itself(prediction):
    view = "application/vnd.jupyter.widget-view+json"
    assert view in Explorer(prediction)._repr_mimebundle_()


@pytest.mark.parametrize(
    ("without", "sentence"),
    [
        ({"image": None}, "doesn't hold its X-ray"),
        ({"contract": None}, "with its maps"),
        ({"cams": {}}, "with its maps"),
        ({"probabilities": {}, "error": "is empty"}, "the image is empty"),
    ],
)
def test_what_cannot_be_explored(prediction, without, sentence):
    with pytest.raises(UserError, match=sentence):
        Explorer(replace(prediction, **without))


def test_without_ipywidgets(prediction, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(UserError, match=r"keras_mscam\[notebooks\]"):
        Explorer(prediction)


def test_warnings_stand_beside_the_picture(prediction):
    explorer = Explorer(replace(prediction, warnings=("Its sides are < 1.",)))
    explorer.pathology.value = "Nodule"
    assert explorer.text.value.endswith("<br>⚠ Its sides are &lt; 1.")
