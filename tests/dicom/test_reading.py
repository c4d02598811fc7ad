import io
import logging
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest
from pydicom import Dataset, Sequence, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import apply_voi_lut
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from keras_mscam.data.dicom import read_dicom
from keras_mscam.data.images import ImageError, convert_image, read_grey

RAMP = [[0, 1000, 2000], [3000, 4000, 4095]]


def make_dataset(pixels, bits=12, syntax=ExplicitVRLittleEndian, **elements):
    """Make a radiograph with what each attribute is given."""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    pixels = np.asarray(pixels)
    signed = int(pixels.min() < 0)
    dtype = np.dtype(f"{'ui'[signed]}{1 if bits <= 8 else 2}").newbyteorder(order)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.3"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.4"
    dataset.Modality = "DX"
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = 8 * dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = signed
    data = pixels.astype(dtype).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def to_bytes(dataset):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def read(pixels, bits=12, **kwargs):
    return read_dicom(to_bytes(make_dataset(pixels, bits, **kwargs))).tolist()


def lut(first, bits, entries, signed=False):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


# Without a window: minimum to maximum -----------------------------------------------


def test_deep_values_are_stretched_from_minimum_to_maximum():
    # (x - 100) / 400 * 255: 100 -> 0, 200 -> 63.75, 300 -> 127.5, 500 -> 255.
    assert read([[100, 200, 300, 500]]) == [[0, 64, 128, 255]]


def test_monochrome1_is_inverted():
    # 1 - x before rounding: 0, 191.25, 127.5, 255 from the right.
    grey = read([[100, 200, 300, 500]], PhotometricInterpretation="MONOCHROME1")
    assert grey == [[255, 191, 128, 0]]


def test_values_of_eight_bits_stay_as_they_are():
    assert read([[3, 100], [200, 250]], bits=8) == [[3, 100], [200, 250]]
    inverted = read([[3, 250]], bits=8, PhotometricInterpretation="MONOCHROME1")
    assert inverted == [[252, 5]]
    # Signed: -128 is black.
    assert read([[-128, -1, 127]], bits=8) == [[0, 127, 255]]


def test_signed_and_sixteen_bits():
    # (x + 1000) / 4000 * 255
    assert read([[-1000, 0, 1000, 3000]], bits=16) == [[0, 64, 128, 255]]
    assert read([[0, 13107, 65535]], bits=16) == [[0, 51, 255]]


def test_bits_above_the_stored_ones_are_no_part_of_the_value():
    # Once kept for overlays: 0xf000 above 12 bits.
    assert read([[0xF000, 0x0800, 0xF800, 0x0FFF]]) == [[0, 128, 128, 255]]


def test_big_endian():
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
def test_padding_does_not_count_for_minimum_and_maximum(padding):
    value = padding["PixelPaddingValue"]
    grey = read([[value, 100, 200, 300, 500]], **padding)
    assert grey == [[0 if value < 100 else 255, 0, 64, 128, 255]]


def test_nothing_but_padding_and_nothing_but_one_value():
    assert read([[7, 7]], PixelPaddingValue=7) == [[0, 0]]
    assert read([[7, 7]], bits=16) == [[0, 0]]


# Modality and VOI -------------------------------------------------------------------


def test_a_falling_rescale_inverts():
    grey = read([[100, 200, 300, 500]], RescaleSlope="-2", RescaleIntercept="7")
    assert grey == [[255, 191, 128, 0]]


def test_a_window_is_in_rescaled_values():
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


def test_a_linear_window_is_half_a_step_shorter():
    # C.11.2.1.2: centre 2048, width 4096 is 0..4095 to 0..255, so 16 -> 0.996.
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    assert read([[0, 16, 2048, 4095]], **window) == [[0, 1, 128, 255]]
    # Width 1: up to 99.5 black, above it white.
    step = {"WindowCenter": "100", "WindowWidth": "1"}
    assert read([[98, 99, 100, 101]], **step) == [[0, 0, 255, 255]]


def test_the_first_of_several_windows():
    grey = read(RAMP, WindowCenter=["2048", "9"], WindowWidth=["4096", "3"])
    assert grey == read(RAMP, WindowCenter="2048", WindowWidth="4096")


