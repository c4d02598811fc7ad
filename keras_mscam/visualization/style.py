"""What figures and pages share: colours for the colour-blind, an X-ray on an axis."""

import functools
import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jinja2
import matplotlib
import matplotlib.figure
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke

from keras_mscam.images.resize import choose_shape, shrink

if TYPE_CHECKING:
    from keras_mscam.inference.prediction import Prediction

#: Perceptually uniform, and readable without red-green vision.
MAP_COLOURS = "inferno"
#: How far the hottest place of a heat map hides the X-ray.
MOST_ALPHA = 0.6
#: Colours of ground-truth and predicted boxes, neither of which is in the colour map,
#: and their lines, which differ as well. A black rim sets them off from bright bones.
TRUTH, PREDICTED = "#ffffff", "#00ffff"
TRUTH_LINE: dict[str, Any] = {"color": TRUTH, "linestyle": "-", "linewidth": 1.1}
PREDICTED_LINE: dict[str, Any] = {
    **TRUTH_LINE, "color": PREDICTED, "linestyle": (0, (4, 2)),
}  # fmt: skip
RIM: list[AbstractPathEffect] = [withStroke(linewidth=2.2, foreground="black")]
_MIDDLE_GREY = 0.45
_MOST_LETTERS = 32
#: Okabe and Ito's palette, made for colour-blind readers.
BLUE, GREY = "#0072B2", "#8a8f98"
BLOCKS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00")
#: Colour and line of each of several systems: either tells them apart.
SYSTEMS = (
    ("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"),
    ("#56B4E9", (0, (5, 1, 1, 1, 1, 1))), ("#000000", (0, (1, 3))),
)  # fmt: skip
FONT: dict[str, Any] = {"fontsize": 9, "color": "#1b1f24"}


def alpha(heat, most: float = MOST_ALPHA):
    """Return the opacity of heat in [0, 1]; what is cold is left as it is.

    `alpha = most * heat ** 2 * (3 - 2 * heat)`
    """
    return most * heat**2 * (3 - 2 * heat)


def tidy(axis: Axes) -> None:
    """Leave out what carries no number."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def words(name: str) -> str:
    """Return a name as it is read: Block 2 for block2, spaces for underscores."""
    text = name.replace("_", " ")
    if text.startswith("block"):
        return f"Block {text.removeprefix('block')}"
    return text


def short_words(name: str) -> str:
    """Return a name as it is read, of a length that a figure has room for."""
    text = words(name)
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"


def show_xray(
    axis: Axes, image: np.ndarray, prediction: "Prediction", longest_side: int
) -> None:
    """Show the X-ray of a prediction as wide and high as the chest was.

    The axis gets the coordinates of the image's pixels, uint8 `(height, width)`; the
    picture has `longest_side` pixels at most.
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
    """Lay a map `(h, w)` in [0, 1] over the part of an X-ray that it is of.

    Corners of the part are half-open xyxy in the coordinates of the axis.
    """
    left, top, right, bottom = corners
    axis.imshow(
        heatmap, cmap=MAP_COLOURS, norm=Normalize(0, 1), alpha=alpha(heatmap),
        extent=(left, right, bottom, top), interpolation="bilinear",
        aspect=axis.get_aspect(),
    )  # fmt: skip


def draw_boxes(axis: Axes, boxes: Iterable[Sequence[float]], **line) -> None:
    """Draw half-open xyxy boxes, in pixels of the image."""
    for left, top, right, bottom in boxes:
        size = right - left, bottom - top
        frame = Rectangle((left, top), *size, fill=False, path_effects=RIM, **line)
        axis.add_patch(frame)


def add_colour_bar(axis: Axes, threshold: float | None, label: str) -> None:
    """Say what heat the colours over middle grey mean, and the threshold of boxes."""
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
    if threshold is not None:
        line = bar.ax.axhline(threshold, **PREDICTED_LINE)
        line.set_path_effects(RIM)


#: Inches of a column of a journal, and of its two.
WIDTHS = {"single": 3.5, "double": 7.2}
# Text stays text, for search and for the journal's own fonts.
_VECTOR: dict[Any, Any] = {"pdf.fonttype": 42, "ps.fonttype": 42,
                           "svg.fonttype": "none"}  # fmt: skip
_INK = (
    "axes.", "font.", "text.", "lines.", "patch.", "path.", "xtick.", "ytick.",
    "legend.", "image.", "grid.", "hatch.", "savefig.",
)  # fmt: skip
_SHOWN_DPI = 100  # keeps a notebook small
#: matplotlib's own, then those with the letters that it lacks, where they are.
_FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei",
          "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Thai")  # fmt: skip


class Figure(matplotlib.figure.Figure):
    """A figure on white, whatever style is set and however dark the notebook is."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("facecolor", "white")
        super().__init__(*args, **kwargs)

    def savefig(self, fname, **kwargs) -> None:
        """As matplotlib's, with text as text in PDF and SVG."""
        kwargs.setdefault("facecolor", self.get_facecolor())
        with (
            matplotlib.rc_context({**_defaults(), **_VECTOR}),
            warnings.catch_warnings(),
        ):
            # One for each letter and figure; a box stands for it, and pages and tables
            # beside the figures have the name.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            super().savefig(fname, **kwargs)

    def _repr_png_(self) -> bytes:
        # Jupyter shows figures by itself only after %matplotlib inline.
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=_SHOWN_DPI)
        return buffer.getvalue()

    def _repr_html_(self) -> None:
        return None


def in_own_style(plot: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorate a function that makes a figure: no style that is set changes its ink.

    A dollar in a name is one, and begins no formula.
    """

    @functools.wraps(plot)
    def draw(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(_defaults()):
            return plot(*args, **kwargs)

    return draw


@functools.cache
def _defaults() -> dict[Any, Any]:
    default = matplotlib.rcParamsDefault
    known = {font.name for font in font_manager.fontManager.ttflist}
    return {
        **{key: default[key] for key in default if key.startswith(_INK)},
        "font.family": [font for font in _FONTS if font in known],
        "text.parse_math": False,
    }


def read_template(name: str, **filters: Callable) -> jinja2.Template:
    """Return the template of an HTML page that needs no file beside it.

    Filters by name come beside `words`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_mscam.visualization"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(words=words, **filters)
    return environment.get_template(name)
