"""What all figures share: colours that colour-blind readers can tell apart, and ink."""

from matplotlib.axes import Axes

#: Perceptually uniform, and readable without red-green vision.
MAP_COLOURS = "inferno"
#: Okabe and Ito's palette, made for colour-blind readers.
TRUTH, PROPOSED, BLUE, GREY = "#009E73", "#E69F00", "#0072B2", "#8a8f98"
BLOCKS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00")
#: Colour and line of each of several systems: either tells them apart.
SYSTEMS = (
    ("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"),
    ("#56B4E9", (0, (5, 1, 1, 1, 1, 1))), ("#000000", (0, (1, 3))),
)  # fmt: skip
FONT = {"fontsize": 9, "color": "#1b1f24"}


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
