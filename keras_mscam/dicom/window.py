"""The part of the values that is shown, from black to white."""

import numpy as np
from pydicom import Dataset

from keras_mscam.dicom.lut import read_first_lut
from keras_mscam.dicom.values import is_given, read_number, read_word

#: Larger numbers would overflow further on.
_LARGEST = 1e30


def present(values: np.ndarray, actual: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Apply the first VOI LUT or else the first window.

    Without either, or where they make all of the image equal, values are stretched from
    minimum to maximum.

    Args:
        values: `(count,)`, rescaled.
        actual: bool `(count,)`, those that the image has.
        dataset: their header.

    Returns:
        `(count,)` in [0, 1].
    """
    lut = read_first_lut(dataset, "VOILUTSequence")
    window = _find_window(dataset)
    grey = None
    if lut:
        grey = lut.look_up(values) / (2**lut.bits - 1)
    elif window:
        grey = _apply_window(values, *window, read_word(dataset, "VOILUTFunction"))
    if grey is None or np.ptp(grey[actual]) == 0:
        grey = _stretch(values, values[actual].min(), values[actual].max())
    return grey


def describe_window(dataset: Dataset) -> list[str]:
    """Return a warning where centre and width can't be meant."""
    if read_first_lut(dataset, "VOILUTSequence") or _find_window(dataset):
        return []
    given = is_given(dataset, "WindowCenter") and is_given(dataset, "WindowWidth")
    return ["Its window makes no sense and is left out."] if given else []


def _find_window(dataset: Dataset) -> tuple[float, float] | None:
    """Return centre and width of the first window; none without a width above 0."""
    centre = read_number(dataset, "WindowCenter")
    width = read_number(dataset, "WindowWidth")
    if centre is None or width is None or not 0 < width <= _LARGEST:
        return None
    return (centre, width) if abs(centre) <= _LARGEST else None


def _apply_window(
    values: np.ndarray, centre: float, width: float, function: str
) -> np.ndarray:
    """Scale what is inside of a window to 0..1.

    Reference: DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3.
    """
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function != "LINEAR_EXACT":
        centre, width = centre - 0.5, width - 1
    return _stretch(values, centre - width / 2, centre + width / 2)


def _stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high <= low:  # a window of width 1 is a step behind its centre
        return (values > low).astype(float)
    return np.clip((values - low) / (high - low), 0, 1)
