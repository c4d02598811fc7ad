"""Figures: what a model sees, what it learned, how it trained."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from keras_mscam.localization.boxes import normalize_map

#: Perceptually uniform, and readable without red-green vision.
_MAP_COLOURS = "inferno"
#: Okabe and Ito's palette, made for colour-blind readers.
_TRUTH, _PROPOSED, _BLUE, _GREY = "#009E73", "#E69F00", "#0072B2", "#8a8f98"
_BLOCKS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00")
_FONT = {"fontsize": 9, "color": "#1b1f24"}


def plot_case(
    image: np.ndarray,
    cams: dict[str, np.ndarray],
    attention: np.ndarray,
    relevance_weights: np.ndarray,
    truth: np.ndarray,
    proposed: np.ndarray,
    pathology: str,
    probability: float,
) -> Figure:
    """Show one X-ray in the manner of the paper's Figure 2.

    From left to right: the X-ray with its drawn and proposed boxes, the map of every
    block, the fused map, and the relevance weights that fused it.

    Args:
        image: `(height, width)` grey 0..255.
        cams: by name of the block, `(h, w)` raw maps of any resolution.
        attention: `(height, width)` fused raw map.
        relevance_weights: one for each block.
        truth: `(M, 4)` drawn boxes, half-open xyxy in pixels of `image`.
        proposed: `(N, 4)` boxes from the fused map, in the same frame.
        pathology: name.
        probability: of it, in [0, 1].

    Returns:
        A figure, 2.1 inches a panel.

    Reference:
        Sedai et al. 2018, Fig. 2.
    """
    panels = len(cams) + 3
    figure = Figure(figsize=(2.1 * panels, 2.5), dpi=110, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01)
    axes = figure.subplots(1, panels, width_ratios=[1] * (panels - 1) + [0.62])
    _show_xray(axes[0], image)
    _draw_boxes(axes[0], truth, proposed)
    axes[0].set_title(f"{_words(pathology)}, p = {probability:.2f}", **_FONT)
    for axis, (name, cam) in zip(axes[1:], cams.items(), strict=False):
        _show_map(axis, image, cam)
        axis.set_title(_words(name), **_FONT)
    fused = axes[-2]
    _show_map(fused, image, attention)
    _draw_boxes(fused, truth, proposed)
    fused.set_title("Fused", **_FONT)
    _show_weights(axes[-1], list(cams), relevance_weights)
    return figure


def plot_history(history: pd.DataFrame) -> Figure:
    """Show training and validation loss by epoch, and where the rate fell.

    Args:
        history: columns `epoch`, `loss`, `val_loss`, `learning_rate`.
    """
    figure = Figure(figsize=(6.4, 2.8), dpi=110, layout="constrained")
    axis = figure.subplots()
    epoch = history["epoch"]
    axis.plot(epoch, history["loss"], color=_BLUE, marker="o", ms=3, label="training")
    axis.plot(
        epoch, history["val_loss"], color=_BLOCKS[3], marker="s", ms=3, ls="--",
        label="validation",
    )  # fmt: skip
    if "learning_rate" in history:
        rate = history["learning_rate"]
        for fall in epoch[rate < 0.99 * rate.shift(1)]:
            axis.axvline(fall - 0.5, color=_GREY, lw=0.8, ls=":")
    axis.set_xlabel("epoch", **_FONT)
    axis.set_ylabel("loss", **_FONT)
    axis.xaxis.get_major_locator().set_params(integer=True)
    _tidy(axis)
    axis.legend(frameon=False, fontsize=9)
    return figure


def plot_relevance_weights(
    weights: dict[str, list[float]], blocks: list[str]
) -> Figure:
    """Show the relevance weights of every pathology as bars that add up to 1.

    Args:
        weights: by pathology, one number a block.
        blocks: names of the blocks.
    """
    figure = Figure(
        figsize=(6.4, 0.9 + 0.26 * len(weights)), dpi=110, layout="constrained"
    )
    axis = figure.subplots()
    names = [_words(name) for name in weights]
    left = np.zeros(len(names))
    for index, block in enumerate(blocks):
        widths = np.array([values[index] for values in weights.values()])
        axis.barh(
            names, widths, left=left, label=_words(block),
            color=_BLOCKS[index + 4 - len(blocks)], edgecolor="white", height=0.72,
        )  # fmt: skip
        for row, (start, width) in enumerate(zip(left, widths, strict=True)):
            if width > 0.06:
                axis.text(
                    start + width / 2, row, f"{width:.2f}", ha="center", va="center",
                    fontsize=7, color="white" if index + 4 - len(blocks) in (0, 3)
                    else "black",
                )  # fmt: skip
        left += widths
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel("relevance weight", **_FONT)
    _tidy(axis)
    axis.legend(
        ncols=len(blocks), frameon=False, fontsize=9, loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
    )  # fmt: skip
    return figure


def plot_localization(accuracies: dict[str, dict[str, float]]) -> Figure:
    """Show the localization accuracy of several systems side by side.

    Args:
        accuracies: by system, by pathology, in [0, 1] or `None`.
    """
    pathologies = list(next(iter(accuracies.values())))
    figure = Figure(figsize=(7.6, 3.0), dpi=110, layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(accuracies)
    styles = [(_BLUE, None), ("#56B4E9", None), ("#c3c8cf", "///"), ("#e4e7eb", "...")]
    for index, (system, values) in enumerate(accuracies.items()):
        heights = [values[name] or 0 for name in pathologies]
        x = np.arange(len(pathologies)) + (index - (len(accuracies) - 1) / 2) * width
        colour, hatch = styles[index % len(styles)]
        axis.bar(
            x, heights, width, label=system, color=colour, hatch=hatch,
            edgecolor="white" if hatch is None else "#8a8f98", linewidth=0.4,
        )  # fmt: skip
    axis.set_xticks(
        range(len(pathologies)), [_words(name) for name in pathologies],
        rotation=25, ha="right",
    )  # fmt: skip
    axis.set_ylim(0, 1)
    axis.set_ylabel("accuracy at IoU > 0.3", **_FONT)
    _tidy(axis)
    axis.legend(ncols=4, frameon=False, fontsize=9, loc="lower center",
                bbox_to_anchor=(0.5, 1.0))  # fmt: skip
    return figure


def _show_xray(axis: Axes, image: np.ndarray) -> None:
    height, width = image.shape
    axis.imshow(
        image, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0),
        interpolation="nearest",
    )  # fmt: skip
    axis.set_axis_off()


def _show_map(axis: Axes, image: np.ndarray, cam: np.ndarray) -> None:
    """Lay a map over the X-ray, opaque only as far as it is high."""
    _show_xray(axis, image)
    height, width = image.shape
    heatmap = normalize_map(cam)
    axis.imshow(
        heatmap, cmap=_MAP_COLOURS, norm=Normalize(0, 1), alpha=0.65 * heatmap,
        extent=(0, width, height, 0), interpolation="bilinear",
    )  # fmt: skip


def _draw_boxes(axis: Axes, truth: np.ndarray, proposed: np.ndarray) -> None:
    for boxes, colour, style, width in [
        (proposed, _PROPOSED, (0, (3, 2)), 1.1),
        (truth, _TRUTH, "solid", 1.6),
    ]:
        for left, top, right, bottom in boxes:
            axis.add_patch(
                Rectangle(
                    (left, top),
                    right - left,
                    bottom - top,
                    fill=False,
                    edgecolor=colour,
                    linestyle=style,
                    linewidth=width,
                )
            )


def _show_weights(axis: Axes, blocks: list[str], weights: np.ndarray) -> None:
    colours = _BLOCKS[4 - len(blocks) :]
    axis.bar([b.removeprefix("block") for b in blocks], weights, color=colours)
    axis.set_ylim(0, 1)
    axis.set_title("Weights", **_FONT)
    _tidy(axis)


def _tidy(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _words(name: str) -> str:
    text = name.replace("_", " ")
    if text.startswith("block"):
        return f"Block {text.removeprefix('block')}"
    return text
