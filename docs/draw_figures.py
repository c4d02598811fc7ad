"""Draw the figures of README and documentation, from the built-in set alone.

    keras_mscam-train --output runs/figures
    python docs/draw_figures.py runs/figures

The case is chosen by a rule: of the nodules of the test split that are called positive
and that the fused map finds at IoU > 0.3, the one of the median IoU.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from keras_mscam import Predictor
from keras_mscam.evaluation.split_outputs import Predictions, read_predictions
from keras_mscam.inference.prediction import Prediction
from keras_mscam.localization.boxes import compute_iou
from keras_mscam.visualization.style import (
    BLOCKS,
    FONT,
    GREY,
    MAP_COLOURS,
    PREDICTED_LINE,
    TRUTH_LINE,
    Figure,
    draw_boxes,
    in_own_style,
    show_grey,
    show_heat,
    tidy,
)

FOLDER = Path(__file__).parent / "figures"
PATHOLOGY = "Nodule"


def choose_case(run: Path) -> tuple[Prediction, np.ndarray]:
    """Return the prediction of the median hit, and its ground-truth boxes."""
    (folder,) = (run / "predictions").glob("test-*")
    split = read_predictions(folder)
    predictor = Predictor(run)
    hits = []
    for row in sorted(set(_find_rows(split))):
        path = run / "phantom" / "images" / str(split.names[row])
        truth = split.box_xyxy[_find_rows(split, row)]
        prediction = cut(predictor.predict(path), None)
        predicted = np.array([box.xyxy for box in prediction.boxes]).reshape(-1, 4)
        iou = compute_iou(predicted, truth).max(initial=0)
        if iou > 0.3 and PATHOLOGY in prediction.positives:
            hits.append((iou, str(path), prediction, truth))
    hits.sort(key=lambda hit: hit[:2])
    iou, path, prediction, truth = hits[len(hits) // 2]
    print(f"{path}: {PATHOLOGY}, IoU {iou:.2f}, the median of {len(hits)}")
    return prediction, truth


def _find_rows(split: Predictions, row: int | None = None) -> np.ndarray:
    """Return the images with a box, or where the boxes of one are."""
    chosen = split.box_columns == split.pathologies.index(PATHOLOGY)
    if row is None:
        return split.box_rows[chosen]
    return chosen & (split.box_rows == row)


def cut(prediction: Prediction, block: int | None) -> Prediction:
    """Return the prediction with the boxes of the fused map, or of one block's."""
    shares = prediction.find_shares(PATHOLOGY)
    if block is not None:
        shares = np.array([number == block for number in prediction.cams], float)
    return prediction.change(PATHOLOGY, shares)


def show(axis: Axes, prediction: Prediction, title: str) -> None:
    show_grey(axis, prediction.image, prediction.original_size)
    axis.set_title(title, **FONT)


def show_found(axis: Axes, prediction: Prediction, truth, title: str) -> None:
    """Show the heat map over the X-ray, with ground-truth and predicted boxes."""
    height, width = prediction.original_size
    show(axis, prediction, title)
    show_heat(axis, prediction.heatmap(PATHOLOGY), (0, 0, width, height))
    draw_boxes(axis, truth, **TRUTH_LINE)
    draw_boxes(axis, [box.xyxy for box in prediction.boxes], **PREDICTED_LINE)


def make_figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=160, layout="constrained")


@in_own_style
def draw_prediction(prediction: Prediction, truth: np.ndarray) -> Figure:
    """X-ray, last block's map, fused map, relevance weights: the point in one row."""
    figure = make_figure(9.6, 2.75)
    axes = figure.subplots(1, 4, width_ratios=[1, 1, 1, 0.62])
    show(axes[0], prediction, "X-ray, ground-truth box")
    draw_boxes(axes[0], truth, **TRUTH_LINE)
    last = max(prediction.cams)
    show_found(axes[1], cut(prediction, last), truth, f"Block {last}, the last")
    show_found(axes[2], prediction, truth, "Blocks 2, 3 and 4 fused")
    weights = prediction.relevance_weights[:, prediction.pathologies.index(PATHOLOGY)]
    axes[3].bar(
        [f"Block {block}" for block in prediction.cams], weights, color=BLOCKS[1:]
    )
    for place, weight in enumerate(weights):
        axes[3].text(place, weight + 0.02, f"{weight:.2f}", ha="center", fontsize=8)
    axes[3].set_ylim(0, 1)
    axes[3].set_title("Relevance weights", **FONT)
    tidy(axes[3])
    return figure


