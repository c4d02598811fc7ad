"""Predictions made by hand."""

import numpy as np
import pytest

from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import Box
from keras_mscam.inference.prediction import Prediction

NAMES = ("Effusion", "Mass", "Nodule")


def make_prediction(size=(60, 40), cam=None, boxes=(), **kwargs):
    """Effusion is positive at .25, Mass at .125, Nodule never is; block 2 alone."""
    contract = Contract(
        "toy", NAMES, (2,), (30, 20), (30, 20), ((1.0,) * 3,), ((1.0,) * 3,),
        (1.0,) * 3, (0.0,) * 3, (0.25, 0.125, None), "min_max", (1.0,) * 3,
        0.5, 0.0, 1.0, 5,
    )  # fmt: skip
    if cam is None:
        cam = np.zeros((30, 20), "float32")
        cam[5:15, 2:12] = 1
    cams = np.repeat(np.asarray(cam, "float32")[..., None], 3, axis=2)
    values = {
        "probabilities": {"Effusion": 0.5, "Mass": 0.75, "Nodule": 1 / 3},
        "boxes": tuple(Box("Mass", box, 0.5) for box in boxes),
        "original_size": size,
        "cams": {2: cams},
        "attention": cams,
        "relevance_weights": np.ones((1, 3), "float32"),
        "contract": contract,
    }
    return Prediction(**(values | kwargs))


@pytest.fixture
def prediction():
    """Return what makes a prediction."""
    return make_prediction
