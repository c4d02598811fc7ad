import json

import numpy as np

from keras_mscam.inference.find_boxes import Box
from keras_mscam.inference.prediction import split_outputs


def make_outputs():
    boxes = np.zeros((2, 2, 2, 4), "float32")
    scores = np.zeros((2, 2, 2), "float32")
    boxes[0, 0, 0], scores[0, 0, 0] = [1, 2, 3, 4], 0.25
    boxes[0, 1, 0], scores[0, 1, 0] = [5, 6, 7, 8], 0.75
    return {
        "probabilities": np.array([[0.5, 0.75], [-1, -1]], "float32"),
        "positives": np.array([[True, True], [False, False]]),
        "cam_block3": np.ones((2, 2, 2, 2)),
        "cam_block2": np.ones((2, 4, 4, 2)),
        "attention": np.ones((2, 8, 8, 2)),
        "relevance_weights": np.full((2, 2, 2), 0.5),
        "boxes": boxes,
        "box_scores": scores,
        "pathologies": np.array([[b"Mass", b"Nodule"]] * 2, object),
        "original_size": np.array([[100, 200], [0, 0]]),
        "error": np.array([b"", b"is empty"], object),
    }


def test_one_prediction_for_each_image():
    first, second = split_outputs(make_outputs())
    assert first.probabilities == {"Mass": 0.5, "Nodule": 0.75}
    assert first.pathologies == ("Mass", "Nodule")
    assert first.positives == ("Nodule", "Mass")  # the most probable first
    assert first.boxes == (
        Box("Nodule", (5, 6, 7, 8), 0.75), Box("Mass", (1, 2, 3, 4), 0.25)
    )  # fmt: skip
    assert first.original_size == (100, 200)
    assert list(first.cams) == [2, 3]
    assert first.attention.shape == (8, 8, 2)
    assert first.error is None
    assert second.error == "is empty"
    assert second.probabilities == {} and second.boxes == second.positives == ()


def test_signatures_without_maps_or_boxes():
    names = ("probabilities", "positives", "pathologies", "original_size", "error")
    outputs = {name: make_outputs()[name] for name in names}
    first, _ = split_outputs(outputs)
    assert first.attention is None and first.boxes == () and first.cams == {}


def test_strings_may_be_text():
    outputs = make_outputs()
    for name in ("pathologies", "error"):
        outputs[name] = outputs[name].astype(str)
    assert split_outputs(outputs)[0].pathologies == ("Mass", "Nodule")


def test_to_dict_is_json():
    content = json.loads(json.dumps(split_outputs(make_outputs())[0].to_dict()))
    assert content["probabilities"] == {"Mass": 0.5, "Nodule": 0.75}
    assert content["boxes"][0] == {
        "pathology": "Nodule", "xyxy": [5, 6, 7, 8], "score": 0.75
    }  # fmt: skip
