"""Millimetres between pixels."""

import math
from typing import NamedTuple

from pydicom import Dataset

from keras_mscam.images.dicom.header import read_numbers, read_word, read_words

#: Sides of pixels that differ by less are called square.
_TOLERANCE = 0.01


class Spacing(NamedTuple):
    """Millimetres between the centres of pixels, and where they were measured."""

    millimetres: tuple[float, float]  # (down, across)
    plane: str | None  # "patient", "detector" or "film"


def find_spacing(dataset: Dataset) -> Spacing | None:
    """Find the distance of pixels, as near to the patient as the file says.

    In this order: `PixelSpacing`, which is at the patient unless it only repeats one of
    the others; `ImagerPixelSpacing`, which is at the detector, divided by
    `EstimatedRadiographicMagnificationFactor` where that is given; and
    `NominalScannedPixelSpacing`, which is on the film that was scanned. A chest is 5 to
    20% smaller than its shadow on a detector or a film.

    Reference: DICOM PS3.3, 10.7.1 (calibration), C.8.11.4 (detector) and C.8.6.2
        (secondary captures).

    Returns:
        The first of these that is two positive numbers, else None. Whether
        `PixelSpacing` alone was calibrated can't be told, so its plane is None.
    """
    pixel, imager, scanned = (
        _read_spacing(dataset, f"{kind}PixelSpacing")
        for kind in ("", "Imager", "NominalScanned")
    )
    calibrated = bool(read_word(dataset, "PixelSpacingCalibrationType"))
    if pixel and (calibrated or pixel not in (imager, scanned)):
        known = calibrated or imager or scanned
        return Spacing(pixel, "patient" if known else None)
    if imager:
        factor = read_numbers(dataset, "EstimatedRadiographicMagnificationFactor")
        if len(factor) == 1 and 1 <= factor[0] < 3:
            down, across = imager
            return Spacing((down / factor[0], across / factor[0]), "patient")
        return Spacing(imager, "detector")
    return Spacing(scanned, "film") if scanned else None


def compute_aspect(dataset: Dataset) -> float:
    """Return the height of a pixel over its width, 1 where the file says nothing."""
    spacing = find_spacing(dataset)
    sides = (
        spacing.millimetres if spacing else read_numbers(dataset, "PixelAspectRatio")
    )
    if len(sides) != 2 or min(sides) <= 0:
        return 1.0
    return sides[0] / sides[1]


def describe_aspect(dataset: Dataset) -> list[str]:
    """Return a warning where pixels aren't square."""
    aspect = compute_aspect(dataset)
    if abs(aspect - 1) < _TOLERANCE:
        return []
    return [f"Its pixels are not square: they are {aspect:.3g} times as high as wide."]


def _read_spacing(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    numbers = read_numbers(dataset, keyword)
    if len(numbers) != 2 or min(numbers) <= 0:
        return None
    return numbers


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
