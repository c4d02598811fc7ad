"""ROC, FROC and calibration, a small panel for each pathology."""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from keras_mscam.plots.figure import Figure
from keras_mscam.plots.style import FONT, GREY, SYSTEMS, tidy, words


def plot_roc(systems: dict[str, dict]) -> Figure:
    """Show the ROC curve of every pathology that has one.

    Args:
        systems: contents of `metrics.json` by name of the system.
    """

    def draw(axis: Axes, metrics: dict, name: str, **style) -> None:
        curve = metrics["curves"]["roc"][name]
        if curve:
            axis.plot(
                curve["false_positive_rate"], curve["true_positive_rate"], **style
            )

    def guide(axis: Axes) -> None:
        axis.plot([0, 1], [0, 1], color=GREY, lw=0.6)

    return _plot(
        systems, _defined(systems, "roc"), draw, guide,
        ("false positive rate", "true positive rate"),
    )  # fmt: skip


def plot_reliability(systems: dict[str, dict]) -> Figure:
    """Show, for every pathology, how often it is there where a probability is given.

    Args:
        systems: contents of `metrics.json` by name of the system.
    """

    def draw(axis: Axes, metrics: dict, name: str, **style) -> None:
        curve = metrics["curves"]["reliability"][name]
        if curve:
            axis.plot(
                curve["predicted"], curve["observed"], marker="o", ms=2.5, **style
            )

    def guide(axis: Axes) -> None:
        axis.plot([0, 1], [0, 1], color=GREY, lw=0.6)

    return _plot(
        systems, _defined(systems, "reliability"), draw, guide,
        ("predicted probability", "observed fraction"),
    )  # fmt: skip


def plot_froc(systems: dict[str, dict], most: float = 8.0) -> Figure:
    """Show, for every boxed pathology, what a found lesion costs in false boxes.

    Args:
        systems: contents of `metrics.json` by name of the system.
        most: false positives an image at which the axis ends.
    """

    def draw(axis: Axes, metrics: dict, name: str, **style) -> None:
        curve = metrics["localization"]["attention"]["froc"].get(name)
        if curve:
            axis.plot(curve["false_positives"], curve["sensitivity"], **style)

    def guide(axis: Axes) -> None:
        axis.set_xlim(0, most)

    boxed = [
        n for n in _names(systems) if any(n in m["boxed"] for m in systems.values())
    ]
    return _plot(
        systems,
        boxed,
        draw,
        guide,
        ("false boxes an image", "sensitivity"),
        square=False,
    )


def _plot(
    systems: dict[str, dict],
    names: Sequence[str],
    draw: Callable,
    guide: Callable[[Axes], None],
    labels: tuple[str, str],
    square: bool = True,
) -> Figure:
    columns = min(4, max(1, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    figure = Figure(
        figsize=(1.95 * columns, 2.05 * rows + 0.4), dpi=110, layout="constrained"
    )
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis in axes.ravel()[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.ravel(), names, strict=False):
        guide(axis)
        for place, (system, metrics) in enumerate(systems.items()):
            colour, line = SYSTEMS[place % len(SYSTEMS)]
            draw(axis, metrics, name, color=colour, ls=line, lw=1.4, label=system)
        axis.set_ylim(0, 1)
        if square:
            axis.set_xlim(0, 1)
            axis.set_aspect("equal")
        axis.set_title(words(name), **FONT)
        tidy(axis)
    figure.supxlabel(labels[0], **FONT)
    figure.supylabel(labels[1], **FONT)
    if len(systems) > 1 and len(names):
        handles, texts = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, texts, ncols=len(systems), frameon=False, fontsize=9,
            loc="outside upper center",
        )  # fmt: skip
    return figure


def _names(systems: dict[str, dict]) -> list[str]:
    return next(iter(systems.values()))["pathologies"]


def _defined(systems: dict[str, dict], curve: str) -> list[str]:
    return [
        name
        for name in _names(systems)
        if any(metrics["curves"][curve].get(name) for metrics in systems.values())
    ]
