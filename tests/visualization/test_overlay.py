import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mscam.errors import UserError
from keras_mscam.exporting.graph.overlay_png import draw_overlays
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import Box
from keras_mscam.inference.prediction import Prediction
from keras_mscam.visualization.overlay import draw_overlay

CYAN = (0, 255, 255)


def predict(cam, size, boxes=(), field=None, image_size=None):
    """A prediction of one pathology whose map is `cam`, at the network's size."""
    height, width = image_size or cam.shape
    contract = Contract(
        "toy", ("Mass",), (2,), (height, width), (height, width), ((1.0,),),
        ((1.0,),), (1.0,), (0.0,), (0.0,), "min_max", (1.0,), 0.5, 0.0, 1.0, 5,
    )  # fmt: skip
    return Prediction(
        {"Mass": 1.0},
        tuple(Box("Mass", tuple(map(float, box)), 1.0) for box in boxes),
        size,
        cams={2: np.asarray(cam, "float32")[..., None]},
        contract=contract,
        field=field,
    )


def smooth(height, width):
    """A map from 0 to 1 whose levels differ from pixel to pixel by little."""
    y, x = np.mgrid[:height, :width]
    return (1 - np.cos(2 * np.pi * y / (height - 1))) * x / (2 * width - 2)


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (300, 77)])
def test_like_the_exported_signature(size):
    # At the size that the network sees, with boxes inside, over the edge and apart.
    boxes = [(5, 6, 40, 50), (-10, 30, 20, 200), (60, 70, 61, 71)]
    xray = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    heat = smooth(*size).astype("float32")
    (data,) = draw_overlays(
        tf.constant(xray[None, ..., None]),
        tf.constant((heat / heat.max())[None]),
        tf.constant([size]),
        tf.constant([boxes], tf.float32),
        tf.ones((1, len(boxes))),
    ).numpy()
    expected = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    drawn = draw_overlay(xray, predict(heat, size, boxes), "Mass").astype(int)
    assert drawn.shape == (*size, 3)
    # A level of 255 is at most 0.6 * 1.5 / 255 of opacity: a grey value, and rounding;
    # where two boxes touch, either may be on top.
    assert (np.abs(drawn - expected).max(axis=2) <= 2).mean() > 0.98
    lines = (expected == CYAN).all(axis=2) == (drawn == CYAN).all(axis=2)
    assert lines.mean() > 0.99


def test_cold_pixels_are_left_as_they_are():
    cam = np.zeros((30, 20))
    cam[:, 15:] = 1
    xray = np.random.default_rng(0).integers(0, 256, (30, 20), np.uint8)
    drawn = draw_overlay(xray, predict(cam, (30, 20)), "Mass")
    assert (drawn[:, :14] == xray[:, :14, None]).all()
    # The hottest colour of inferno is (252, 255, 164): 0.4 * grey + 0.6 * colour.
    expected = 0.4 * xray[:, 16:, None] + 0.6 * np.array([252, 255, 164])
    assert np.abs(drawn[:, 16:] - expected).max() <= 1


def test_only_the_field_is_coloured():
    # Cut off: all but columns 10 to 30 and rows 20 to 50 of 60 x 40.
    prediction = predict(smooth(30, 20), (60, 40), field=(10, 20, 30, 50))
    xray = np.full((60, 40), 100, "uint8")
    drawn = draw_overlay(xray, prediction, "Mass")
    coloured = (drawn != 100).any(axis=2)
    assert not coloured[:20].any() and not coloured[50:].any()
    assert not coloured[:, :10].any() and not coloured[:, 30:].any()
    assert coloured[20:50, 10:30].mean() > 0.3


def test_shape_wanted():
    # 10 x 20 pixels of the file are 5 x 20 of a picture of half the height.
    xray = np.full((60, 40), 100, "uint8")
    prediction = predict(np.zeros((30, 20)), (60, 40), [(10, 20, 30, 50)])
    drawn = draw_overlay(xray, prediction, "Mass", (30, 40))
    rows, columns = np.nonzero((drawn == CYAN).all(axis=2))
    assert drawn.shape == (30, 40, 3)
    assert (rows.min(), rows.max() + 1) == (10, 25)
    assert (columns.min(), columns.max() + 1) == (10, 30)
    # A picture that was shrunk before gives the same.
    small = cv2.resize(xray, (40, 30), interpolation=cv2.INTER_AREA)
    assert (draw_overlay(small, prediction, "Mass", (30, 40)) == drawn).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (2, 3)])
def test_tiny_pictures(shape):
    box = [(0, 0, 40, 60), (39, 59, 40, 60), (-5, -5, -1, -1), (100, 100, 120, 130)]
    for field in (None, (39, 59, 40, 60), (0, 0, 1, 1)):
        prediction = predict(smooth(30, 20), (60, 40), box, field)
        xray = np.full((60, 40), 100, "uint8")
        drawn = draw_overlay(xray, prediction, "Mass", shape)
        assert drawn.shape == (*shape, 3) and drawn.dtype == np.uint8


def test_boxes_outside_leave_no_line():
    # Two pixels of rim would be counted from the other edge by negative indices.
    xray = np.full((60, 40), 100, "uint8")
    boxes = [(-20, -20, -10, -10), (50, 70, 60, 80)]
    drawn = draw_overlay(xray, predict(np.zeros((30, 20)), (60, 40), boxes), "Mass")
    assert (drawn == 100).all()


def test_map_that_is_not_finite_is_cold():
    cam = smooth(30, 20)
    cam[3, 3] = np.nan
    xray = np.full((60, 40), 100, "uint8")
    assert (draw_overlay(xray, predict(cam, (60, 40)), "Mass") == 100).all()


def test_unknown_pathology():
    xray = np.zeros((60, 40), "uint8")
    with pytest.raises(UserError, match="no pathology 'Hernia'; it has Mass"):
        draw_overlay(xray, predict(smooth(30, 20), (60, 40)), "Hernia")
