"""Figures of one prediction, for a notebook, a slide or a page."""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from keras_mscam.errors import UserError
from keras_mscam.images.resize import choose_shape, shrink
from keras_mscam.localization.boxes import normalize_map
from keras_mscam.visualization.overlay import draw_overlay
from keras_mscam.visualization.style import (
    BLOCKS,
    BLUE,
    FONT,
    PREDICTED_LINE,
    RIM,
    TRUTH_LINE,
    WIDTHS,
    Figure,
    add_colour_bar,
    draw_boxes,
    in_own_style,
    read_template,
    short_words,
    show_heat,
    show_xray,
    tidy,
)

if TYPE_CHECKING:
    from keras_mscam.inference.prediction import Prediction

_SMALL: dict[str, Any] = {**FONT, "fontsize": 7.5}
_DOTS = 400  # an inch, of the X-ray in print
_CARD_SIDE = 320  # of the picture, in pixels
_CARD_BOXES = 8


@in_own_style
def plot_prediction(
    prediction: "Prediction",
    pathology: str | None = None,
    image: np.ndarray | None = None,
    truth: Sequence | None = None,
    width: str = "double",
) -> Figure:
    """Show an X-ray, where one pathology is seen in it, and what each block says.

    Above the X-ray and the fused map over it with its boxes, below the map of every
    block, each between its own lowest and highest value, and the relevance weights.

    Args:
        prediction: with maps.
        pathology: name; the most probable by default.
        image: uint8 `(height, width)`, for a prediction that doesn't hold its own.
        truth: `(M, 4)` ground-truth boxes, half-open xyxy in pixels of the image.
        width: `"single"` or `"double"` column, 3.5 or 7.2 inches.

    Returns:
        A figure, which Jupyter shows. `savefig("figure.pdf")` keeps text as text.

    Raises:
        UserError: there is no such pathology, no maps, or no image.

    Example:
        >>> figure = plot_prediction(Predictor("run").predict("chest.png"), "Mass")
        >>> figure.savefig("mass.pdf")
    """
    inches = _find_width(width)
    pathology = pathology or choose_pathology(prediction)
    image = choose_image(prediction, image)
    size = prediction.heatmap(pathology).shape[::-1]
    column = prediction.pathologies.index(pathology)
    ratio = _find_ratio(prediction)
    small = inches / (len(prediction.cams) + 1)
    heights = inches / 2 * 0.86 * ratio + 0.4, small * ratio + 0.4
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=(inches, sum(heights) + 0.3), dpi=150, layout=layout)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    plain, fused = above.subplots(1, 2)
    dots = round(inches / 2 * _DOTS)
    show_xray(plain, image, prediction, dots)
    _draw_boxes(plain, prediction, pathology, truth)
    plain.set_title(_title(prediction, pathology), **_SMALL)
    _show_fused(fused, image, prediction, pathology, truth, dots)
    fused.set_title("Fused map", **_SMALL)
    _add_key(above, prediction, pathology, truth)
    *axes, last = below.subplots(1, len(prediction.cams) + 1, squeeze=False)[0]
    for axis, (block, cam) in zip(axes, prediction.cams.items(), strict=True):
        show_xray(axis, image, prediction, dots // 2)
        raw = np.asarray(cam[..., column], "float32")
        heat = normalize_map(cv2.resize(raw, size, interpolation=cv2.INTER_LINEAR))
        show_heat(axis, heat, prediction.corners)
        axis.set_title(f"Block {block}", **_SMALL)
    _show_weights(last, prediction, column, ratio)
    return figure


@in_own_style
def plot_overlay(
    prediction: "Prediction",
    pathology: str | None = None,
    image: np.ndarray | None = None,
    truth: Sequence | None = None,
    width: str = "single",
) -> Figure:
    """Show one pathology's map and boxes over the X-ray, with a colour bar.

    Args, returns and raises: as `plot_prediction`.
    """
    inches = _find_width(width)
    pathology = pathology or choose_pathology(prediction)
    image = choose_image(prediction, image)
    height = inches * 0.8 * _find_ratio(prediction) + 0.5
    figure = Figure(figsize=(inches, height), dpi=150, layout="constrained")
    axis, dots = figure.subplots(), round(inches * _DOTS)
    _show_fused(axis, image, prediction, pathology, truth, dots)
    axis.set_title(_title(prediction, pathology), **_SMALL)
    _add_key(figure, prediction, pathology, truth)
    return figure


@in_own_style
def plot_probabilities(prediction: "Prediction", width: str = "single") -> Figure:
    """Show all probabilities as bars, the highest above, with operating points.

    Positive pathologies are blue and bold; black lines mark the probability from which
    on each is called positive. For `width` see `plot_prediction`.

    Raises:
        UserError: there are no probabilities.
    """
    inches = _find_width(width)
    choose_pathology(prediction)
    names, positives = prediction.ranked[::-1], prediction.positives
    figure = Figure(
        figsize=(inches, 0.75 + 0.19 * len(names)), dpi=150, layout="constrained"
    )
    axis = figure.subplots()
    for row, name in enumerate(names):
        value, is_positive = prediction.probabilities[name], name in positives
        axis.barh(row, value, 0.7, color=BLUE if is_positive else "#b9c0c8")
        point = prediction.contract and prediction.contract.thresholds[name]
        if point is not None:
            axis.plot([point] * 2, [row - 0.45, row + 0.45], color="black", lw=1.3)
        axis.text(1.02, row, f"{value:.2f}", fontsize=7.5, va="center",
                  fontweight="bold" if is_positive else "normal")  # fmt: skip
    axis.set_yticks(range(len(names)), [short_words(name) for name in names])
    for label, name in zip(axis.get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if name in positives else "normal")
    axis.set_xlim(0, 1)
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.set_xlabel("probability", **_SMALL)
    tidy(axis)
    axis.tick_params(labelsize=7.5)
    axis.tick_params(axis="y", length=0)
    keys = {"positive": Patch(color=BLUE)}
    if prediction.contract:
        keys["operating point"] = Line2D(
            [], [], color="black", lw=0, marker="|", ms=9, mew=1.3
        )
    figure.legend(
        keys.values(), keys.keys(), ncols=2,
        frameon=False, fontsize=7.5, loc="outside upper center",
    )  # fmt: skip
    return figure


def render_card(prediction: "Prediction") -> str:
    """Return a prediction as a compact piece of HTML, on light ground or dark.

    The picture is the X-ray with the map and boxes of the most probable positive
    pathology, or plain, if there is none or there are no maps. Without an image there
    is a table only, of one that couldn't be read its sentence.
    """
    has_maps = prediction.attention is not None or prediction.cams
    is_mapped = prediction.positives and has_maps
    shown = choose_pathology(prediction) if is_mapped else None
    return read_template("card.html.jinja").render(
        prediction=prediction,
        thresholds=prediction.contract.thresholds if prediction.contract else {},
        positives=prediction.positives,
        shown=shown,
        picture=_draw_picture(prediction, shown),
        boxes=prediction.boxes[:_CARD_BOXES],
        more=max(0, len(prediction.boxes) - _CARD_BOXES),
    )


def _draw_picture(prediction: "Prediction", pathology: str | None) -> dict | None:
    if prediction.image is None:
        return None
    size, spacing = prediction.original_size, prediction.pixel_spacing
    height, width = choose_shape(size, spacing)
    factor = _CARD_SIDE / max(height, width)
    shape = choose_shape(size, spacing, int(1.5 * _CARD_SIDE))
    if pathology is None:
        picture = shrink(prediction.image, shape)
    else:
        picture = draw_overlay(prediction.image, prediction, pathology, shape)
        picture = picture[..., ::-1]
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return {
        "data": base64.b64encode(data.tobytes()).decode(),
        "width": max(1, round(width * factor)),
        "height": max(1, round(height * factor)),
    }


def _find_width(width: str) -> float:
    """Return the inches of a column."""
    if width not in WIDTHS:
        raise UserError(
            f"There is no width {width!r}: it is one of {', '.join(WIDTHS)}."
        )
    return WIDTHS[width]


def choose_pathology(prediction: "Prediction") -> str:
    """Return the most probable pathology, of the positive ones if there are some."""
    if not prediction.probabilities:
        raise UserError(
            "There is nothing to show: the image "
            f"{prediction.error or 'has no answer'}."
        )
    return (prediction.positives or prediction.ranked)[0]


def choose_image(prediction: "Prediction", image: np.ndarray | None) -> np.ndarray:
    """Return the X-ray to draw on."""
    image = prediction.image if image is None else image
    if image is None:
        raise UserError(
            "This prediction doesn't hold its X-ray: give its pixels as image=, such "
            "as read_xray(path).pixels."
        )
    if image.shape != prediction.original_size:
        raise UserError(
            f"The image has shape {image.shape}, the prediction is of one of "
            f"{prediction.original_size}: give the same."
        )
    return image


def _show_fused(axis: Axes, image, prediction, pathology, truth, dots: int) -> None:
    """Show the X-ray with the fused map and its boxes, and a colour bar beside it."""
    show_xray(axis, image, prediction, dots)
    show_heat(axis, prediction.heatmap(pathology), prediction.corners)
    _draw_boxes(axis, prediction, pathology, truth)
    threshold, label = None, "heat: from the lowest\nto the highest of the map"
    if contract := prediction.contract:
        threshold = contract.shown_threshold
        if contract.normalization == "exponential":
            label = "heat: 1 at the peak, 0.37 one\nstandard deviation below it"
    add_colour_bar(axis, threshold, label)


def _draw_boxes(axis: Axes, prediction, pathology: str, truth) -> None:
    mine = [box.xyxy for box in prediction.boxes if box.pathology == pathology]
    if truth is not None:
        draw_boxes(axis, np.reshape(truth, (-1, 4)), **TRUTH_LINE)
    draw_boxes(axis, mine, **PREDICTED_LINE)


def _add_key(figure, prediction, pathology: str, truth) -> None:
    entries = {}
    if any(box.pathology == pathology for box in prediction.boxes):
        entries["predicted box"] = PREDICTED_LINE
    if truth is not None and len(truth):
        entries["ground-truth box"] = TRUTH_LINE
    if entries:
        lines = [Line2D([], [], path_effects=RIM, **line) for line in entries.values()]
        figure.legend(
            lines, list(entries), ncols=2, frameon=False, fontsize=7.5,
            loc="outside lower center", handlelength=2.6,
        )  # fmt: skip


def _title(prediction: "Prediction", pathology: str) -> str:
    return f"{short_words(pathology)}, p = {prediction.probabilities[pathology]:.2f}"


def _find_ratio(prediction: "Prediction") -> float:
    """Return height over width of the chest; at most 2, for the page."""
    height, width = prediction.original_size
    down, across = prediction.pixel_spacing or (1, 1)
    return float(np.clip(height * down / (width * across), 0.25, 2))


def _show_weights(
    axis: Axes, prediction: "Prediction", column: int, ratio: float
) -> None:
    axis.set_title("Relevance", **_SMALL)
    if prediction.relevance_weights is None:
        axis.set_axis_off()
        return
    weights = prediction.relevance_weights[:, column]
    blocks = [f"B{block}" for block in prediction.cams]
    axis.bar(blocks, weights, color=BLOCKS[4 - len(blocks) :], width=0.7)
    for place, weight in enumerate(weights):
        axis.text(place, weight + 0.03, f"{weight:.2f}", ha="center", fontsize=6.5)
    axis.set_ylim(0, 1.15)
    axis.set_yticks([0, 1])
    axis.set_box_aspect(min(ratio, 1.2))
    tidy(axis)
    axis.tick_params(labelsize=7)