@in_own_style
def draw_maps(prediction: Prediction) -> Figure:
    """Every block's raw map in its own resolution, as equation 2 gives it."""
    figure = make_figure(9.6, 2.75)
    axes = figure.subplots(1, len(prediction.cams) + 1)
    show(axes[0], prediction, "X-ray")
    column = prediction.pathologies.index(PATHOLOGY)
    for axis, (block, cam) in zip(axes[1:], prediction.cams.items(), strict=True):
        raw = cam[..., column]
        axis.imshow(raw, cmap=MAP_COLOURS, interpolation="nearest")
        axis.set_title(f"Block {block}, {raw.shape[0]}x{raw.shape[1]}", **FONT)
        axis.set_axis_off()
    return figure


@in_own_style
def draw_boxes_of(prediction: Prediction, truth: np.ndarray) -> Figure:
    """From the fused map, over regions, to a box."""
    height, width = prediction.original_size
    figure = make_figure(7.6, 2.75)
    axes = figure.subplots(1, 3)
    heat = prediction.heatmap(PATHOLOGY)
    show(axes[0], prediction, "Fused map, normalized")
    show_heat(axes[0], heat, (0, 0, width, height))
    threshold = prediction.contract.shown_threshold
    show(axes[1], prediction, f"Above {threshold:.2f}")
    above = (heat > threshold).astype("float32")
    show_heat(axes[1], above, (0, 0, width, height))
    show(axes[2], prediction, "Predicted box")
    draw_boxes(axes[2], truth, **TRUTH_LINE)
    draw_boxes(axes[2], [box.xyxy for box in prediction.boxes], **PREDICTED_LINE)
    return figure


@in_own_style
def draw_network() -> Figure:
    """The taps, heads and relevance weights of the paper's network."""
    figure = Figure(figsize=(9.6, 3.3), dpi=160)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 96), ylim=(0, 33))
    axis.set_axis_off()
    blocks = (
        ("X-ray\n256x256", GREY),
        ("Dense\nblock 1", GREY),
        ("Dense block 2\n32x32", BLOCKS[1]),
        ("Dense block 3\n16x16", BLOCKS[2]),
        ("Dense block 4\n8x8", BLOCKS[3]),
    )
    for place, (text, colour) in enumerate(blocks):
        left = 2 + 15 * place
        _box(axis, left, 24, text, colour)
        if place < len(blocks) - 1:
            _arrow(axis, (left + 12.2, 27), (left + 14.8, 27))
        if place >= 2:
            _box(axis, left, 13, f"Head {place}\nmap and logits", colour)
            _arrow(axis, (left + 6, 23.8), (left + 6, 19.3))
            _arrow(axis, (left + 6, 12.8), (left + 6, 8.3))
    axis.text(
        17,
        16,
        "global average pooling\nand one weight a feature",
        **FONT,
        ha="center",
        va="center",
    )
    axis.text(
        17,
        5,
        "relevance weights,\nshares for each pathology",
        **FONT,
        ha="center",
        va="center",
    )
    axis.add_patch(
        FancyBboxPatch(
            (32, 2),
            42,
            6,
            boxstyle="round,pad=0.1",
            facecolor="white",
            edgecolor="#1b1f24",
        )
    )
    axis.text(53, 5, "weighted sum over blocks", **FONT, ha="center", va="center")
    _arrow(axis, (74.3, 5.5), (79.5, 11))
    _arrow(axis, (74.3, 4.5), (79.5, 4.5))
    axis.text(80, 12.5, "probability\nof each pathology", **FONT, va="center")
    axis.text(80, 4.5, "fused map\nof each pathology", **FONT, va="center")
    return figure


def _box(axis: Axes, left: float, bottom: float, text: str, colour: str) -> None:
    axis.add_patch(
        FancyBboxPatch(
            (left, bottom),
            12,
            6,
            boxstyle="round,pad=0.1",
            facecolor=f"{colour}33",
            edgecolor=colour,
        )
    )
    axis.text(left + 6, bottom + 3, text, **FONT, ha="center", va="center")


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color="#1b1f24")
    )


def main(run: Path) -> None:
    prediction, truth = choose_case(run)
    figures = {
        "prediction": draw_prediction(prediction, truth),
        "network": draw_network(),
        "maps": draw_maps(prediction),
        "boxes": draw_boxes_of(prediction, truth),
    }
    FOLDER.mkdir(exist_ok=True)
    for name, figure in figures.items():
        path = FOLDER / f"{name}.webp"
        figure.savefig(path, pil_kwargs={"quality": 88, "method": 6})
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
