"""A prediction as Jupyter shows it: a picture, its probabilities and boxes."""

import base64
from pathlib import Path

import cv2
import jinja2

from keras_mscam.overlay import draw_overlay
from keras_mscam.picture_shape import choose_shape, shrink
from keras_mscam.plots.prediction import choose_pathology, find_threshold
from keras_mscam.plots.style import words
from keras_mscam.prediction import Prediction

_SIDE = 320  # of the picture, in pixels
_MOST_BOXES = 8


def render_card(prediction: Prediction) -> str:
    """Return a prediction as a compact piece of HTML, on light ground or dark.

    The picture is the X-ray with the map and boxes of the most probable positive
    pathology, or plain, if there is none or there are no maps.

    Args:
        prediction: any; one without an image has a table only, one of an image that
            couldn't be read its sentence.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["words"] = words
    ordered = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    shown = _choose_shown(prediction)
    return environment.get_template("card.html.jinja").render(
        prediction=prediction,
        rows=[(name, p, find_threshold(prediction, name)) for name, p in ordered],
        positives=prediction.positives,
        shown=shown,
        picture=_draw(prediction, shown),
        boxes=prediction.boxes[:_MOST_BOXES],
        more=max(0, len(prediction.boxes) - _MOST_BOXES),
    )


def _choose_shown(prediction: Prediction) -> str | None:
    """Return the pathology that the picture shows."""
    has_maps = prediction.attention is not None or prediction.cams
    if prediction.positives and has_maps:
        return choose_pathology(prediction)
    return None


def _draw(prediction: Prediction, pathology: str | None) -> dict | None:
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
