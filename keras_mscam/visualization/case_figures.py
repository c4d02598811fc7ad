"""Single images: the X-ray, its maps, ground-truth and predicted boxes."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from keras_mscam.localization.boxes import normalize_map
from keras_mscam.visualization.style import (
    BLOCKS,
    FONT,
    PREDICTED_LINE,
    TRUTH_LINE,
    Figure,
    draw_boxes,
    in_own_style,
    short_words,
    show_grey,
    show_heat,
    tidy,
)


@dataclass(frozen=True)
class Case:
    """One image and pathology, with its maps."""

    name: str  # of the image
    pathology: str  # that is looked for
    kind: str  # what it is a case of, in words
    image: np.ndarray  # `(height, width)` uint8, as the model saw it
    cams: dict[str, np.ndarray]  # by block, `(h, w)` raw maps
    heatmap: np.ndarray  # `(height, width)`, fused and in [0, 1] as the protocol says
    relevance_weights: np.ndarray  # `(B,)`
    # `(N, 4)` boxes, half-open xyxy in pixels of `image`
    truth: np.ndarray
    predicted: np.ndarray
    probability: float  # calibrated
    iou: float  # the best of any predicted with any ground-truth box


@in_own_style
def plot_case(case: Case) -> Figure:
    """Show one X-ray in the manner of the paper's Figure 2.

    From left to right: the X-ray with its ground-truth and predicted boxes, the map of
    every block, each on its own scale, the fused map on the scale that its threshold is
    on, and the relevance weights.

    Reference:
        Sedai et al. 2018, Fig. 2.
    """
    panels = len(case.cams) + 3
    figure = _make_figure(2.1 * panels, 2.5)
    axes = figure.subplots(1, panels, width_ratios=[1] * (panels - 1) + [0.62])
    show_grey(axes[0], case.image, case.image.shape)
    _draw_boxes(axes[0], case)
    axes[0].set_title(
        f"{short_words(case.pathology)}, p = {case.probability:.2f}", **FONT
    )
    for axis, (name, cam) in zip(axes[1:], case.cams.items(), strict=False):
        _show_map(axis, case.image, normalize_map(cam))
        axis.set_title(short_words(name), **FONT)
    fused = axes[-2]
    _show_map(fused, case.image, case.heatmap)
    _draw_boxes(fused, case)
    fused.set_title("Fused", **FONT)
    blocks = [name.removeprefix("block") for name in case.cams]
    axes[-1].bar(blocks, case.relevance_weights, color=BLOCKS[4 - len(blocks) :])
    axes[-1].set_ylim(0, 1)
    axes[-1].set_title("Weights", **FONT)
    tidy(axes[-1])
    return figure


@in_own_style
def plot_figure2(cases_by_system: dict[str, list[Case]]) -> Figure:
    """Show the same images, in the same order, as several systems see them.

    Each has a row: the X-ray with its ground-truth box, then the fused maps of the
    systems with the boxes that their evaluation counts.

    Reference:
        Sedai et al. 2018, Fig. 2.
    """
    systems = list(cases_by_system)
    rows = len(cases_by_system[systems[0]])
    figure = _make_figure(2.1 * (len(systems) + 1), 2.3 * max(rows, 1))
    axes = figure.subplots(max(rows, 1), len(systems) + 1, squeeze=False)
    for row in range(rows):
        cases = [cases_by_system[name][row] for name in systems]
        show_grey(axes[row, 0], cases[0].image, cases[0].image.shape)
        draw_boxes(axes[row, 0], cases[0].truth, **TRUTH_LINE)
        axes[row, 0].set_title(short_words(cases[0].pathology), **FONT)
        for axis, name, case in zip(axes[row, 1:], systems, cases, strict=True):
            _show_map(axis, case.image, case.heatmap)
            _draw_boxes(axis, case)
            axis.set_title(f"{name}: IoU {case.iou:.2f}", **FONT)
    return figure


@in_own_style
def plot_contact_sheet(cases: list[Case], columns: int = 6) -> Figure:
    """Show many images of one pathology, each with its overlap and probability."""
    rows = max(1, math.ceil(len(cases) / columns))
    figure = _make_figure(1.5 * columns, 1.68 * rows, dpi=100)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, case in zip(axes, cases, strict=False):
        _show_map(axis, case.image, case.heatmap)
        _draw_boxes(axis, case)
        title = f"{case.kind}, IoU {case.iou:.2f}, p {case.probability:.2f}"
        axis.set_title(title, fontsize=6.5, color=FONT["color"], pad=2)
    return figure


def _make_figure(width: float, height: float, dpi: int = 110) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def _show_map(axis: Axes, image: np.ndarray, heatmap: np.ndarray) -> None:
    show_grey(axis, image, image.shape)
    show_heat(axis, heatmap, (0, 0, image.shape[1], image.shape[0]))


def _draw_boxes(axis: Axes, case: Case) -> None:
    draw_boxes(axis, case.truth, **TRUTH_LINE)
    draw_boxes(axis, case.predicted, **PREDICTED_LINE)
