"""Stored values to those that windows are given in. Reference: DICOM PS3.3, C.11.1."""

import numpy as np
from pydicom import Dataset

from keras_mscam.dicom.lut import read_first_lut
from keras_mscam.dicom.values import is_given, read_numbers

#: Larger factors would overflow further on.
_LARGEST = 1e30


def apply_modality(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Apply the modality LUT, or else slope and intercept.

    Args:
        stored: values of any shape.
        dataset: their header.

    Returns:
        Numbers of the same shape.
    """
    lut = read_first_lut(dataset, "ModalityLUTSequence")
    if lut:
        return lut.look_up(stored)
    slope, intercept = _find_rescale(dataset) or (1, 0)
    return stored * slope + intercept


def describe_modality(dataset: Dataset) -> list[str]:
    """Return a warning where slope and intercept can't be meant."""
    if read_first_lut(dataset, "ModalityLUTSequence") or _find_rescale(dataset):
        return []
    given = is_given(dataset, "RescaleSlope")
    return ["Its rescaling makes no sense and is left out."] if given else []


def _find_rescale(dataset: Dataset) -> tuple[float, float] | None:
    """Return slope and intercept; none without both, or if they make all equal."""
    slope = read_numbers(dataset, "RescaleSlope")
    intercept = read_numbers(dataset, "RescaleIntercept")
    if len(slope) != 1 or len(intercept) != 1 or slope[0] == 0:
        return None
    return (*slope, *intercept) if max(map(abs, slope + intercept)) < _LARGEST else None
