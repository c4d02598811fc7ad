import cv2
import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from keras_mscam.images.dicom.read import read_dicom
from keras_mscam.images.reader import read_grey

RAMP = [[0, 1000, 2000], [3000, 4000, 4095]]


@pytest.mark.parametrize(
    "name", ["MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"]
)
def test_lossless_files_equal_the_uncompressed_one(name, to_bytes, radiograph):
    plain = radiograph("MR_small.dcm")
    expected = read_dicom(to_bytes(plain)).pixels
    # Its window, 600 +- 800 less half a step, on the 16-bit values in the file.
    values = np.frombuffer(plain.PixelData, "<i2").reshape(64, 64).astype(float)
    by_hand = np.clip((values - 599.5) / 1599 + 0.5, 0, 1) * 255
    assert np.abs(expected - by_hand).max() <= 0.51
    np.testing.assert_array_equal(
        read_dicom(to_bytes(radiograph(f"{name}.dcm"))).pixels, expected
    )


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_jpeg_gdcm",  # JPEG Lossless
        "SC_rgb_gdcm_KY",  # JPEG 2000
        "SC_rgb_rle",
        "SC_rgb_rle_16bit",
        "SC_rgb_jpeg_dcmtk",  # JPEG baseline, YBR_FULL
        "SC_rgb_dcmtk_+eb+cy+s2",  # YBR_FULL_422
        "SC_rgb_jls_lossy_line",
        "SC_ybr_full_422_uncompressed",
    ],
)
def test_one_secondary_capture_however_compressed(name):
    # Bars of ten rows: red, green and blue, each followed by its half with white
    # (0.299 * 255 + 0.701 * 128 = 166), then black, 64, 192, white.
    rows = np.arange(5, 100, 10)
    bars = [76, 166, 150, 203, 29, 142, 0, 64, 192, 255]
    grey = read_grey(get_testdata_file(f"{name}.dcm", download=False))
    assert grey.shape == (100, 100)
    assert np.abs(grey[rows].astype(int) - np.array(bars)[:, None]).max() <= 3


@pytest.mark.parametrize("suffix", [".jpg", ".jp2"])
def test_images_of_opencv_inside(suffix, make_dataset, to_bytes):
    pixels = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (60, 90), np.uint8), (0, 0), 4
    )
    encoded = cv2.imencode(suffix, pixels)[1].tobytes()
    # A JP2 file is a container; DICOM holds the code stream inside it.
    frame = encoded[encoded.find(b"\xff\x4f\xff\x51") :] if "2" in suffix else encoded
    syntax = JPEG2000Lossless if "2" in suffix else JPEGBaseline8Bit
    dataset = make_dataset(pixels, 8, syntax)
    dataset.PixelData = encapsulate([frame])
    expected = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    difference = read_dicom(to_bytes(dataset)).pixels.astype(int) - expected
    assert np.abs(difference).max() <= 1


def test_run_lengths_written_by_hand(make_dataset, to_bytes):
    # Two segments, high bytes and low bytes: 0x0100 0x0101 0x0102 0x0102.
    header = np.array([2, 64, 66, *[0] * 13], "<u4").tobytes()
    frame = header + b"\xfd\x01" + b"\x01\x00\x01\xff\x02\x00"
    dataset = make_dataset([[0, 0, 0, 0]], 12, RLELossless)
    dataset.PixelData = encapsulate([frame])
    assert read_dicom(to_bytes(dataset)).pixels.tolist() == [[0, 128, 255, 255]]
