import numpy as np
import pytest
from pydicom import Dataset, Sequence
from pydicom.pixels import apply_voi_lut
from pydicom.uid import (
    ExplicitVRBigEndian,
)

from keras_mscam.images.dicom.read import read_dicom


def lut(first, bits, entries, signed=False):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


RAMP = [[0, 1000, 2000], [3000, 4000, 4095]]


def test_deep_values_are_stretched_from_minimum_to_maximum(read):
    # (x - 100) / 400 * 255: 100 -> 0, 200 -> 63.75, 300 -> 127.5, 500 -> 255.
    assert read([[100, 200, 300, 500]]) == [[0, 64, 128, 255]]


def test_monochrome1_is_inverted(read):
    # 1 - x before rounding: 0, 191.25, 127.5, 255 from the right.
    grey = read([[100, 200, 300, 500]], PhotometricInterpretation="MONOCHROME1")
    assert grey == [[255, 191, 128, 0]]


def test_values_of_eight_bits_stay_as_they_are(read):
    assert read([[3, 100], [200, 250]], bits=8) == [[3, 100], [200, 250]]
    inverted = read([[3, 250]], bits=8, PhotometricInterpretation="MONOCHROME1")
    assert inverted == [[252, 5]]
    # Signed: -128 is black.
    assert read([[-128, -1, 127]], bits=8) == [[0, 127, 255]]


def test_signed_and_sixteen_bits(read):
    # (x + 1000) / 4000 * 255
    assert read([[-1000, 0, 1000, 3000]], bits=16) == [[0, 64, 128, 255]]
    assert read([[0, 13107, 65535]], bits=16) == [[0, 51, 255]]


def test_bits_above_the_stored_ones_are_no_part_of_the_value(read):
    # Once kept for overlays: 0xf000 above 12 bits.
    assert read([[0xF000, 0x0800, 0xF800, 0x0FFF]]) == [[0, 128, 128, 255]]


def test_big_endian(read):
    grey = read([[100, 200, 300, 500]], syntax=ExplicitVRBigEndian)
    assert grey == [[0, 64, 128, 255]]


@pytest.mark.parametrize(
    "padding",
    [
        {"PixelPaddingValue": 0},
        {"PixelPaddingValue": 4000},
        {"PixelPaddingValue": 5, "PixelPaddingRangeLimit": 0},
    ],
)
def test_padding_does_not_count_for_minimum_and_maximum(padding, read):
    value = padding["PixelPaddingValue"]
    grey = read([[value, 100, 200, 300, 500]], **padding)
    assert grey == [[0 if value < 100 else 255, 0, 64, 128, 255]]


def test_nothing_but_padding_and_nothing_but_one_value(read):
    assert read([[7, 7]], PixelPaddingValue=7) == [[0, 0]]
    assert read([[7, 7]], bits=16) == [[0, 0]]


def test_a_falling_rescale_inverts(read):
    grey = read([[100, 200, 300, 500]], RescaleSlope="-2", RescaleIntercept="7")
    assert grey == [[255, 191, 128, 0]]


def test_a_window_is_in_rescaled_values(read):
    # Values 2 x - 1000: -1000, 0, 1000, 2000. Exact window 0 +- 1000.
    grey = read(
        [[0, 500, 1000, 1500]],
        RescaleSlope="2",
        RescaleIntercept="-1000",
        WindowCenter="0",
        WindowWidth="2000",
        VOILUTFunction="LINEAR_EXACT",
    )
    assert grey == [[0, 128, 255, 255]]


def test_a_linear_window_is_half_a_step_shorter(read):
    # C.11.2.1.2: centre 2048, width 4096 is 0..4095 to 0..255, so 16 -> 0.996.
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    assert read([[0, 16, 2048, 4095]], **window) == [[0, 1, 128, 255]]
    # Width 1: up to 99.5 black, above it white.
    step = {"WindowCenter": "100", "WindowWidth": "1"}
    assert read([[98, 99, 100, 101]], **step) == [[0, 0, 255, 255]]


