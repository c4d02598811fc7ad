"""A heat map and boxes drawn over an X-ray, as a picture."""

import cv2
import matplotlib
import numpy as np

from keras_mscam.plots.style import MAP_COLOURS
from keras_mscam.prediction import Prediction

#: How far the hottest place hides the X-ray.
MOST_ALPHA = 0.6
# Neither is in the colour map. The dark rim keeps the line apart from bright bones.
_LINE, _RIM = (0, 255, 255), (0, 0, 0)
_LINES = 256  # of them, side by side, are as wide as the longer side


def draw_overlay(
    pixels: np.ndarray,
    prediction: Prediction,
    pathology: str,
    longest_side: int | None = None,
) -> np.ndarray:
    """Draw one pathology's heat map and boxes over its X-ray.

    `alpha = 0.6 * heat ** 2 * (3 - 2 * heat)`
    `picture = (1 - alpha) * image + alpha * colour(heat)`

    As the signature `overlay` of an exported model draws it: what is cold is left as it
    is, colours are perceptually uniform, boxes are cyan on a black rim.

    Args:
        pixels: uint8 `(height, width)`, the X-ray at its own size.
        prediction: of it, with maps.
        pathology: name.
        longest_side: of the picture at most, in pixels; the X-ray's own by default.

    Returns:
        uint8 RGB `(height, width, 3)`, of the shape of the X-ray.

    Raises:
        UserError: the prediction has no such pathology, or no maps.
    """
    heatmap = prediction.heatmap(pathology)
    height, width = prediction.original_size
    factor = min(1, (longest_side or max(height, width)) / max(height, width))
    shape = max(1, round(height * factor)), max(1, round(width * factor))
    scale = np.array([shape[1] / width, shape[0] / height] * 2)
    left, top, right, bottom = prediction.field or (0, 0, width, height)
    corners = np.array([left, top, right, bottom]) * scale
    left, top, right, bottom = np.rint(corners).astype(int)
    heat = np.zeros(shape, "float32")
    size = max(1, right - left), max(1, bottom - top)
    field = heat[top : top + size[1], left : left + size[0]]
    field[:] = cv2.resize(heatmap, size, interpolation=cv2.INTER_LINEAR)[
        : len(field), : field.shape[1]
    ]
    picture = _blend(_shrink(pixels, shape), heat)
    boxes = [box.xyxy for box in prediction.boxes if box.pathology == pathology]
    return _draw_boxes(picture, np.array(boxes).reshape(-1, 4) * scale)


def _shrink(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if pixels.shape == shape:
        return pixels
    return cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_AREA)


def _blend(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    colours = 255 * matplotlib.colormaps[MAP_COLOURS](np.arange(256))[:, :3]
    colour = colours.astype("float32")[np.rint(255 * heat).astype("uint8")]
    alpha = (MOST_ALPHA * heat**2 * (3 - 2 * heat))[..., None]
    blended = (1 - alpha) * image[..., None] + alpha * colour
    return np.rint(blended).astype("uint8")


def _draw_boxes(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    width = max(1, max(picture.shape[:2]) // _LINES)
    for colour, outset in ((_RIM, width), (_LINE, 0)):
        for left, top, right, bottom in np.rint(boxes).astype(int):
            for inset in range(width):
                at = inset - outset
                cv2.rectangle(
                    picture,
                    (int(left + at), int(top + at)),
                    (int(right - 1 - at), int(bottom - 1 - at)),
                    colour,
                )
    return picture
