import io
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from keras_mscam.visualization import (
    plot_case,
    plot_contact_sheet,
    plot_figure2,
    plot_froc,
    plot_history,
    plot_localization,
    plot_relevance_weights,
    plot_reliability,
    plot_roc,
)
from keras_mscam.visualization.case_figures import Case

RNG = np.random.default_rng(0)


def make_case(blocks=("block2", "block3", "block4"), cam=None, **kwargs):
    arguments = {
        "name": "a.png",
        "pathology": "Pleural_Thickening",
        "kind": "hit",
        "image": RNG.integers(0, 256, (64, 96)).astype("uint8"),
        "cams": {b: RNG.normal(size=(8, 12)) if cam is None else cam for b in blocks},
        "heatmap": RNG.random((64, 96)),
        "relevance_weights": np.full(len(blocks), 1 / len(blocks)),
        "truth": np.array([[10, 20, 30, 50]]),
        "predicted": np.array([[12, 22, 32, 52], [60, 5, 70, 9]]),
        "probability": 0.5,
        "iou": 0.62,
        **kwargs,
    }
    return Case(**arguments)


def case(blocks=("block2", "block3", "block4"), **kwargs):
    return plot_case(make_case(blocks, **kwargs))


@pytest.mark.parametrize(
    "blocks", [("block4",), ("block1", "block2", "block3", "block4")]
)
def test_a_case_has_a_panel_for_each_block(blocks):
    figure = case(blocks)
    titles = [axis.get_title() for axis in figure.axes]
    expected = [f"Block {block[-1]}" for block in blocks]
    assert titles == ["Pleural Thickening, p = 0.50", *expected, "Fused", "Weights"]
    figure.draw_without_rendering()


def test_boxes_stand_where_they_are_in_the_image():
    axis = case().axes[0]
    boxes = {
        (*patch.get_xy(), patch.get_width(), patch.get_height())
        for patch in axis.patches
    }
    assert boxes == {(10, 20, 20, 30), (12, 22, 20, 30), (60, 5, 10, 4)}
    # Pixels lie between whole numbers, as half-open boxes have them.
    assert axis.images[0].get_extent() == [0, 96, 64, 0]


def test_ground_truth_and_predicted_boxes_differ_in_line_and_colour():
    true, predicted = (
        next(p for p in case().axes[0].patches if p.get_xy() == corner)
        for corner in [(10, 20), (12, 22)]
    )
    assert true.get_linestyle() != predicted.get_linestyle()
    assert true.get_edgecolor() != predicted.get_edgecolor()


@pytest.mark.parametrize("cam", [np.zeros((8, 12)), np.full((8, 12), np.nan)])
def test_maps_that_point_nowhere_can_be_drawn(cam):
    case(cam=cam).draw_without_rendering()


def test_no_boxes_can_be_drawn():
    case(truth=np.zeros((0, 4)), predicted=np.zeros((0, 4))).draw_without_rendering()


def test_other_figures_can_be_drawn():
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [3.0, 2.0, 1.0],
            "val_loss": [3.0, np.nan, 2.0],
            "learning_rate": [1e-3, 1e-3, 1e-4],
        }
    )
    lines = plot_history(history).axes[0].lines
    marks = [line for line in lines if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in marks] == [2.5]
    weights = {"Mass": [0.2, 0.8], "Nodule": [1.0, 0.0]}
    accuracies = {
        "Fused": {"Mass": 0.5, "Nodule": None},
        "Mean box": {"Mass": 0, "Nodule": 1},
    }
    for figure in (
        plot_history(history),
        plot_history(history.iloc[:1]),
        plot_relevance_weights(weights, ["block3", "block4"]),
        plot_localization(accuracies),
    ):
        assert isinstance(figure, Figure)
        figure.draw_without_rendering()


