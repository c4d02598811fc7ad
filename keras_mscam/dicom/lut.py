"""Lookup tables of a DICOM header, whose descriptors are not to be trusted."""

from typing import NamedTuple

import numpy as np
from pydicom import Dataset

from keras_mscam.dicom.values import read_numbers


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
