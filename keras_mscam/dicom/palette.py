"""Colours of a palette."""

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_color_lut

from keras_mscam.data.images import ImageError
from keras_mscam.dicom.lut import is_little, read_lut
from keras_mscam.dicom.values import read_numbers

_COLOURS = ("Red", "Green", "Blue")


def look_up_colours(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return the colours that stored values stand for.

    Args:
        values: `(count,)`.
        dataset: their header.

    Returns:
        uint8 `(count, 3)`, RGB.

    Raises:
        ImageError: there is no palette, or none that can be read.
    """
    tables = [
        read_lut(dataset, f"{colour}PaletteColorLookupTable", is_little(dataset))
        for colour in _COLOURS
    ]
    if any(table is None for table in tables):
        return _look_up_segments(values, dataset)
    shift = max(table.bits for table in tables) - 8
    colours = np.stack([table.look_up(values) for table in tables], -1)
    return (colours >> shift).astype(np.uint8)


def _look_up_segments(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Let pydicom expand a palette that is stored as a curve (PS3.3, C.7.9.2)."""
    if "SegmentedRedPaletteColorLookupTableData" not in dataset:
        raise ImageError("is damaged: its header has no palette for its colours")
    descriptor = read_numbers(dataset, "RedPaletteColorLookupTableDescriptor")
    if descriptor[2] == 8 and descriptor[0] != 256:
        # Where pydicom counts entries in 8 bits.
        raise ImageError("has colours of a palette that cannot be read")
    colours = apply_color_lut(values, dataset)[..., :3]
    return (colours >> (8 * colours.itemsize - 8)).astype(np.uint8)