def test_names_in_figures_are_text():
    """What looks like a formula would be one, and an error if it is none."""
    names = ["$\\nonsense$", "$x$", "Lung_Opacity", "Lung Opacity", "x" * 300, "\u80ba"]
    weights = {name: [0.25, 0.75] for name in names}
    figure = plot_relevance_weights(weights, ["block3", "block4"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO())
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [
        "$\\nonsense$", "$x$", "Lung Opacity", "Lung Opacity", "x" * 31 + "\u2026",
        "\u80ba",
    ]  # fmt: skip
    assert len(figure.axes[0].patches) == 12  # a bar for each name and block


def test_bars_of_relevance_add_up_to_one():
    figure = plot_relevance_weights(
        {"Mass": [0.2, 0.3, 0.5]}, ["block2", "block3", "block4"]
    )
    bars = figure.axes[0].patches
    assert [bar.get_x() for bar in bars] == pytest.approx([0, 0.2, 0.5])
    assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(1)


class TestFigure2:
    def test_a_row_an_image_a_column_a_system(self):
        first, second = make_case(), make_case(pathology="Mass", iou=0.1)
        figure = plot_figure2({"A-CNN": [first, second], "DN-CAM": [second, first]})
        titles = [axis.get_title() for axis in figure.axes]
        assert titles == [
            "Pleural Thickening", "A-CNN: IoU 0.62", "DN-CAM: IoU 0.10",
            "Mass", "A-CNN: IoU 0.10", "DN-CAM: IoU 0.62",
        ]  # fmt: skip
        # The X-ray shows ground-truth boxes alone, the maps predicted ones too.
        assert [len(axis.patches) for axis in figure.axes[:3]] == [1, 3, 3]
        figure.draw_without_rendering()


@pytest.mark.parametrize("count", [1, 7])
def test_a_contact_sheet_has_a_tile_for_each_case(count):
    figure = plot_contact_sheet([make_case()] * count, columns=6)
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == count
    assert shown[0].get_title() == "hit, IoU 0.62, p 0.50"
    figure.draw_without_rendering()


class TestCurves:
    @pytest.fixture
    def metrics(self):
        curve = {"false_positive_rate": [0, 0.5, 1], "true_positive_rate": [0, 0.9, 1]}
        points = {"predicted": [0.1, 0.6], "observed": [0.2, 0.5], "images": [5, 5]}
        froc = {"false_positives": [0, 1, 2], "sensitivity": [0, 0.4, 0.8]}
        return {
            "pathologies": ["Mass", "Nodule"],
            "boxed": ["Mass"],
            "curves": {
                "roc": {"Mass": curve, "Nodule": None},
                "reliability": {"Mass": points, "Nodule": None},
            },
            "localization": {"attention": {"froc": {"Mass": froc}}},
        }

    @pytest.mark.parametrize(
        ("plot", "x", "y"),
        [
            (plot_roc, [0, 0.5, 1], [0, 0.9, 1]),
            (plot_reliability, [0.1, 0.6], [0.2, 0.5]),
            (plot_froc, [0, 1, 2], [0, 0.4, 0.8]),
        ],
    )
    def test_the_line_is_the_curve_and_undefined_ones_have_no_panel(
        self, metrics, plot, x, y
    ):
        figure = plot({"A-CNN": metrics})
        assert [axis.get_title() for axis in figure.axes if axis.lines] == ["Mass"]
        line = figure.axes[0].lines[-1]
        assert (list(line.get_xdata()), list(line.get_ydata())) == (x, y)
        figure.draw_without_rendering()

    def test_systems_differ_in_colour_and_line(self, metrics):
        lines = plot_roc({"a": metrics, "b": metrics}).axes[0].lines[-2:]
        assert len({line.get_color() for line in lines}) == 2
        assert len({line.get_linestyle() for line in lines}) == 2

    def test_nothing_to_show(self, metrics):
        metrics |= {"boxed": [], "pathologies": []}
        plot_froc({"a": metrics}).draw_without_rendering()
