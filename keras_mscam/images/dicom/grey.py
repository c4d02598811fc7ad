"""Stored values of DICOM pixels to 8-bit grey, as their header says it is shown.

pydicom computes windows, rescaling and segmented palettes, behind the guards that real
files need. Lookup tables are ours: pydicom takes the depth and the number of entries
from descriptors that are often wrong, counts the entries of an 8-bit table in 8 bits,
and cuts off the fractions of rescaled values, where dcmtk rounds.
"""

from typing import NamedTuple

import cv2
import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_color_lut, apply_rescale, apply_windowing

from keras_mscam.images.dicom.header import (
    is_given,
    read_number,
    read_numbers,
    read_word,
)
from keras_mscam.images.xray import ImageError

#: Larger slopes, intercepts and windows would overflow further on.
_LARGEST = 1e30


def to_grey(pixels: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, list[str]]:
    """Turn stored values `(height, width)`, or with 3 channels, to 8-bit grey.

    It is dark for air and bright for bone. Stored values go through the modality LUT or
    rescale, then through the first VOI LUT or else the first window (linear, linear
    exact or sigmoid). Without either, values of up to 8 bits are taken as they are, and
    deeper ones are stretched from their minimum to their maximum, pixel padding left
    out. A window in which every pixel of the image is equal counts as none, and so does
    what makes no sense. What `_is_inverse` is inverted; colour becomes luma. Overlays
    are not drawn.

    Returns:
        uint8 `(height, width)`, and a warning for each nonsense that was left out.

    Raises:
        ImageError: a palette is missing or can't be read.
    """
    if pixels.ndim == 3:
        shift = max(dataset.BitsStored - 8, 0)
        return _to_luma((pixels >> shift).astype(np.uint8)), []
    # Every stored value is looked up in a table: no pixel is computed twice.
    pixels = pixels.astype(np.int32)
    first, last = int(pixels.min()), int(pixels.max())
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colours = _look_up_colours(np.arange(first, last + 1), dataset)
        return _to_luma(colours[None])[0][pixels - first], []
    if dataset.BitsStored <= 8:
        lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
        first = min(first, lowest)
        last = max(last, lowest + 2**dataset.BitsStored - 1)
    stored = np.arange(first, last + 1)
    actual = np.ones(stored.shape, bool)
    if dataset.BitsStored > 8:
        counted = np.bincount(pixels.ravel() - first) > 0
        actual = counted & ~_find_padding(stored, dataset)
        actual = actual if actual.any() else counted
    said = []
    inverse = _is_inverse(dataset)
    if inverse != (dataset.PhotometricInterpretation == "MONOCHROME1"):
        said.append("Its header contradicts itself on whether black is white.")
    lut = _read_first_lut(dataset, "ModalityLUTSequence")
    if lut:
        stored = lut.look_up(stored)
    elif _can_rescale(dataset):
        stored = apply_rescale(stored, dataset)
    elif is_given(dataset, "RescaleSlope"):
        said.append("Its rescaling makes no sense and is left out.")
    grey, left_out = _present(stored, actual, dataset)
    if inverse:
        grey = 1 - grey
    grey = np.floor(255 * grey + 0.5).astype(np.uint8)
    return grey[pixels - first], said + left_out


def _to_luma(colours: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY)


def _find_padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Mark the values, one or a range, which fill up what was not exposed."""
    value = read_number(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = read_number(dataset, "PixelPaddingRangeLimit")
    ends = np.array([value, value if limit is None else limit]).astype(np.int64)
    # Signed or not as the pixels are, whatever files say of these 16 bits.
    ends = ends.astype(np.int16 if dataset.PixelRepresentation else np.uint16)
    return (stored >= ends.min()) & (stored <= ends.max())


def _is_inverse(dataset: Dataset) -> bool:
    """Whether the lowest value is white: by `PresentationLUTShape`, as in viewers."""
    shape = read_word(dataset, "PresentationLUTShape")
    if shape in ("IDENTITY", "INVERSE"):
        return shape == "INVERSE"
    return dataset.PhotometricInterpretation == "MONOCHROME1"


def _can_rescale(dataset: Dataset) -> bool:
    """Whether there are slope and intercept, and they don't make all values equal."""
    slope = read_numbers(dataset, "RescaleSlope")
    intercept = read_numbers(dataset, "RescaleIntercept")
    if len(slope) != 1 or len(intercept) != 1 or slope[0] == 0:
        return False
    return max(map(abs, slope + intercept)) < _LARGEST


def _present(
    values: np.ndarray, actual: np.ndarray, dataset: Dataset
) -> tuple[np.ndarray, list[str]]:
    """Scale rescaled values `(count,)` to 0..1; `actual` marks those in the image."""
    lut, grey, said = _read_first_lut(dataset, "VOILUTSequence"), None, []
    if lut:
        grey = lut.look_up(values) / (2**lut.bits - 1)
    elif _has_window(dataset):
        grey = _apply_window(values, dataset)
    elif is_given(dataset, "WindowCenter") and is_given(dataset, "WindowWidth"):
        said = ["Its window makes no sense and is left out."]
    if grey is None or np.ptp(grey[actual]) == 0:
        low, high = values[actual].min(), values[actual].max()
        if grey is not None and high > low:
            said = ["Its window shows all of it in one grey value and is left out."]
        grey = np.clip((values - low) / (max(high - low, 0) or np.inf), 0, 1)
    return grey, said


