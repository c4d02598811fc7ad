import io
import re
from dataclasses import replace

import matplotlib.style
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from keras_mscam.errors import UserError
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import Box
from keras_mscam.inference.prediction import Prediction
from keras_mscam.visualization import (
    plot_history,
    plot_overlay,
    plot_prediction,
    plot_probabilities,
    style,
)

RNG = np.random.default_rng(0)
SIZE = (80, 120)
BOX, TRUTH = (10, 20, 40, 50), (12, 22, 44, 54)


def make_contract(**changes):
    contract = Contract(
        "toy", ("Mass", "Pleural_Thickening"), (2, 3, 4), (32, 48), (8, 12),
        ((0.2, 0.5), (0.3, 0.25), (0.5, 0.25)), ((0.2, 0.5), (0.3, 0.25), (0.5, 0.25)),
        (1.0, 1.0), (0.0, 0.0), (0.5, None), "min_max", (1.0, 1.0),
        0.25, 0.0, 1.0, 10,
    )  # fmt: skip
    return replace(contract, **changes)


def make_prediction(**changes):
    shapes = {2: (8, 12, 2), 3: (4, 6, 2), 4: (2, 3, 2)}
    arguments = {
        "probabilities": {"Mass": 0.6, "Pleural_Thickening": 0.9},
        "boxes": (Box("Mass", BOX, 0.5),),
        "original_size": SIZE,
        "cams": {block: RNG.normal(size=shape) for block, shape in shapes.items()},
        "relevance_weights": np.array([[0.2, 0.5], [0.3, 0.25], [0.5, 0.25]]),
        "contract": make_contract(),
        "image": RNG.integers(0, 256, SIZE, "uint8"),
    }
    return Prediction(**{**arguments, **changes})


def find_axis(figure, title):
    (axis,) = [axis for axis in figure.axes if axis.get_title() == title]
    return axis


def corners(axis):
    return {
        (x, y, x + patch.get_width(), y + patch.get_height())
        for patch in axis.patches
        for x, y in [patch.get_xy()]
    }


def test_a_panel_for_everything():
    # Mass is less probable, but positive.
    figure = make_prediction().plot(truth=TRUTH)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == [
        "Mass, p = 0.60", "Fused map", "Block 2", "Block 3", "Block 4", "Relevance"
    ]  # fmt: skip
    heights = [patch.get_height() for patch in figure.axes[-1].patches]
    assert heights == [0.2, 0.3, 0.5]


def test_boxes_stand_where_they_are_and_differ_in_line_and_colour():
    figure = make_prediction().plot("Mass", truth=[TRUTH])
    for title in ("Mass, p = 0.60", "Fused map"):
        axis = find_axis(figure, title)
        assert corners(axis) == {BOX, TRUTH}
        true, proposed = axis.patches
        assert true.get_linestyle() == "-" != proposed.get_linestyle()
        assert true.get_edgecolor() != proposed.get_edgecolor()
    # Of another pathology, none.
    figure = make_prediction().plot("Pleural_Thickening")
    assert not find_axis(figure, "Fused map").patches


def test_neither_line_has_a_colour_of_the_map():
    colours = matplotlib.colormaps["inferno"](np.arange(256))[:, :3]
    for line in (style.TRUTH_LINE, style.PREDICTED_LINE):
        colour = matplotlib.colors.to_rgb(line["color"])
        assert np.abs(colours - colour).max(axis=1).min() > 0.2


def test_the_map_covers_the_field_alone():
    prediction = make_prediction(field=(6, 8, 100, 70))
    axis = find_axis(prediction.plot("Mass"), "Fused map")
    assert axis.images[1].get_extent() == [6, 100, 70, 8]
    assert axis.images[0].get_extent() == [0, 120, 80, 0]
    assert (axis.get_xlim(), axis.get_ylim()) == ((0, 120), (80, 0))
    assert (6, 8, 100, 70) in corners(axis)  # its outline


@pytest.mark.parametrize(
    ("spacing", "ratio"), [(None, 80 / 120), ((0.2, 0.1), 160 / 120), ((1, 4), 1 / 6)]
)
def test_the_chest_has_its_true_proportions(spacing, ratio):
    figure = plot_overlay(make_prediction(pixel_spacing=spacing), "Mass")
    figure.draw_without_rendering()
    box = figure.axes[0].bbox
    assert box.height / box.width == pytest.approx(ratio, rel=0.02)


def test_opacity_is_that_of_overlays():
    heat = np.array([0, 0.5, 1])
    # 0.6 * heat ** 2 * (3 - 2 * heat)
    assert style.alpha(heat).tolist() == pytest.approx([0, 0.3, 0.6])
    image = find_axis(make_prediction().plot("Mass"), "Fused map").images[1]
    assert image.get_alpha().max() <= 0.6


