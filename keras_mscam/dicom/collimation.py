"""The exposed part of a radiograph, as its header gives it."""

import math

from pydicom import Dataset

from keras_mscam.dicom.spacing import compute_aspect
from keras_mscam.dicom.values import read_numbers, read_words

Box = tuple[int, int, int, int]

#: A field with a shorter side than this part of the image's is held for an error.
_SHORTEST = 0.25

_NONSENSE = "Its collimation makes no sense, so all of the image is looked at."
_CROPPED = "Only the part that its collimation left open is looked at."
_AROUND = "Only the rectangle around what its collimation left open is looked at."


def find_exposed(dataset: Dataset) -> tuple[Box | None, list[str]]:
    """Find what shutter and collimator left open.

    Each may have several shapes, and open is what is inside of all of them. Of circles
    and polygons the rectangle around them is taken, as a network takes rectangles: what
    is shut in its corners stays. Shapes may reach out of the image. A shutter that is a
    bitmap is not followed.

    Reference: DICOM PS3.3, C.7.6.11 (display shutter) and C.8.7.3 (collimator).

    Returns:
        The field, half-open xyxy in pixels, None for all of the image; and warnings.
    """
    height, width = int(dataset.Rows), int(dataset.Columns)
    left, top, right, bottom = 0, 0, width, height
    said = _CROPPED
    for device in ("Shutter", "Collimator"):
        for shape in read_words(dataset, f"{device}Shape"):
            if shape not in _SHAPES:
                continue
            box = _SHAPES[shape](dataset, device)
            if box is None:
                return None, [_NONSENSE]
            left, top = max(left, box[0]), max(top, box[1])
            right, bottom = min(right, box[2]), min(bottom, box[3])
            said = said if shape == "RECTANGULAR" else _AROUND
    if (left, top, right, bottom) == (0, 0, width, height):
        return None, []
    if right - left < _SHORTEST * width or bottom - top < _SHORTEST * height:
        return None, [_NONSENSE]
    return (left, top, right, bottom), [said]


def _find_rectangle(dataset: Dataset, device: str) -> Box | None:
    """Return a rectangle: its edges are counted from 1, and belong to it."""
    edges = []
    for edge in ("LeftVertical", "UpperHorizontal", "RightVertical", "LowerHorizontal"):
        numbers = read_numbers(dataset, f"{device}{edge}Edge")
        if len(numbers) != 1:
            return None
        edges.append(int(numbers[0]))
    left, top, right, bottom = edges
    return left - 1, top - 1, right, bottom


def _surround_circle(dataset: Dataset, device: str) -> Box | None:
    """Return the rectangle around a circle, whose radius is counted along a row.

    It is an ellipse of pixels where these are not square.
    """
    centre = read_numbers(dataset, f"CenterOfCircular{device}")
    radius = read_numbers(dataset, f"RadiusOfCircular{device}")
    if len(centre) != 2 or len(radius) != 1:
        return None
    (row, column), across = centre, radius[0]
    down = across / compute_aspect(dataset)
    return (
        math.floor(column - 0.5 - across),
        math.floor(row - 0.5 - down),
        math.ceil(column - 0.5 + across),
        math.ceil(row - 0.5 + down),
    )


def _surround_polygon(dataset: Dataset, device: str) -> Box | None:
    """Return the rectangle around a polygon, whose vertices belong to it."""
    numbers = read_numbers(dataset, f"VerticesOfThePolygonal{device}")
    if len(numbers) < 6 or len(numbers) % 2:
        return None
    rows, columns = numbers[::2], numbers[1::2]
    left, top = int(min(columns)) - 1, int(min(rows)) - 1
    return left, top, int(max(columns)), int(max(rows))


_SHAPES = {
    "RECTANGULAR": _find_rectangle,
    "CIRCULAR": _surround_circle,
    "POLYGONAL": _surround_polygon,
}
