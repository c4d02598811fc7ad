"""An X-ray on an axis, in pixels of its own: heat over it, boxes, the key to both."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from keras_mscam.images.resize import choose_shape, shrink
from keras_mscam.visualization.style import MAP_COLOURS, PREDICTED_LINE, alpha

if TYPE_CHECKING:
    from keras_mscam.inference.prediction import Prediction

RIM = [withStroke(linewidth=2.2, foreground="black")]
_MIDDLE_GREY = 0.45


def show_xray(
    axis: Axes, image: np.ndarray, prediction: "Prediction", longest_side: int
) -> None:
    """Show the X-ray of a prediction as wide and high as the chest was.

    Args:
        axis: gets the coordinates of the image's pixels.
        image: uint8 `(height, width)`.
        prediction: of it.
        longest_side: of the picture at most, in pixels.
    """
    spacing = prediction.pixel_spacing
    picture = shrink(image, choose_shape(image.shape, spacing, longest_side))
    aspect = spacing[0] / spacing[1] if spacing else 1
    show_grey(axis, picture, prediction.original_size, aspect)
    if prediction.field:
        draw_boxes(
            axis, [prediction.field], color="#c3c8cf", linestyle=":", linewidth=0.8
        )


def show_grey(
    axis: Axes, image: np.ndarray, size: tuple[int, int], aspect: float = 1
) -> None:
    """Show grey pixels in a frame of `(height, width)`."""
    height, width = size
    axis.imshow(
        image, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0),
        interpolation="antialiased",
    )  # fmt: skip
    axis.set_aspect(aspect)
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    axis.set_axis_off()


def show_heat(
    axis: Axes, heatmap: np.ndarray, corners: tuple[float, float, float, float]
) -> None:
    """Lay a map over the part of an X-ray that it is of, see `style.alpha`.

    Args:
        axis: with the X-ray.
        heatmap: `(h, w)` in [0, 1].
        corners: half-open xyxy of the part, in the coordinates of the axis.
    """
    left, top, right, bottom = corners
    limits = axis.get_xlim(), axis.get_ylim(), axis.get_aspect()
    axis.imshow(
        heatmap, cmap=MAP_COLOURS, norm=Normalize(0, 1), alpha=alpha(heatmap),
        extent=(left, right, bottom, top), interpolation="bilinear",
    )  # fmt: skip
    # imshow fits the axis to what it draws.
    axis.set_xlim(limits[0])
    axis.set_ylim(limits[1])
    axis.set_aspect(limits[2])


def draw_boxes(axis: Axes, boxes: Iterable[Sequence[float]], **line) -> None:
    """Draw half-open xyxy boxes, in pixels of the image."""
    for left, top, right, bottom in boxes:
        frame = Rectangle(
            (left, top), right - left, bottom - top, fill=False,
            edgecolor=line["color"], linestyle=line["linestyle"],
            linewidth=line["linewidth"], path_effects=RIM,
        )  # fmt: skip
        axis.add_patch(frame)


def add_colour_bar(axis: Axes, thresholds: Sequence[float], label: str) -> None:
    """Say what heat the colours over middle grey mean, and the thresholds of boxes."""
    heat = np.linspace(0, 1, 256)
    colours = matplotlib.colormaps[MAP_COLOURS](heat)[:, :3]
    opacity = alpha(heat)[:, None]
    shown = ListedColormap((1 - opacity) * _MIDDLE_GREY + opacity * colours)
    bar = axis.figure.colorbar(
        ScalarMappable(Normalize(0, 1), shown), ax=axis, fraction=0.05, pad=0.03
    )
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_linewidth(0.5)
    for threshold in thresholds:
        line = bar.ax.axhline(threshold, **PREDICTED_LINE)
        line.set_path_effects(RIM)
