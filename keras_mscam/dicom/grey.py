"""Stored DICOM values to 8-bit grey, as a viewer shows them."""

import cv2
import numpy as np
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi

from keras_mscam.dicom.values import read_word

#: Each the start of some names.
COLOURS = ("RGB", "YBR", "PALETTE")


def to_grey(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Turn stored values to 8-bit grey, dark for air and bright for bone.

    Stored values go through the modality LUT or rescale, then through the first VOI LUT
    or else the first window (linear, linear exact or sigmoid). Without either, values
    of up to 8 bits are taken as they are, and deeper ones are stretched from their
    minimum to their maximum, pixel padding left out. A window in which every pixel of
    the image is equal counts as none. What `is_inverse` is inverted; colour becomes
    luma. Overlays are not drawn.

    Args:
        pixels: `(height, width)`, or colour `(height, width, 3)`.
        dataset: their header.

    Returns:
        uint8 of shape `(height, width)`.
    """
    if dataset.PhotometricInterpretation.startswith(COLOURS):
        return _to_luma(pixels, dataset)
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


def contradicts_itself(dataset: Dataset) -> bool:
    """Whether one element says that the lowest value is white and another not."""
    photometric = dataset.PhotometricInterpretation
    if not photometric.startswith("MONOCHROME"):
        return False
    return is_inverse(dataset) != (photometric == "MONOCHROME1")


def _to_luma(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Turn colour, which pydicom gives as RGB, to grey as `images` does."""
    bits = dataset.BitsStored
    if dataset.PhotometricInterpretation.startswith("PALETTE"):
        pixels = apply_color_lut(pixels, dataset)
        bits = pixels.dtype.itemsize * 8
    pixels = (pixels[..., :3] >> max(bits - 8, 0)).astype(np.uint8)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


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
    grey = _present(apply_modality_lut(stored, dataset), actual, dataset)
    if is_inverse(dataset):
        grey = 1 - grey
    return np.floor(255 * grey + 0.5).astype(np.uint8)[pixels - first]


def _find_padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Mark the values, one or a range, which fill up what was not exposed."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit", value)
    return (stored >= min(value, limit)) & (stored <= max(value, limit))


def _present(values: np.ndarray, actual: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Scale values to 0..1; `actual` marks those that the image has."""
    if dataset.get("VOILUTSequence"):
        bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
        # pydicom takes 16-bit integers here, and rescaled values are neither.
        values = np.clip(np.rint(values), -(2**15), 2**16 - 1).astype(int)
        grey = np.clip(apply_voi(values, dataset) / (2**bits - 1), 0, 1)
    else:
        grey = _apply_window(values, dataset)
    if grey is None or np.ptp(grey[actual]) == 0:
        grey = _stretch(values, values[actual].min(), values[actual].max())
    return grey


def _apply_window(values: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Apply the first window; none without a centre and a width above 0.

    Reference: DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3.
    """
    centre = _get_first(dataset.get("WindowCenter"))
    width = _get_first(dataset.get("WindowWidth"))
    if centre in (None, "") or not width or width <= 0:
        return None
    centre, width = float(centre), float(width)
    function = dataset.get("VOILUTFunction") or "LINEAR"
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return _stretch(values, centre - width / 2, centre + width / 2)


def _get_first(value):
    return value[0] if isinstance(value, MultiValue) else value


def _stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    # A window of width 1 is a step behind its centre.
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)