def test_the_colour_bar_says_what_heat_is_and_where_boxes_begin():
    figure = plot_overlay(make_prediction(), "Mass")
    bar = figure.axes[1]
    assert bar.get_ylabel() == "heat: from the lowest\nto the highest of the map"
    assert [line.get_ydata()[0] for line in bar.lines] == [0.25]
    exponential = make_contract(normalization="exponential")
    figure = plot_overlay(make_prediction(contract=exponential), "Mass")
    # exp(-1) is 0.37.
    assert "0.37 one\nstandard deviation below" in figure.axes[1].get_ylabel()


@pytest.mark.parametrize(("width", "inches"), [("single", 3.5), ("double", 7.2)])
def test_sizes_for_print(width, inches):
    for plot in (plot_prediction, plot_overlay, plot_probabilities):
        figure = plot(make_prediction(), width=width)
        assert figure.get_size_inches()[0] == inches
        assert figure.get_size_inches()[1] < 9.5  # of a page
    with pytest.raises(UserError, match="it is one of single, double"):
        plot_overlay(make_prediction(), width="triple")


def test_text_stays_text(tmp_path):
    figure = plot_prediction(make_prediction(), "Mass")
    figure.savefig(tmp_path / "figure.svg")
    assert ">Fused map</text>" in (tmp_path / "figure.svg").read_text()
    figure.savefig(tmp_path / "figure.pdf")
    assert b"/Type0" in (tmp_path / "figure.pdf").read_bytes()  # TrueType, no outlines
    assert matplotlib.rcParams["svg.fonttype"] == "path"


@pytest.mark.parametrize("plot", [plot_prediction, plot_probabilities])
def test_a_dark_style_changes_nothing(plot):
    prediction = make_prediction()
    light = plot(prediction)._repr_png_()
    with matplotlib.style.context("dark_background"):
        dark = plot(prediction)._repr_png_()
    assert dark == light
    picture = Image.open(io.BytesIO(light))
    assert picture.getpixel((0, 0)) == (255, 255, 255, 255)


def test_older_figures_show_themselves_too():
    import pandas as pd

    history = pd.DataFrame({"epoch": [1, 2], "loss": [2, 1], "val_loss": [2, 1]})
    assert plot_history(history)._repr_png_().startswith(b"\x89PNG")


def test_probabilities_are_sorted_and_operating_points_marked():
    figure = plot_probabilities(make_prediction())
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "Mass", "Pleural Thickening"
    ]  # fmt: skip
    assert [bar.get_width() for bar in axis.patches] == [0.6, 0.9]
    # Mass is called from 0.5 on, the other never.
    assert [list(line.get_xdata()) for line in axis.lines] == [[0.5, 0.5]]
    blue, grey = (to_hex(bar.get_facecolor()) for bar in axis.patches)
    assert blue == "#0072b2" != grey
    # A server's answer has no operating points.
    axis = plot_probabilities(make_prediction(contract=None)).axes[0]
    assert not axis.lines


@pytest.mark.parametrize("cam", [np.zeros((4, 6, 2)), np.full((4, 6, 2), np.nan)])
def test_maps_that_point_nowhere(cam):
    figure = plot_prediction(make_prediction(cams={2: cam, 3: cam, 4: cam}), "Mass")
    figure.draw_without_rendering()
    axis = find_axis(figure, "Fused map")
    assert not axis.images[1].get_alpha().any()


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3)])
def test_odd_images(size):
    image = np.zeros(size, "uint8")
    figure = plot_prediction(make_prediction(image=image, original_size=size), "Mass")
    figure.draw_without_rendering()


def test_an_answer_of_a_server():
    """It has maps of its own size, no thresholds, and no X-ray."""
    image = RNG.integers(0, 256, SIZE, "uint8")
    answer = make_prediction(
        contract=None, image=None, attention=RNG.normal(size=(8, 12, 2))
    )
    with pytest.raises(UserError, match="doesn't hold its X-ray: give its pixels"):
        answer.plot("Mass")
    figure = answer.plot("Mass", image=image)
    assert not any(axis.lines for axis in figure.axes)
    figure.draw_without_rendering()


def test_what_cannot_be_plotted():
    with pytest.raises(UserError, match="no pathology 'Hernia'"):
        make_prediction().plot("Hernia")
    with pytest.raises(UserError, match="no maps"):
        make_prediction(cams={}).plot("Mass")
    with pytest.raises(UserError, match="the image is empty"):
        Prediction({}, error="is empty").plot()
    with pytest.raises(UserError, match=re.escape("has shape (3, 4)")):
        make_prediction().plot("Mass", image=np.zeros((3, 4), "uint8"))
