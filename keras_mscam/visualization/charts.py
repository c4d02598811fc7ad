"""Charts of a run: losses by epoch; bars and curves of what `metrics.json` holds."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from keras_mscam.visualization.style import (
    BLOCKS,
    BLUE,
    FONT,
    GREY,
    SYSTEMS,
    Figure,
    in_own_style,
    short_words,
    tidy,
)

_ABOVE: dict[str, Any] = {
    "frameon": False, "fontsize": 9, "loc": "lower center",
    "bbox_to_anchor": (0.5, 1.0),
}  # fmt: skip


@in_own_style
def plot_history(history: pd.DataFrame) -> Figure:
    """Show `loss` and `val_loss` by `epoch`, and where `learning_rate` fell."""
    figure = Figure(figsize=(6.4, 2.8), dpi=110, layout="constrained")
    axis = figure.subplots()
    epoch = history["epoch"]
    axis.plot(epoch, history["loss"], color=BLUE, marker="o", ms=3, label="training")
    axis.plot(
        epoch, history["val_loss"], color=BLOCKS[3], marker="s", ms=3, ls="--",
        label="validation",
    )  # fmt: skip
    if "learning_rate" in history:
        rate = history["learning_rate"]
        for number, fall in enumerate(epoch[rate < 0.99 * rate.shift(1)]):
            label = None if number else "lower learning rate"
            axis.axvline(fall - 0.5, color=GREY, lw=0.8, ls=":", label=label)
    axis.set_xlabel("epoch", **FONT)
    axis.set_ylabel("loss", **FONT)
    axis.locator_params("x", integer=True)
    tidy(axis)
    axis.legend(frameon=False, fontsize=9)
    return figure


@in_own_style
def plot_relevance_weights(
    weights: dict[str, list[float]], blocks: list[str]
) -> Figure:
    """Show relevance weights, which add up to 1 over the blocks, by pathology."""
    figure = Figure(
        figsize=(6.4, 0.9 + 0.26 * len(weights)), dpi=110, layout="constrained"
    )
    axis = figure.subplots()
    rows = range(len(weights))
    left = np.zeros(len(weights))
    for index, block in enumerate(blocks):
        widths = np.array([values[index] for values in weights.values()])
        axis.barh(
            rows, widths, left=left, label=short_words(block),
            color=BLOCKS[index + 4 - len(blocks)], edgecolor="white", height=0.72,
        )  # fmt: skip
        for row, (start, width) in enumerate(zip(left, widths, strict=True)):
            if width > 0.06:
                axis.text(
                    start + width / 2, row, f"{width:.2f}", ha="center", va="center",
                    fontsize=7, color="white" if index + 4 - len(blocks) in (0, 3)
                    else "black",
                )  # fmt: skip
        left += widths
    # By number: names that look alike would be one bar.
    axis.set_yticks(rows, [short_words(name) for name in weights])
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel("relevance weight", **FONT)
    tidy(axis)
    axis.legend(ncols=len(blocks), **_ABOVE)
    return figure


@in_own_style
def plot_localization(accuracies: dict[str, dict[str, float]]) -> Figure:
    """Show accuracies by system and pathology, in [0, 1] or `None`, side by side."""
    pathologies = list(next(iter(accuracies.values())))
    figure = Figure(figsize=(7.6, 3.0), dpi=110, layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(accuracies)
    styles = [(BLUE, None), ("#56B4E9", None), ("#c3c8cf", "///"), ("#e4e7eb", "...")]
    for index, (system, values) in enumerate(accuracies.items()):
        heights = [values[name] or 0 for name in pathologies]
        x = np.arange(len(pathologies)) + (index - (len(accuracies) - 1) / 2) * width
        colour, hatch = styles[index % len(styles)]
        axis.bar(
            x, heights, width, label=system, color=colour, hatch=hatch,
            edgecolor="white" if hatch is None else "#8a8f98", linewidth=0.4,
        )  # fmt: skip
    axis.set_xticks(
        range(len(pathologies)), [short_words(name) for name in pathologies],
        rotation=25, ha="right",
    )  # fmt: skip
    axis.set_ylim(0, 1)
    axis.set_ylabel("accuracy at IoU > 0.3", **FONT)
    tidy(axis)
    axis.legend(ncols=4, **_ABOVE)
    return figure


def plot_roc(systems: dict[str, dict]) -> Figure:
    """Show the ROC curve of every pathology that has one; see `plot_froc`."""

    def find(metrics: dict, name: str):
        curve = metrics["curves"]["roc"].get(name)
        return curve and (curve["false_positive_rate"], curve["true_positive_rate"])

    return _plot(systems, find, "false positive rate", "true positive rate")


def plot_reliability(systems: dict[str, dict]) -> Figure:
    """Show how often pathologies are there, by their probability; see `plot_froc`."""

    def find(metrics: dict, name: str):
        curve = metrics["curves"]["reliability"].get(name)
        return curve and (curve["predicted"], curve["observed"])

    labels = "predicted probability", "observed fraction"
    return _plot(systems, find, *labels, marker="o", ms=2.5)


def plot_froc(systems: dict[str, dict]) -> Figure:
    """Show, for every boxed pathology, what a found lesion costs in false boxes.

    `systems` are contents of `metrics.json` by name of the system.
    """

    def find(metrics: dict, name: str):
        curve = metrics["localization"]["attention"]["froc"].get(name)
        if not curve:
            return ((), ()) if name in metrics["boxed"] else None
        return curve["false_positives"], curve["sensitivity"]

    return _plot(systems, find, "false positives per image", "sensitivity", 8.0)


@in_own_style
def _plot(
    systems: dict[str, dict],
    find: Callable[[dict, str], tuple[Sequence, Sequence] | None],
    x_label: str,
    y_label: str,
    most: float | None = None,
    **markers,
) -> Figure:
    """Plot one panel per pathology, with the curve that `find` gives of each system.

    The x axis ends at `most`; it is a square with its diagonal by default.
    """
    names = [
        name
        for name in next(iter(systems.values()))["pathologies"]
        if any(find(metrics, name) for metrics in systems.values())
    ]
    columns = min(4, max(1, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    figure = Figure(
        figsize=(1.95 * columns, 2.05 * rows + 0.4), dpi=110, layout="constrained"
    )
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis in axes.ravel()[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.ravel(), names, strict=False):
        if most is None:
            axis.plot([0, 1], [0, 1], color=GREY, lw=0.6)
            axis.set_aspect("equal")
        for place, (system, metrics) in enumerate(systems.items()):
            colour, line = SYSTEMS[place % len(SYSTEMS)]
            if curve := find(metrics, name):
                axis.plot(
                    *curve, color=colour, ls=line, lw=1.4, label=system, **markers
                )
        axis.set_xlim(0, most or 1)
        axis.set_ylim(0, 1)
        axis.set_title(short_words(name), **FONT)
        tidy(axis)
    figure.supxlabel(x_label, **FONT)
    figure.supylabel(y_label, **FONT)
    if len(systems) > 1 and len(names):
        handles, texts = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, texts, ncols=len(systems), frameon=False, fontsize=9,
            loc="outside upper center",
        )  # fmt: skip
    return figure
