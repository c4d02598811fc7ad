"""What Jupyter shows of a prediction."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import Box
from keras_mscam.inference.prediction import Prediction


def make_prediction(**changes):
    names = ("Mass", "Pleural_Thickening", "Edema")
    weights = ((1.0, 1.0, 1.0),)
    contract = Contract(
        "toy", names, (4,), (32, 48), (8, 12), weights, weights, (1.0,) * 3,
        (0.0,) * 3, (0.5, 0.25, None), "min_max", (1.0,) * 3, 0.5, 0.0, 1.0, 10,
    )  # fmt: skip
    arguments = {
        "probabilities": {"Mass": 0.125, "Pleural_Thickening": 0.75, "Edema": 0.5},
        "boxes": (Box("Pleural_Thickening", (10.2, 20, 40, 50), 0.625),),
        "original_size": (1000, 500),
        "cams": {4: np.random.default_rng(0).normal(size=(4, 6, 3))},
        "contract": contract,
        "image": np.full((1000, 500), 100, "uint8"),
    }
    return Prediction(**{**arguments, **changes})


class Cells(HTMLParser):
    """Text of the cells of every row."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.is_open = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.is_open = self.is_open or tag in ("td", "th")

    def handle_endtag(self, tag):
        self.is_open = self.is_open and tag not in ("td", "th")

    def handle_data(self, data):
        if self.is_open:
            self.rows[-1][-1] += data.strip()


def read_picture(text):
    data = re.search(r"data:image/jpeg;base64,([^\"]+)", text).group(1)
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), "uint8"), 1)


def test_probabilities_by_size_and_positives_marked():
    rows = Cells(make_prediction()._repr_html_()).rows
    assert [row[:2] for row in rows[1:4]] == [
        ["● Pleural Thickening", "0.750"], ["Edema", "0.500"], ["Mass", "0.125"]
    ]  # fmt: skip
    assert rows[5] == ["Pleural Thickening", "0.625", "10, 20 to 40, 50"]


def test_the_picture_is_small_and_shows_the_surest_positive():
    text = make_prediction()._repr_html_()
    assert 'width="160" height="320"' in text and "Map of Pleural Thickening" in text
    picture = read_picture(text)
    assert picture.shape == (480, 240, 3)
    assert np.ptp(picture.astype(int), axis=2).max() > 100  # coloured
    assert len(text) < 60_000
    # A pixel that is twice as wide as it is high makes a square chest.
    text = make_prediction(pixel_spacing=(0.1, 0.2))._repr_html_()
    assert 'width="320" height="320"' in text


def test_without_positives_or_maps_the_x_ray_is_plain():
    for changes in (
        {"probabilities": {"Mass": 0.1, "Pleural_Thickening": 0.1, "Edema": 0.1}},
        {"cams": {}},
    ):
        picture = read_picture(make_prediction(**changes)._repr_html_())
        assert np.ptp(picture.astype(int), axis=2).max() <= 2


def test_without_an_image_or_contract_there_is_a_table_only():
    changes = {"image": None, "contract": None, "called": ("Edema",)}  # of a server
    text = make_prediction(**changes)._repr_html_()
    assert "<img" not in text and "operating points" not in text
    assert ["● Edema", "0.500", ""] in Cells(text).rows
    assert ["Pleural Thickening", "0.750", ""] in Cells(text).rows


def test_warnings_and_errors_are_sentences():
    warned = make_prediction(warnings=("It is a <lateral> view.",))._repr_html_()
    assert "⚠ It is a &lt;lateral&gt; view." in warned
    broken = Prediction({}, error="is no image")._repr_html_()
    assert "⚠ The image is no image." in broken and "<table" not in broken


def test_many_boxes_are_cut_short():
    boxes = tuple(Box("Mass", (i, 0, i + 1, 1), 0.5) for i in range(20))
    text = make_prediction(boxes=boxes)._repr_html_()
    assert "and 12 more of lower scores" in text


@pytest.mark.parametrize("property_", ["color", "background"])
def test_legible_on_any_ground(property_):
    """Ink is the page's, and what is painted behind text is transparent."""
    text = make_prediction(warnings=("It is a lateral view.",))._repr_html_()
    values = set(re.findall(rf"[;\"]{property_}:([^;\"]+)", text))
    assert values <= {
        "inherit", "transparent", "rgba(128,128,128,.25)", "rgba(128,128,128,.7)",
        "#3a92d0",
    }  # fmt: skip


def test_no_image_in_what_is_written():
    assert "image" not in make_prediction().to_dict()
    assert len(repr(make_prediction())) < 500
