"""What a predictor's answer holds to be shown: its X-ray, figures, a card."""

import numpy as np
import pytest

from keras_mscam import Predictor
from keras_mscam.images.xray import Frame

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 70), "uint8")


def test_a_prediction_shows_itself(run):
    predictor = Predictor(run.path)
    prediction = predictor.predict(PIXELS)
    assert (prediction.image == PIXELS).all()
    # Effusion is the one that this network always calls.
    assert prediction.plot().axes[0].get_title().split(",")[0] in prediction.positives
    html = prediction._repr_html_()
    assert "● Effusion" in html and "<img" in html
    # Many at once don't keep their X-rays.
    (bulk,) = predictor.predict_resized(
        np.zeros((1, 64, 96), "uint8"), [Frame((64, 70))]
    )
    assert bulk.image is None
    assert "<img" not in bulk._repr_html_()


def test_the_models_own_weights_give_its_own_boxes(run):
    prediction = Predictor(run.path).predict(PIXELS)
    name = prediction.positives[0]
    shares = prediction.find_shares(name)
    same = prediction.change(name, shares)
    mine = [box for box in prediction.boxes if box.pathology == name]
    assert mine and [box.xyxy for box in same.boxes] == [box.xyxy for box in mine]
    assert np.allclose(
        [box.score for box in same.boxes], [box.score for box in mine], rtol=1e-5
    )


def test_it_can_be_explored(run):
    pytest.importorskip("ipywidgets", reason="needs ipywidgets (extra `notebooks`)")
    from keras_mscam.visualization.explorer import Explorer

    prediction = Predictor(run.path).predict(PIXELS)
    explorer = Explorer(prediction, "Mass")
    explorer.blocks[0].value = False
    assert {box.pathology for box in explorer.prediction.boxes} <= {"Mass"}
