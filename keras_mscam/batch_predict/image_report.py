"""Templates of pages that need nothing beside them."""

import base64

import cv2
import matplotlib
import numpy as np

from keras_mscam.batch_predict.reading import measure_box
from keras_mscam.images.resize import choose_shape
from keras_mscam.images.xray import Frame
from keras_mscam.inference.prediction import Prediction
from keras_mscam.localization.boxes import normalize_map
from keras_mscam.visualization.overlay import draw_overlay
from keras_mscam.visualization.style import MAP_COLOURS, read_template

_BLOCK_SIDE = 160


def render_report(
    model: str,
    path: str,
    picture: np.ndarray,
    prediction: Prediction,
    frame: Frame,
    pathologies: tuple[str, ...],
) -> str:
    """Return the report of one image as HTML.

    Args:
        model: what to call it.
        path: of the image, as given.
        picture: uint8, the X-ray at the size it is drawn at.
        prediction: of it, with the maps of the blocks.
        frame: of it.
        pathologies: whose maps are shown; the most probable one, if there are none.
    """
    ordered = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    thresholds = dict(
        zip(
            prediction.contract.pathologies,
            prediction.contract.probability_thresholds,
            strict=True,
        )
    )
    return read_template("image.html.jinja").render(
        model=model,
        path=path,
        frame=frame,
        xray=_embed(picture),
        shape=picture.shape,
        probabilities=ordered,
        thresholds=thresholds,
        positives=prediction.positives,
        boxes=[_describe_box(box, frame) for box in prediction.boxes],
        maps=[
            _describe_maps(name, picture, prediction)
            for name in pathologies or (ordered[0][0],)
        ],
        warnings=prediction.warnings,
    )


def _describe_box(box, frame: Frame) -> dict:
    size = measure_box(box.xyxy, frame.pixel_spacing) if frame.pixel_spacing else None
    return {
        "pathology": box.pathology,
        "xyxy": [round(value) for value in box.xyxy],
        "score": box.score,
        "millimetres": size,
    }


def _describe_maps(name: str, picture: np.ndarray, prediction: Prediction) -> dict:
    column = prediction.pathologies.index(name)
    overlay = draw_overlay(picture, prediction, name, picture.shape)
    shape = choose_shape(picture.shape, longest_side=_BLOCK_SIDE)
    return {
        "name": name,
        "probability": prediction.probabilities[name],
        "overlay": _embed(overlay[..., ::-1]),
        "blocks": [
            {
                "block": block,
                "size": cam.shape[:2],
                "weight": float(prediction.relevance_weights[row, column]),
                "map": _embed(_colour(cam[..., column], shape)),
            }
            for row, (block, cam) in enumerate(prediction.cams.items())
        ],
    }


def _colour(cam: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a map between its own minimum and maximum, BGR."""
    heat = cv2.resize(normalize_map(cam), shape[::-1], interpolation=cv2.INTER_LINEAR)
    colours = 255 * matplotlib.colormaps[MAP_COLOURS](np.arange(256))[:, 2::-1]
    return colours.astype("uint8")[np.rint(255 * heat).astype("uint8")]


def _embed(picture: np.ndarray) -> str:
    """Return grey or BGR as a data URL."""
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
