"""Only the exposed field is looked at; boxes are in the pixels of the whole image."""

import cv2
import numpy as np
import pytest

from keras_mscam import Predictor
from keras_mscam.exporting.examples import draw_examples
from keras_mscam.images.reader import read_xray
from keras_mscam.images.xray import Frame, XRay

from ..images.odd_files import save_dicom

TOP, BOTTOM, LEFT, RIGHT = 31, 7, 12, 50


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor(run.path)


@pytest.fixture(scope="module")
def chest():
    data = np.frombuffer(draw_examples((64, 96))[0].data, np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def pad(chest, value=0):
    return np.pad(chest, ((TOP, BOTTOM), (LEFT, RIGHT)), constant_values=value)


def compare(padded, plain):
    assert padded.probabilities == pytest.approx(plain.probabilities, abs=1e-6)
    assert padded.boxes and len(padded.boxes) == len(plain.boxes)
    for one, other in zip(padded.boxes, plain.boxes, strict=True):
        moved = np.add(other.xyxy, [LEFT, TOP, LEFT, TOP])
        np.testing.assert_allclose(one.xyxy, moved, atol=1e-3)
    height, width = plain.original_size
    assert padded.original_size == (TOP + height + BOTTOM, LEFT + width + RIGHT)
    assert padded.field == (LEFT, TOP, LEFT + width, TOP + height)


def test_a_field_given(predictor, chest):
    height, width = chest.shape
    image = pad(chest, 90)
    frame = Frame(image.shape, field=(LEFT, TOP, LEFT + width, TOP + height))
    padded, plain = predictor.predict_xrays([XRay(image, frame), read_xray(chest)])
    compare(padded, plain)


def test_the_collimator_of_a_dicom_file(predictor, chest):
    image = pad(chest, 255)
    height, width = chest.shape
    # Columns and rows counted from 1, both edges inside.
    file = save_dicom(
        image,
        CollimatorShape="RECTANGULAR",
        CollimatorLeftVerticalEdge=LEFT + 1,
        CollimatorRightVerticalEdge=LEFT + width,
        CollimatorUpperHorizontalEdge=TOP + 1,
        CollimatorLowerHorizontalEdge=TOP + height,
    )
    padded, plain = predictor.predict_batch([file, chest])
    compare(padded, plain)
    assert "collimation" in padded.warnings[0]


def test_borders_are_cut_when_asked(predictor, chest):
    chest = np.clip(chest, 20, 255)
    chest[0, ::2] = chest[-1, ::2] = chest[::2, 0] = chest[::2, -1] = 200
    image = pad(chest)
    asked = read_xray(image, crop_borders=True)
    padded, plain = predictor.predict_xrays([asked, read_xray(chest)])
    compare(padded, plain)
    assert "borders" in padded.warnings[0]
    assert read_xray(image).frame.field is None
