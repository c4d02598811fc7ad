"""Millimetres between pixels."""

from typing import NamedTuple

from pydicom import Dataset

from keras_mscam.dicom.values import read_numbers, read_word

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
