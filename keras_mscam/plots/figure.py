"""A figure that prints as it is and shows itself in Jupyter, light or dark."""

import functools
import io
from collections.abc import Callable

import matplotlib
import matplotlib.figure

#: Inches of a column of a journal, and of its two.
WIDTHS = {"single": 3.5, "double": 7.2}
# Text stays text, for search and for the journal's own fonts.
_VECTOR = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}
_INK = (
    "axes.", "font.", "text.", "lines.", "patch.", "path.", "xtick.", "ytick.",
    "legend.", "image.", "grid.", "hatch.", "savefig.",
)  # fmt: skip
_SHOWN_DPI = 100  # keeps a notebook small


class Figure(matplotlib.figure.Figure):
    """A figure on white, whatever style is set and however dark the notebook is."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"facecolor": "white", **kwargs})

    def savefig(self, fname, **kwargs) -> None:
        """As matplotlib's, with text as text in PDF and SVG."""
        with matplotlib.rc_context({**_defaults(), **_VECTOR}):
            super().savefig(fname, **{"facecolor": self.get_facecolor(), **kwargs})

    def _repr_png_(self) -> bytes:
        # Jupyter shows figures by itself only after %matplotlib inline.
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=_SHOWN_DPI)
        return buffer.getvalue()

    def _repr_html_(self) -> None:
        return None


def in_own_style(plot: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorate a function that makes a figure: no style that is set changes its ink."""

    @functools.wraps(plot)
    def draw(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(_defaults()):
            return plot(*args, **kwargs)

    return draw


@functools.cache
def _defaults() -> dict:
    default = matplotlib.rcParamsDefault
    return {key: default[key] for key in default if key.startswith(_INK)}
