"""A heat map and boxes drawn over an X-ray, as a picture."""

import functools
from typing import TYPE_CHECKING

import cv2
import matplotlib
import numpy as np
from matplotlib.colors import to_rgb

from keras_mscam.images.resize import shrink
from keras_mscam.visualization.style import MAP_COLOURS, MOST_ALPHA, PREDICTED, alpha

if TYPE_CHECKING:
    from keras_mscam.inference.prediction import Prediction

_LINE, _RIM = tuple(round(255 * part) for part in to_rgb(PREDICTED)), (0, 0, 0)
_LINES = 256  # of them, side by side, are as wide as the longer side


def draw_overlay(
    pixels: np.ndarray,
    prediction: "Prediction",
    pathology: str,
    shape: tuple[int, int] | None = None,
    most_alpha: float = MOST_ALPHA,
) -> np.ndarray:
    """Draw one pathology's heat map and boxes over its X-ray, as exported models do.

    `picture = (1 - alpha(heat)) * image + alpha(heat) * colour(heat)`

    Args:
        pixels: uint8 `(height, width)`, the X-ray at its own size or shrunk.
        prediction: of it, with maps.
        pathology: name.
        shape: `(height, width)` of the picture; that of the X-ray by default.
        most_alpha: opacity of the hottest place, in [0, 1].

    Returns:
        uint8 RGB `(height, width, 3)`.

    Raises:
        UserError: the prediction has no such pathology, or no maps.
    """
    size = prediction.original_size
    shape = tuple(shape or size)
    scale = np.array([shape[1] / size[1], shape[0] / size[0]] * 2)
    field = np.array(prediction.corners) * scale
    heat = _place(prediction.heatmap(pathology), field, shape)
    picture = _blend(shrink(pixels, shape), heat, most_alpha)
    boxes = [box.xyxy for box in prediction.boxes if box.pathology == pathology]
    return _draw_boxes(picture, np.array(boxes).reshape(-1, 4) * scale)


def _place(
    heatmap: np.ndarray, field: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Stretch a map over its field, cold all around, in 255 levels."""
    levels = np.rint(255 * np.clip(np.nan_to_num(heatmap), 0, 1)).astype("uint8")
    left, top, right, bottom = np.rint(field).astype(int)
    # A field that is thinner than a pixel of the picture has one nevertheless.
    left, top = min(left, shape[1] - 1), min(top, shape[0] - 1)
    size = max(1, right - left), max(1, bottom - top)
    stretched = cv2.resize(levels, size, interpolation=cv2.INTER_LINEAR)
    if stretched.shape == shape:
        return stretched
    heat = np.zeros(shape, "uint8")
    heat[top : top + size[1], left : left + size[0]] = stretched
    return heat


@functools.lru_cache(maxsize=4)
def _tabulate(most_alpha: float) -> np.ndarray:
    """Return the colour of every level of heat over every grey: `(65536,)` RGBA."""
    heat = np.arange(256)[:, None, None] / 255
    grey = np.arange(256)[None, :, None]
    colours = 255 * matplotlib.colormaps[MAP_COLOURS](np.arange(256))[:, None, :3]
    opacity = alpha(heat, most_alpha)
    table = np.full((256, 256, 4), 255, "uint8")
    table[..., :3] = np.rint((1 - opacity) * grey + opacity * colours)
    return table.view("uint32").ravel()


def _blend(image: np.ndarray, heat: np.ndarray, most_alpha: float) -> np.ndarray:
    # 65,536 results are looked up for a million pixels, ten times as fast.
    index = heat.astype("uint16") << 8
    index |= image
    rgba = _tabulate(most_alpha).take(index).view("uint8").reshape(*image.shape, 4)
    return cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)


def _draw_boxes(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Draw half-open boxes: the line inside of each, the rim around."""
    width = max(1, max(picture.shape[:2]) // _LINES)
    corners = np.rint(boxes).astype(int)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)
    for colour, outset in ((_RIM, width), (_LINE, 0)):
        for box in corners:
            outer, inner = _cut(box, -outset), _cut(box, width - outset)
            inside = picture[inner].copy()
            picture[outer] = colour
            picture[inner] = inside
    return picture


def _cut(box: np.ndarray, inset: int) -> tuple[slice, slice]:
    """Return rows and columns of a box that is made smaller on all sides."""
    # NumPy would count negative indices from the other end.
    left, top, right, bottom = np.maximum(box + np.array([1, 1, -1, -1]) * inset, 0)
    return slice(top, bottom), slice(left, right)
