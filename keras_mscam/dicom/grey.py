"""Stored DICOM values to 8-bit grey, as a viewer shows them."""

import cv2
import numpy as np
from pydicom import Dataset

from keras_mscam.dicom.modality import apply_modality, describe_modality
from keras_mscam.dicom.palette import look_up_colours
from keras_mscam.dicom.values import read_number, read_word
from keras_mscam.dicom.window import describe_window, present


def to_grey(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Turn stored values to 8-bit grey, dark for air and bright for bone.

    Stored values go through the modality LUT or rescale, then through the first VOI LUT
    or else the first window (linear, linear exact or sigmoid). Without either, values
    of up to 8 bits are taken as they are, and deeper ones are stretched from their
    minimum to their maximum, pixel padding left out. A window in which every pixel of
    the image is equal counts as none, and so does what makes no sense. What
    `is_inverse` is inverted; colour becomes luma. Overlays are not drawn.

    Args:
        pixels: `(height, width)`, or colour `(height, width, 3)`.
        dataset: their header.

    Returns:
        uint8 of shape `(height, width)`.
    """
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _look_up_luma(pixels, dataset)
    if pixels.ndim == 3:
        return _to_luma((pixels >> max(dataset.BitsStored - 8, 0)).astype(np.uint8))
    return _look_up(pixels, dataset)


def is_inverse(dataset: Dataset) -> bool:
    """Whether the lowest value is white: by `PresentationLUTShape`, if that says.

    The photometric interpretation should say the same; where it doesn't, other viewers
    follow the shape as well.
    """
    shape = read_word(dataset, "PresentationLUTShape")
    if shape in ("IDENTITY", "INVERSE"):
        return shape == "INVERSE"
    return dataset.PhotometricInterpretation == "MONOCHROME1"


def describe_grey(dataset: Dataset) -> list[str]:
    """Return warnings where the header says nonsense on how grey is to be shown."""
    photometric = dataset.PhotometricInterpretation
    if not photometric.startswith("MONOCHROME"):
        return []
    found = []
    if is_inverse(dataset) != (photometric == "MONOCHROME1"):
        found.append("Its header contradicts itself on whether black is white.")
    return found + describe_modality(dataset) + describe_window(dataset)


def _to_luma(colours: np.ndarray) -> np.ndarray:
    """Turn colour, which decoders give as RGB, to grey as `images` does."""
    return cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY)


def _look_up_luma(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    pixels = pixels.astype(np.int32)
    stored = np.arange(int(pixels.min()), int(pixels.max()) + 1)
    luma = _to_luma(look_up_colours(stored, dataset)[None])[0]
    return luma[pixels - stored[0]]


def _look_up(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Look every stored value up in a table: no pixel is computed twice."""
    pixels = pixels.astype(np.int32)
    first, last = int(pixels.min()), int(pixels.max())
    if dataset.BitsStored <= 8:
        lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
        first = min(first, lowest)
        last = max(last, lowest + 2**dataset.BitsStored - 1)
        stored = np.arange(first, last + 1)
        actual = np.ones(stored.shape, bool)
    else:
        stored = np.arange(first, last + 1)
        counted = np.bincount(pixels.ravel() - first) > 0
        actual = counted & ~_find_padding(stored, dataset)
        actual = actual if actual.any() else counted
    grey = present(apply_modality(stored, dataset), actual, dataset)
    if is_inverse(dataset):
        grey = 1 - grey
    return np.floor(255 * grey + 0.5).astype(np.uint8)[pixels - first]


def _find_padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Mark the values, one or a range, which fill up what was not exposed."""
    value = read_number(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = read_number(dataset, "PixelPaddingRangeLimit")
    limit = value if limit is None else limit
    return (stored >= min(value, limit)) & (stored <= max(value, limit))
