"""The result of one file, as a line of `predictions.jsonl`."""

from keras_mscam.predicting.reading import Refused
from keras_mscam.prediction import Box, Prediction
from keras_mscam.xray import Frame

_DIGITS = 6


def describe_prediction(
    path: str,
    name: str,
    stamp: tuple[int, int],
    prediction: Prediction,
    frame: Frame,
    files: dict,
) -> dict:
    """Return what is stored of an image that was read.

    Args:
        path: as given.
        name: that its files have, see `Names`.
        stamp: see `finding.stamp`.
        prediction: of it.
        frame: of it.
        files: that were written, by kind, relative to the folder of results.

    Returns:
        Plain values for JSON: boxes in pixels of the file, and with `millimetres` where
        the file says how far its pixels are apart.
    """
    content = prediction.to_dict()
    del content["error"]
    content["probabilities"] = {
        name: round(value, _DIGITS) for name, value in prediction.probabilities.items()
    }
    content["boxes"] = [
        _describe_box(box, frame.pixel_spacing) for box in prediction.boxes
    ]
    return {
        "path": path,
        "status": "read",
        "stamp": list(stamp),
        "name": name,
        "positives": list(prediction.positives),
        **content,
        "files": files,
    }


def describe_refusal(path: str, refused: Refused) -> dict:
    """Return what is stored of a file that couldn't be read."""
    stamp = refused.stamp and list(refused.stamp)
    return {
        "path": path,
        "status": "refused",
        "stamp": stamp,
        "error": refused.reason,
    }


def measure_box(
    xyxy: tuple[float, float, float, float], pixel_spacing: tuple[float, float]
) -> dict[str, float]:
    """Measure a box in mm and square mm, where its pixels are `(down, across)` apart.

    Example:
        >>> measure_box((0, 0, 100, 50), (0.2, 0.1))
        {'width': 10.0, 'height': 10.0, 'area': 100.0}
    """
    left, top, right, bottom = xyxy
    width = (right - left) * pixel_spacing[1]
    height = (bottom - top) * pixel_spacing[0]
    measured = {"width": width, "height": height, "area": width * height}
    return {name: round(value, 3) for name, value in measured.items()}


def _describe_box(box: Box, spacing: tuple[float, float] | None) -> dict:
    content = {
        "pathology": box.pathology,
        "xyxy": [round(value, 3) for value in box.xyxy],
        "score": round(box.score, _DIGITS),
    }
    if spacing:
        content["millimetres"] = measure_box(box.xyxy, spacing)
    return content
