"""Rescaling and windows that can't be meant: left out, with a warning."""

import pytest

from keras_mscam.images.dicom.read import read_dicom

RAMP = [[0, 1000, 2000], [3000, 4000, 4095]]
NONSENSE = [b"0     ", b"nan   ", b"inf   ", b"1e400 ", b"1e300 ", b"abc   ", b"1,5   "]


def read_changed(dataset, to_bytes, value):
    """Read a file in which a number of six digits is replaced."""
    data = to_bytes(dataset)
    assert data.count(b"123456") == 1
    return read_dicom(data.replace(b"123456", value))


@pytest.mark.parametrize("value", [*NONSENSE, b"2\\3   "])
def test_a_rescaling_that_makes_no_sense(value, make_dataset, to_bytes):
    dataset = make_dataset(
        [[100, 200, 300, 500]], RescaleSlope="123456", RescaleIntercept="7"
    )
    xray = read_changed(dataset, to_bytes, value)
    assert xray.pixels.tolist() == [[0, 64, 128, 255]]
    assert xray.frame.warnings == ("Its rescaling makes no sense and is left out.",)


@pytest.mark.parametrize("value", [*NONSENSE, b"-5    "])
def test_a_window_that_makes_no_sense(value, make_dataset, to_bytes):
    dataset = make_dataset(
        [[100, 200, 300, 500]], WindowCenter="200", WindowWidth="123456"
    )
    xray = read_changed(dataset, to_bytes, value)
    assert xray.pixels.tolist() == [[0, 64, 128, 255]]
    assert xray.frame.warnings == ("Its window makes no sense and is left out.",)


@pytest.mark.parametrize("value", [b"      ", b"400   ", b"400\\  "])
def test_windows_that_are_empty_or_padded(value, make_dataset, to_bytes):
    # Without a width, from minimum to maximum, and no warning: (x - 100) / 400.
    dataset = make_dataset(
        [[100, 200, 300, 500]],
        WindowCenter="300",
        WindowWidth="123456",
        VOILUTFunction="LINEAR_EXACT",
    )
    xray = read_changed(dataset, to_bytes, value)
    assert xray.pixels.tolist() == [[0, 64, 128, 255]]
    assert xray.frame.warnings == ()


def test_a_tiny_slope_is_one_nevertheless(read):
    # (x - 100) / 500: 0.2, 0.6
    slope = {"RescaleSlope": "1e-12", "RescaleIntercept": "0"}
    assert read([[100, 200, 400, 600]], **slope) == [[0, 51, 153, 255]]


def test_a_function_of_windows_in_lower_case(read):
    window = {"WindowCenter": "2000", "WindowWidth": "2000"}
    sigmoid = read(RAMP, VOILUTFunction="SIGMOID", **window)
    assert read(RAMP, VOILUTFunction="sigmoid", **window) == sigmoid
    # What is unknown is linear, as in dcmtk.
    assert read(RAMP, VOILUTFunction="CURVE", **window) == read(RAMP, **window)
