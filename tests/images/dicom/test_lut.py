"""Lookup tables whose descriptors say one thing and whose entries another."""

import numpy as np
import pytest
from pydicom import Dataset, Sequence
from pydicom.uid import ExplicitVRBigEndian

from keras_mscam.images.dicom.grey import Lut, read_lut

RAMP = [[0, 1000, 2000], [3000, 4000, 4095]]
# x / 4095 * 255
GREY = [[0, 62, 125], [187, 249, 255]]
# x // 16
COARSE = [[0, 62, 125], [187, 250, 255]]


def make_item(descriptor, entries):
    """Make a table: of 16-bit numbers, or of bytes as they are in the file."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", "OW" if isinstance(entries, bytes) else "US", entries)
    return Sequence([item])


def read_table(descriptor, entries, little_endian=True):
    return read_lut(make_item(descriptor, entries)[0], "LUT", little_endian)


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize(
    ("descriptor", "entries", "grey"),
    [
        ([4096, 0, 12], list(range(4096)), GREY),
        ([4096, 0, 16], list(range(4096)), GREY),  # more bits than there are
        ([4096, 0, 12], [i * 16 for i in range(4096)], GREY),  # fewer
        ([4096, 0, 9], [i >> 3 for i in range(4096)], COARSE),
        ([4096, 0, 8], [i >> 4 for i in range(4096)], COARSE),
        ([4096, 0, 8], bytes(i >> 4 for i in range(4096)), COARSE),
        ([4096, 0, 16], bytes(i >> 4 for i in range(4096)), COARSE),
        ([2000, 0, 12], list(range(4096)), GREY),  # fewer entries than there are
    ],
)
def test_entries_count_and_not_what_is_said_of_them(
    name, descriptor, entries, grey, read
):
    found = read(RAMP, **{name: make_item(descriptor, entries)})
    assert np.abs(np.subtract(found, grey)).max() <= 1


def test_entries_that_are_missing_are_the_last(read):
    # 4096 are said, 2048 are there: up to 2047 of 11 bits.
    lut = make_item([4097, 0, 11], list(range(2048)))
    assert read(RAMP, VOILUTSequence=lut) == [[0, 125, 249], [255, 255, 255]]


def test_the_first_value_may_be_negative(read):
    # -2048 in 16 bits, in an element of unsigned ones.
    values = np.array(RAMP) - 2048
    lut = make_item([4096, 2**16 - 2048, 12], list(range(4096)))
    assert read(values, VOILUTSequence=lut) == GREY


@pytest.mark.parametrize("gap", ["LUTData", "LUTDescriptor", "both"])
def test_a_table_without_entries_is_none(gap, read):
    lut = make_item([4096, 0, 12], list(range(4096)))
    for keyword in ("LUTData", "LUTDescriptor"):
        if gap in (keyword, "both"):
            delattr(lut[0], keyword)
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    assert read(RAMP, VOILUTSequence=lut, **window) == GREY
    assert read(RAMP, ModalityLUTSequence=lut, **window) == GREY


def test_bytes_in_words_of_either_order():
    # Entries 1, 2, 3, 4, 5 and a byte that fills up; big endian swaps two each.
    for data, little in ((b"\1\2\3\4\5\0", True), (b"\2\1\4\3\0\5", False)):
        assert read_table([5, 0, 8], data, little).entries.tolist() == [1, 2, 3, 4, 5]
    assert read_table([2, 7, 16], b"\1\2\3\4", False).entries.tolist() == [258, 772]
    assert read_table([2, 7, 16], b"\1\2\3\4", True).entries.tolist() == [513, 1027]


def test_a_whole_table_has_a_count_of_0():
    lut = read_table([0, 0, 16], bytes(2**17))
    assert len(lut.entries) == 2**16


def test_values_are_rounded_and_stay_inside():
    lut = Lut(10, np.array([5, 6, 7], np.int32))
    values = np.array([-1e9, 9, 10.4, 10.6, 12, 13, 1e9])
    assert lut.look_up(values).tolist() == [5, 5, 5, 6, 7, 7, 7]


def test_bits_are_those_of_the_largest_entry_and_8_at_least():
    largest = {0: 8, 255: 8, 256: 9, 4095: 12, 65535: 16}
    for entry, bits in largest.items():
        assert Lut(0, np.array([0, entry], np.int32)).bits == bits


def make_palette(descriptor, data):
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        elements |= {f"{name}Descriptor": descriptor, f"{name}Data": data}
    return elements


@pytest.mark.parametrize(
    ("descriptor", "data"),
    [
        ([256, 0, 8], bytes(range(256))),
        ([256, 0, 16], bytes(range(256))),
        ([256, 0, 8], np.arange(256, dtype="<u2").tobytes()),
        ([256, 0, 16], np.arange(256, dtype="<u2").tobytes()),
        ([256, 0, 16], (np.arange(256, dtype="<u2") * 257).tobytes()),
        ([256, 0, 12], (np.arange(256, dtype="<u2") * 16).tobytes()),
    ],
)
def test_palettes_of_grey(descriptor, data, read):
    pixels = [[3, 100, 50], [200, 250, 7]]
    assert read(pixels, 8, **make_palette(descriptor, data)) == pixels


def test_a_palette_of_bytes_for_deep_pixels(read):
    palette = make_palette([4096, 0, 8], bytes(i >> 4 for i in range(4096)))
    assert read(RAMP, **palette) == COARSE


def test_a_palette_in_big_endian(read):
    data = (np.arange(4096) * 16).astype(">u2").tobytes()
    palette = make_palette([4096, 0, 16], data)
    assert read(RAMP, syntax=ExplicitVRBigEndian, **palette) == COARSE


def test_a_colour_that_a_palette_does_not_have(read):
    # Green alone: 0.587 * 255 = 149.7.
    palette = make_palette([256, 0, 8], bytes(256))
    palette["GreenPaletteColorLookupTableData"] = bytes(range(256))
    assert read([[0, 255]], 8, **palette) == [[0, 150]]


def test_without_a_palette(make_dataset, refuse):
    dataset = make_dataset([[1, 2]], 8, PhotometricInterpretation="PALETTE COLOR")
    assert refuse(dataset) == "is damaged: its header has no palette for its colours"
