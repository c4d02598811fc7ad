import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from keras_mscam.images.dicom.read import read_dicom

LARGER = ("Its values are larger than its header says, so they are cut.",)
TWELVE = [[0, 1000, 2000], [3000, 4000, 4095]]


@pytest.fixture
def warn(make_dataset, to_bytes):
    """Return what makes a file, with an overlay or without, and reads its warnings."""

    def warn(pixels, bits, position=None, **kwargs):
        dataset = make_dataset(pixels, bits, **kwargs)
        if position is not None:
            dataset.add_new(0x60020100, "US", 16)
            dataset.add_new(0x60020102, "US", position)
        return read_dicom(to_bytes(dataset)).frame.warnings

    return warn


def test_values_as_large_as_the_header_says(warn):
    assert warn(TWELVE, 12) == warn(TWELVE, 16) == warn([[3, 255]], 8) == ()
    # Bits 4 to 15 hold the value.
    assert warn(np.array(TWELVE) * 16, 12, HighBit=15) == ()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_values_of_12_bits_that_are_called_10(syntax, warn):
    # 1000 fits into 10 bits, 1024 does not.
    assert warn([[0, 1023]], 10, syntax=syntax) == ()
    assert warn([[0, 1024]], 10, syntax=syntax) == LARGER
    assert warn(TWELVE, 10, syntax=syntax) == LARGER


def test_eight_bits_that_are_called_7(warn):
    assert warn([[3, 128, 5]], 7) == LARGER


def test_overlays_in_their_own_bits_are_meant(warn):
    pixels = np.array(TWELVE) | 0x8000
    assert warn(pixels, 12, position=15) == ()
    # Position 0 is that of overlays with data of their own.
    assert warn(pixels, 12, position=0) == LARGER


def test_signs_are_no_larger_values(warn):
    assert warn(np.array(TWELVE) - 2048, 12) == ()
    assert warn(np.array(TWELVE) * 16 - 32768, 16) == ()


@pytest.mark.parametrize("bits", [12, 15])
def test_values_without_signs_that_are_called_signed(bits, warn):
    # 12 signed bits reach 2047; 2048 would be shown as -2048, the darkest of all.
    most = 2 ** (bits - 1)
    assert warn([[0, most - 1]], bits, PixelRepresentation=1) == ()
    assert warn([[0, most]], bits, PixelRepresentation=1) == LARGER
    assert warn([[0, -most]], bits) == ()
    assert warn([[0, -most - 1]], bits) == LARGER


def test_compressed_values_are_looked_at_too(make_dataset, to_bytes):
    for pixels, warnings in ((TWELVE, LARGER), ([[0, 1023, 500]], ())):
        dataset = make_dataset(pixels, 10)
        plain = read_dicom(to_bytes(dataset)).pixels
        dataset.compress(RLELossless, generate_instance_uid=False)
        packed = read_dicom(to_bytes(dataset))
        assert packed.frame.warnings == warnings
        np.testing.assert_array_equal(packed.pixels, plain)
        for syntax, encode in (
            (JPEGLosslessSV1, imagecodecs.ljpeg_encode),
            (JPEGLSLossless, imagecodecs.jpegls_encode),
        ):
            frame = encapsulate([encode(np.array(pixels, np.uint16))])
            dataset = make_dataset(pixels, 10, syntax, PixelData=frame)
            packed = read_dicom(to_bytes(dataset))
            assert packed.frame.warnings == warnings
            np.testing.assert_array_equal(packed.pixels, plain)


def test_jpeg_2000_says_itself_how_many_bits_it_has(make_dataset, to_bytes):
    data = imagecodecs.jpeg2k_encode(
        np.array(TWELVE, np.uint16), reversible=True, codecformat="j2k"
    )
    frame = encapsulate([data])
    dataset = make_dataset(TWELVE, 10, JPEG2000Lossless, PixelData=frame)
    xray = read_dicom(to_bytes(dataset))
    # From 0 to 4095, stretched: 255 v / 4095.
    assert xray.pixels.tolist() == [[0, 62, 125], [187, 249, 255]]
    assert xray.frame.warnings == ()


@pytest.mark.parametrize("centre", ["9000", "-9000"])
def test_a_window_that_shows_nothing_is_said(centre, warn):
    window = {"WindowCenter": centre, "WindowWidth": "100"}
    assert warn(TWELVE, 12, **window) == (
        "Its window shows all of it in one grey value and is left out.",
    )
    # Nothing is to be seen in any window.
    assert warn([[7, 7]], 12, **window) == ()