def test_a_sigmoid_window():
    # 1 / (1 + exp(-4 (x - 2000) / 2000)): exp(4) = 54.6, 255 / 55.6 = 4.6, 250.4.
    grey = read(
        [[0, 1000, 2000, 3000, 4000]],
        WindowCenter="2000",
        WindowWidth="2000",
        VOILUTFunction="SIGMOID",
    )
    assert grey == [[5, 30, 128, 225, 250]]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicom(function):
    pixels = np.random.default_rng(0).integers(-2048, 2048, (40, 30))
    dataset = make_dataset(
        pixels, WindowCenter="-100.5", WindowWidth="1500", VOILUTFunction=function
    )
    # Its output is -2048..2047, the range of 12 signed bits.
    expected = (apply_voi_lut(pixels, dataset) + 2048) / 4095 * 255
    assert np.abs(read_dicom(to_bytes(dataset)) - expected).max() <= 0.51


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": "2048", "WindowWidth": "0"},
        {"WindowCenter": "2048"},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": "9000", "WindowWidth": "100"},  # every pixel below
    ],
)
def test_a_window_that_shows_nothing_is_none(window):
    assert read([[100, 200, 300, 500]], **window) == [[0, 64, 128, 255]]


def test_a_voi_lut_goes_before_a_window():
    # First entry for 100 and below, last for 103 and above, of 10 bits: x / 1023 * 255.
    grey = read(
        [[0, 100, 101, 102, 103, 4000]],
        VOILUTSequence=lut(100, 10, [0, 511, 1000, 1023]),
        WindowCenter="2048",
        WindowWidth="4096",
    )
    assert grey == [[0, 0, 127, 249, 255, 255]]


def test_a_modality_lut_goes_before_a_voi_lut():
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
def test_brightness_is_monotone(kind, elements):
    values = np.arange(65536).reshape(256, 256)
    dataset = make_dataset(values, 16, PhotometricInterpretation=kind, **elements)
    steps = np.diff(read_dicom(to_bytes(dataset)).ravel().astype(int))
    assert (steps * (1 if kind == "MONOCHROME2" else -1) >= 0).all()
    assert steps.any()


# Colour -----------------------------------------------------------------------------


def test_colour_becomes_luma():
    # 0.299, 0.587 and 0.114 times 255; grey stays.
    pixels = [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]]
    assert read(pixels, 8, PhotometricInterpretation="RGB", PlanarConfiguration=0) == [
        [76, 150, 29, 9]
    ]
    # Y of YBR_FULL is the luma itself.
    ybr = [[[200, 128, 128], [17, 128, 128]]]
    kind = {"PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": 0}
    assert read(ybr, 8, **kind) == [[200, 17]]


def test_a_palette_is_looked_up():
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        table = np.array([0, 10, 100, 255], "<u2") * 257
        elements[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    assert read([[3, 2], [1, 0]], 8, **elements) == [[255, 100], [10, 0]]


# Compression ------------------------------------------------------------------------


def radiograph(name, modality="CR"):
    dataset = dcmread(get_testdata_file(name, download=False))
    dataset.Modality = modality
    if "DataSetTrailingPadding" in dataset:
        del dataset.DataSetTrailingPadding
    return dataset


@pytest.mark.parametrize(
    "name", ["MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"]
)
def test_lossless_files_equal_the_uncompressed_one(name):
    plain = radiograph("MR_small.dcm")
    expected = read_dicom(to_bytes(plain))
    # Its window, 600 +- 800 less half a step, on the 16-bit values in the file.
    values = np.frombuffer(plain.PixelData, "<i2").reshape(64, 64).astype(float)
    by_hand = np.clip((values - 599.5) / 1599 + 0.5, 0, 1) * 255
    assert np.abs(expected - by_hand).max() <= 0.51
    np.testing.assert_array_equal(
        read_dicom(to_bytes(radiograph(f"{name}.dcm"))), expected
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
def test_images_of_opencv_inside(suffix):
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
    difference = read_dicom(to_bytes(dataset)).astype(int) - expected
    assert np.abs(difference).max() <= 1


def test_run_lengths_written_by_hand():
    # Two segments, high bytes and low bytes: 0x0100 0x0101 0x0102 0x0102.
    header = np.array([2, 64, 66, *[0] * 13], "<u4").tobytes()
    frame = header + b"\xfd\x01" + b"\x01\x00\x01\xff\x02\x00"
    dataset = make_dataset([[0, 0, 0, 0]], 12, RLELossless)
    dataset.PixelData = encapsulate([frame])
    assert read_dicom(to_bytes(dataset)).tolist() == [[0, 128, 255, 255]]


# Refusals ---------------------------------------------------------------------------


def refuse(dataset):
    with pytest.raises(ImageError) as caught:
        read_dicom(dataset if isinstance(dataset, bytes) else to_bytes(dataset))
    return str(caught.value)


def test_sizes_come_from_the_header():
    huge = make_dataset(RAMP, Rows=60_000, Columns=50_000)
    sentence = "is too large: 60000x50000 pixels"
    assert refuse(huge) == sentence
    assert "has no pixels" in refuse(make_dataset(RAMP, Rows=0))


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        (
            {"Modality": "MG"},
            "is of modality MG; radiographs are CR, DX, DR, RG, RF, OT, SC",
        ),
        ({"NumberOfFrames": 12}, "has 12 frames, not one"),
        ({"BitsAllocated": 32}, "has 32 bits a pixel, more than 16"),
        (
            {"PhotometricInterpretation": "CMYK"},
            "has pixels of an unknown kind: CMYK",
        ),
        ({"Rows": 3}, "is damaged: its pixels cannot be decoded"),
        ({"BitsStored": 0}, "is damaged: its pixels cannot be decoded"),
    ],
)
def test_reasons(elements, reason):
    assert refuse(make_dataset(RAMP, **elements)) == reason


