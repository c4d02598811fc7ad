import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

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


def test_compressed_values_are_not_looked_at(make_dataset, to_bytes):
    dataset = make_dataset(TWELVE, 10)
    dataset.compress(RLELossless, generate_instance_uid=False)
    assert read_dicom(to_bytes(dataset)).frame.warnings == ()