def _has_window(dataset: Dataset) -> bool:
    """Whether the first window has a centre, and a width above 0."""
    centre = read_number(dataset, "WindowCenter")
    width = read_number(dataset, "WindowWidth")
    if centre is None or width is None:
        return False
    return 0 < width <= _LARGEST and abs(centre) <= _LARGEST


def _apply_window(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Scale what is inside of the first window to 0..1.

    Reference: DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3.
    """
    function = read_word(dataset, "VOILUTFunction")
    header = Dataset()  # of values that are rescaled already, to 0..255
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsStored, header.PixelRepresentation = 8, 0
    # What is unknown is linear, as in dcmtk.
    known = function in ("SIGMOID", "LINEAR_EXACT")
    header.VOILUTFunction = function if known else "LINEAR"
    header["WindowCenter"] = dataset["WindowCenter"]
    header["WindowWidth"] = dataset["WindowWidth"]
    if (
        header.VOILUTFunction == "LINEAR"
        and (read_number(dataset, "WindowWidth") or 0) < 1
    ):
        header.WindowWidth = 1  # a step, as less has no meaning here
    return apply_windowing(values.astype(float), header) / 255


class Lut(NamedTuple):
    """A lookup table."""

    first: int  # the value that the first entry is for
    entries: np.ndarray  # int32 (count,), of 0 to 65535

    @property
    def bits(self) -> int:
        """How many bits the largest entry needs, 8 at least.

        Descriptors of some vendors say 16 for entries of 12, which would all be nearly
        black. Cornerstone goes by the entries too, as dcmtk's `--ignore-vlut-depth`.
        """
        return max(8, int(self.entries.max()).bit_length())

    def look_up(self, values: np.ndarray) -> np.ndarray:
        """Return the entries for values of any shape; outside, the first or the last.

        The first value is stored in 16 bits, negative or not. Where it is above all
        values, it was negative.
        """
        wraps = self.first >= 2**15 and self.first > values.max()
        first = self.first - 2**16 if wraps else self.first
        places = np.clip(np.rint(values) - first, 0, len(self.entries) - 1)
        return self.entries[places.astype(np.intp)]


def _read_first_lut(dataset: Dataset, sequence: str) -> Lut | None:
    """Read the first table of a sequence; `None` without one that has entries."""
    items = dataset.get(sequence)
    return read_lut(items[0], "LUT", is_little(dataset)) if items else None


def read_lut(dataset: Dataset, name: str, little_endian: bool) -> Lut | None:
    """Read the table in the elements `<name>Descriptor` and `<name>Data`.

    As many entries are read as there are, whatever the descriptor says; if there is a
    byte for each that it says, then they are bytes. Without both elements or entries,
    there is no table.

    Reference: DICOM PS3.3, C.11.1.1, C.11.2.1.1 and C.7.6.3.1.5.
    """
    descriptor = read_numbers(dataset, f"{name}Descriptor")
    data = dataset.get(f"{name}Data")
    if len(descriptor) != 3 or data is None:
        return None
    if isinstance(data, bytes):
        order = "<" if little_endian else ">"
        words = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2")
    else:
        words = np.atleast_1d(np.array(data, np.int32)) & 0xFFFF
    count = int(descriptor[0]) % 2**16 or 2**16
    if len(words) == (count + 1) // 2:
        words = words.astype("<u2").view(np.uint8)[:count]
    return Lut(int(descriptor[1]), words.astype(np.int32)) if len(words) else None


def is_little(dataset: Dataset) -> bool:
    """Whether the lower byte of two comes first in the file."""
    return dataset.original_encoding[1] is not False


def _look_up_colours(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return the colours that stored values stand for, uint8 `(count, 3)`, RGB."""
    found = [
        read_lut(dataset, f"{colour}PaletteColorLookupTable", is_little(dataset))
        for colour in ("Red", "Green", "Blue")
    ]
    tables = list(filter(None, found))
    if len(tables) == 3:
        colours = np.stack([table.look_up(values) for table in tables], -1)
        return (colours >> max(table.bits for table in tables) - 8).astype(np.uint8)
    if "SegmentedRedPaletteColorLookupTableData" not in dataset:
        raise ImageError("is damaged: its header has no palette for its colours")
    descriptor = read_numbers(dataset, "RedPaletteColorLookupTableDescriptor")
    if descriptor[2] == 8 and descriptor[0] != 256:
        # Where pydicom counts entries in 8 bits.
        raise ImageError("has colours of a palette that cannot be read")
    # A palette that is stored as a curve. Reference: DICOM PS3.3, C.7.9.2.
    colours = apply_color_lut(values, dataset)[..., :3]
    return (colours >> (8 * colours.itemsize - 8)).astype(np.uint8)