def test_the_first_of_several_windows(read):
    grey = read(RAMP, WindowCenter=["2048", "9"], WindowWidth=["4096", "3"])
    assert grey == read(RAMP, WindowCenter="2048", WindowWidth="4096")


def test_a_sigmoid_window(read):
    # 1 / (1 + exp(-4 (x - 2000) / 2000)): exp(4) = 54.6, 255 / 55.6 = 4.6, 250.4.
    grey = read(
        [[0, 1000, 2000, 3000, 4000]],
        WindowCenter="2000",
        WindowWidth="2000",
        VOILUTFunction="SIGMOID",
    )
    assert grey == [[5, 30, 128, 225, 250]]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicom(function, make_dataset, to_bytes):
    pixels = np.random.default_rng(0).integers(-2048, 2048, (40, 30))
    dataset = make_dataset(
        pixels, WindowCenter="-100.5", WindowWidth="1500", VOILUTFunction=function
    )
    # Its output is -2048..2047, the range of 12 signed bits.
    expected = (apply_voi_lut(pixels, dataset) + 2048) / 4095 * 255
    assert np.abs(read_dicom(to_bytes(dataset)).pixels - expected).max() <= 0.51


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": "2048", "WindowWidth": "0"},
        {"WindowCenter": "2048"},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": "9000", "WindowWidth": "100"},  # every pixel below
    ],
)
def test_a_window_that_shows_nothing_is_none(window, read):
    assert read([[100, 200, 300, 500]], **window) == [[0, 64, 128, 255]]


def test_a_voi_lut_goes_before_a_window(read):
    # First entry for 100 and below, last for 103 and above, of 10 bits: x / 1023 * 255.
    grey = read(
        [[0, 100, 101, 102, 103, 4000]],
        VOILUTSequence=lut(100, 10, [0, 511, 1000, 1023]),
        WindowCenter="2048",
        WindowWidth="4096",
    )
    assert grey == [[0, 0, 127, 249, 255, 255]]


def test_a_modality_lut_goes_before_a_voi_lut(read):
    grey = read(
        [[0, 1, 2]],
        ModalityLUTSequence=lut(0, 16, [500, 300, 400]),
        VOILUTSequence=lut(300, 10, [*range(0, 1010, 5)]),
    )
    # 500 -> entry 200 of 5 i = 1000, 300 -> 0, 400 -> 500.
    assert grey == [[249, 0, 125]]


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"WindowCenter": "30000", "WindowWidth": "9000"},
        {"WindowCenter": "0", "WindowWidth": "9000", "VOILUTFunction": "SIGMOID"},
        {"RescaleSlope": "0.37", "RescaleIntercept": "-55", "PixelPaddingValue": 0},
        {"VOILUTSequence": lut(1000, 12, [*range(4096)])},
    ],
)
def test_brightness_is_monotone(kind, elements, make_dataset, to_bytes):
    values = np.arange(65536).reshape(256, 256)
    dataset = make_dataset(values, 16, PhotometricInterpretation=kind, **elements)
    steps = np.diff(read_dicom(to_bytes(dataset)).pixels.ravel().astype(int))
    assert (steps * (1 if kind == "MONOCHROME2" else -1) >= 0).all()
    assert steps.any()


def test_colour_becomes_luma(read):
    # 0.299, 0.587 and 0.114 times 255; grey stays.
    pixels = [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]]
    assert read(pixels, 8, PhotometricInterpretation="RGB", PlanarConfiguration=0) == [
        [76, 150, 29, 9]
    ]
    # Y of YBR_FULL is the luma itself.
    ybr = [[[200, 128, 128], [17, 128, 128]]]
    kind = {"PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": 0}
    assert read(ybr, 8, **kind) == [[200, 17]]


def test_a_palette_is_looked_up(read):
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        table = np.array([0, 10, 100, 255], "<u2") * 257
        elements[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    assert read([[3, 2], [1, 0]], 8, **elements) == [[255, 100], [10, 0]]
