"""Lookup tables of a DICOM header, whose descriptors are not to be trusted."""

from typing import NamedTuple

import cv2
import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_color_lut

from keras_mscam.images.dicom.header import (
    is_given,
    read_number,
    read_numbers,
    read_word,
)
from keras_mscam.images.xray import ImageError


class Lut(NamedTuple):
    """A lookup table.

    Args:
        first: the value that the first entry is for.
        entries: int32 `(count,)`, of 0 to 65535.
    """

    first: int
    entries: np.ndarray

    @property
    def bits(self) -> int:
        """How many bits the largest entry needs, 8 at least.

        Descriptors of some vendors say 16 bits for entries of 12, which would show
        everything as nearly black; the viewers built on Cornerstone go by the entries
        as well, and so does dcmtk where asked to (`--ignore-vlut-depth`).
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


def read_first_lut(dataset: Dataset, sequence: str) -> Lut | None:
    """Read the first table of a sequence; `None` without one that has entries."""
    items = dataset.get(sequence)
    return read_lut(items[0], "LUT", is_little(dataset)) if items else None


def is_little(dataset: Dataset) -> bool:
    """Whether the lower byte of two comes first in the file."""
    return dataset.original_encoding[1] is not False


def read_lut(dataset: Dataset, name: str, little_endian: bool) -> Lut | None:
    """Read the table in the elements `<name>Descriptor` and `<name>Data`.

    As many entries are read as there are, whatever the descriptor says; if there is a
    byte for each that it says, then they are bytes.

    Args:
        dataset: a header, or an item of a sequence in it.
        name: `"LUT"`, or `"RedPaletteColorLookupTable"` and the like.
        little_endian: the order of bytes in the file.

    Returns:
        None without both elements.

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


#: Larger numbers would overflow further on.
_LARGEST_window = 1e30


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
    if centre is None or width is None or not 0 < width <= _LARGEST_window:
        return None
    return (centre, width) if abs(centre) <= _LARGEST_window else None


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
