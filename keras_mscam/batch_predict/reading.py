"""One file: what the network takes of it, and its line in `predictions.jsonl`."""

from dataclasses import dataclass

import numpy as np

from keras_mscam.batch_predict.discovery import explain_no_stamp, stamp
from keras_mscam.images.reader import read_xray
from keras_mscam.images.resize import choose_shape, shrink
from keras_mscam.images.xray import Frame, ImageError
from keras_mscam.inference.find_boxes import Box
from keras_mscam.inference.prediction import Prediction

_DIGITS = 6


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


@dataclass(frozen=True, eq=False)
class Read:
    """An X-ray that has been read.

    Args:
        stamp: of the file, before it was read.
        image: uint8 `(height, width)`, as the network takes it.
        frame: what the file says of its pixels.
        picture: uint8, the X-ray at the size it is drawn at; `None` if not wanted.
    """

    stamp: tuple[int, int]
    image: np.ndarray
    frame: Frame
    picture: np.ndarray | None


@dataclass(frozen=True)
class Refused:
    """A file that can't be used, and why; the reason goes on behind its name."""

    stamp: tuple[int, int] | None
    reason: str


def read(
    path: str, size: tuple[int, int], longest_side: int | None, crop_borders: bool
) -> Read | Refused:
    """Read and resize one X-ray.

    Args:
        path: the file.
        size: `(height, width)` that the network takes.
        longest_side: of the picture, in pixels; `None` for no picture.
        crop_borders: see `read_xray`.
    """
    found = stamp(path)
    try:
        if found is None:
            raise ImageError(f"cannot be opened: {explain_no_stamp(path)}")
        xray = read_xray(path, crop_borders=crop_borders)
    except ImageError as error:
        return Refused(found, " ".join(str(error).split()))
    picture = None
    if longest_side is not None:
        frame = xray.frame
        shape = choose_shape(frame.size, frame.pixel_spacing, longest_side)
        picture = shrink(xray.pixels, shape)
    return Read(found, xray.resize(size), xray.frame, picture)


def describe_refusal(path: str, refused: Refused) -> dict:
    """Return what is stored of a file that couldn't be read."""
    stamp = refused.stamp and list(refused.stamp)
    return {
        "path": path,
        "status": "refused",
        "stamp": stamp,
        "error": refused.reason,
    }


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
