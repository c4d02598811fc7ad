"""A prediction as Jupyter shows it: a picture, its probabilities and boxes."""

import base64
from typing import TYPE_CHECKING

import cv2

from keras_mscam.images.resize import choose_shape, shrink
from keras_mscam.visualization.overlay import draw_overlay
from keras_mscam.visualization.prediction_figures import (
    choose_pathology,
    find_threshold,
)
from keras_mscam.visualization.style import read_template

if TYPE_CHECKING:
    from keras_mscam.inference.prediction import Prediction

_SIDE = 320  # of the picture, in pixels
_MOST_BOXES = 8


def render_card(prediction: "Prediction") -> str:
    """Return a prediction as a compact piece of HTML, on light ground or dark.

    The picture is the X-ray with the map and boxes of the most probable positive
    pathology, or plain, if there is none or there are no maps.

    Args:
        prediction: any; one without an image has a table only, one of an image that
            couldn't be read its sentence.
    """
    ordered = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    shown = _choose_shown(prediction)
    return read_template("card.html.jinja").render(
        prediction=prediction,
        rows=[(name, p, find_threshold(prediction, name)) for name, p in ordered],
        positives=prediction.positives,
        shown=shown,
        picture=_draw(prediction, shown),
        boxes=prediction.boxes[:_MOST_BOXES],
        more=max(0, len(prediction.boxes) - _MOST_BOXES),
    )


def _choose_shown(prediction: "Prediction") -> str | None:
    """Return the pathology that the picture shows."""
    has_maps = prediction.attention is not None or prediction.cams
    if prediction.positives and has_maps:
        return choose_pathology(prediction)
    return None


def _draw(prediction: "Prediction", pathology: str | None) -> dict | None:
    if prediction.image is None:
        return None
    size = prediction.original_size
    height, width = choose_shape(size, prediction.pixel_spacing)
    factor = _SIDE / max(height, width)
    shape = choose_shape(size, prediction.pixel_spacing, int(1.5 * _SIDE))
    if pathology is None:
        picture = shrink(prediction.image, shape)
    else:
        picture = draw_overlay(prediction.image, prediction, pathology, shape)
        picture = picture[..., ::-1]
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return {
        "data": base64.b64encode(data).decode(),
        "width": max(1, round(width * factor)),
        "height": max(1, round(height * factor)),
    }
