import json

from keras_mscam.batch_predict.outputs import (
    Predicted,
    describe_prediction,
    measure_box,
)
from keras_mscam.batch_predict.stream import Refused, describe_refusal


def test_millimetres():
    # 20 pixels across of 0.1 mm, 30 down of 0.2.
    assert measure_box((10, 5, 30, 35), (0.2, 0.1)) == {
        "width": 2.0, "height": 6.0, "area": 12.0,
    }  # fmt: skip


def test_prediction(prediction):
    found = prediction(
        boxes=[(10.0, 5.0, 30.0, 35.0)],
        pixel_spacing=(0.2, 0.1),
        spacing_plane="detector",
    )
    item = Predicted("a/1.dcm", "1", (3, 7), None, found)
    line = describe_prediction(item, {"maps": "m"})
    assert json.loads(json.dumps(line)) == {
        "path": "a/1.dcm",
        "status": "read",
        "stamp": [3, 7],
        "name": "1",
        "positives": ["Mass", "Effusion"],
        "probabilities": {"Effusion": 0.5, "Mass": 0.75, "Nodule": 0.333333},
        "boxes": [
            {
                "pathology": "Mass",
                "xyxy": [10, 5, 30, 35],
                "score": 0.5,
                "millimetres": {"width": 2, "height": 6, "area": 12},
            }
        ],
        "original_size": [60, 40],
        "pixel_spacing": [0.2, 0.1],
        "spacing_plane": "detector",
        "warnings": [],
        "field": None,
        "files": {"maps": "m"},
    }


def test_no_millimetres_without_spacing(prediction):
    found = prediction(boxes=[(1.0, 2.0, 3.0, 4.0)])
    item = Predicted("1.png", "1", (3, 7), None, found)
    line = describe_prediction(item, {})
    assert "millimetres" not in line["boxes"][0]


def test_refusal():
    assert describe_refusal("x", Refused(None, "is empty")) == {
        "path": "x", "status": "refused", "stamp": None, "error": "is empty",
    }  # fmt: skip
