"""Bits beside those that a header calls stored."""

import numpy as np
from pydicom import Dataset

from keras_mscam.dicom.lut import is_little


def describe_bits(dataset: Dataset) -> list[str]:
    """Return a warning where grey values are larger than their header says.

    What is above the stored bits is left out, as every viewer does it. Old files keep
    overlays there, and say so; in others it belongs to the values, and the picture is
    wrong. Compressed and signed values are not looked at.
    """
    compressed = dataset.file_meta.TransferSyntaxUID.is_compressed
    if compressed or dataset.SamplesPerPixel != 1 or dataset.PixelRepresentation:
        return []
    order = "<" if is_little(dataset) else ">"
    values = np.frombuffer(
        dataset.PixelData,
        f"{order}u{dataset.BitsAllocated // 8}",
        dataset.Rows * dataset.Columns,
    )
    highest = max(dataset.HighBit, dataset.BitsStored - 1)
    if values.max() < 2 ** (highest + 1) or _has_overlay_in_pixels(dataset):
        return []
    return ["Its values are larger than its header says, so they are cut."]


def _has_overlay_in_pixels(dataset: Dataset) -> bool:
    """Whether one is in a bit of its own. Reference: DICOM PS3.3-2004, C.9.2."""
    positions = (dataset.get((group, 0x0102)) for group in range(0x6000, 0x6020, 2))
    return any(position and position.value for position in positions)