def test_a_modality_may_be_missing():
    dataset = make_dataset(RAMP)
    del dataset.Modality
    assert read_dicom(to_bytes(dataset)).shape == (2, 3)


def test_without_pixels():
    dataset = make_dataset(RAMP)
    del dataset.PixelData
    sentence = "is a DICOM file without pixels"
    assert refuse(dataset) == f"{sentence}, or an incomplete one"
    report = get_testdata_file("reportsi.dcm", download=False)
    assert convert_image(report, None) == sentence


def test_compressions_that_cannot_be_read():
    video = make_dataset(RAMP, 12, MPEG2MPML)
    video.PixelData = encapsulate([b"\0" * 100])
    sentence = "is compressed in a way that cannot be read: "
    assert refuse(video) == f"{sentence}MPEG2 Main Profile / Main Level"
    extended = radiograph("JPGExtended.dcm")  # 12 bits
    assert refuse(extended) == f"{sentence}JPEG Extended (Process 2 and 4)"


@pytest.mark.parametrize(
    "name",
    [
        "MR_small",
        "MR_small_RLE",
        "MR_small_jp2klossless",
        "MR_small_jpeg_ls_lossless",
        "SC_rgb_jpeg_gdcm",
        "SC_rgb_jpeg_dcmtk",
    ],
)
@pytest.mark.parametrize("keep", [0.1, 0.3, 0.6, 0.9, 0.99])
def test_truncated_wherever(name, keep, capfd):
    dataset = radiograph(f"{name}.dcm")
    data = to_bytes(dataset)
    assert refuse(data[: int(len(data) * keep)])
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        # The file is whole, the image inside is not.
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([frame[: int(len(frame) * keep)]])
        assert refuse(dataset) == "is damaged: its pixels cannot be decoded"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["MR_small", "MR_small_RLE", "SC_rgb_jpeg_dcmtk"])
def test_damage_anywhere_is_a_reason_or_an_image(name):
    data = to_bytes(radiograph(f"{name}.dcm"))
    random = np.random.default_rng(0)
    for position in random.integers(132, len(data), 100):
        damaged = bytearray(data)
        damaged[position] = random.integers(256)
        try:
            image = read_dicom(bytes(damaged))
        except ImageError:
            continue
        assert image.dtype == np.uint8 and image.ndim == 2


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_gdcm", "MR_small_jpeg_ls_lossless"])
def test_a_jpeg_that_is_not_what_its_dicom_header_says(name):
    # GDCM ends the process for some of these.
    for element in ("Rows", "Columns"):
        dataset = radiograph(f"{name}.dcm")
        setattr(dataset, element, dataset[element].value + 1)
        assert "not as many as its header says" in refuse(dataset)
    dataset = radiograph("MR_small_jpeg_ls_lossless.dcm")
    # 16 bits to 193, in the frame header.
    dataset.PixelData = dataset.PixelData.replace(
        b"\xff\xf7\0\x0b\x10", b"\xff\xf7\0\x0b\xc1"
    )
    assert "more bits than its header says" in refuse(dataset)


def test_warnings_of_pydicom_are_kept_back(caplog, capfd, recwarn):
    dataset = make_dataset(RAMP)
    dataset.PixelData += b"\0" * 20  # pydicom warns of excess padding
    with caplog.at_level(logging.WARNING):
        assert read_dicom(to_bytes(dataset)).shape == (2, 3)
    assert not caplog.records and not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_pydicom_is_imported_for_dicom_only():
    code = "import sys, keras_mscam.data.images; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
