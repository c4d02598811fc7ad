import copy
import logging
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGBaseline8Bit

from keras_mscam.images.dicom.read import read_dicom
from keras_mscam.images.xray import ImageError

#: Markers of a frame header: baseline, progressive.
FRAME = (b"\xff\xc0", b"\xff\xc2")
RAMP = [[0, 1000, 2000], [3000, 4000, 4095]]


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
def test_truncated_wherever(name, keep, capfd, refuse, to_bytes, radiograph):
    dataset = radiograph(f"{name}.dcm")
    data = to_bytes(dataset)
    assert refuse(data[: int(len(data) * keep)])
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        # The file is whole, the image inside is not.
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([frame[: int(len(frame) * keep)]])
        assert refuse(dataset).startswith("is damaged: ")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("keep", ["frame header", "scan header", 0.3, 0.6, 0.9, 0.99])
def test_a_jpeg_that_was_cut_and_closed(
    keep, colour, progressive, refuse, make_dataset
):
    # libjpeg fills up with grey, and Pillow takes that for an image.
    noise = np.random.default_rng(0).integers(0, 256, (64, 90, 3), np.uint8)
    pixels = cv2.GaussianBlur(noise if colour else noise[..., 0], (0, 0), 3)
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1]
    data = data.tobytes()
    if isinstance(keep, str):
        start = data.find(b"\xff\xda" if keep == "scan header" else FRAME[progressive])
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
    else:
        end = int(len(data) * keep)
    elements = {
        "PhotometricInterpretation": "YBR_FULL_422" if colour else "MONOCHROME2"
    }
    dataset = make_dataset(pixels, 8, JPEGBaseline8Bit, **elements)
    dataset.PixelData = encapsulate([data[:end] + b"\xff\xd9"])
    assert refuse(dataset).startswith("is damaged: ")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", range(30, 36))
def test_a_jpeg_that_lacks_its_end_marker(width, channels, make_dataset, refuse):
    # Pillow reads some of these in colour and others not; dcmtk none.
    noise = np.random.default_rng(0).integers(0, 256, (24, width, channels), np.uint8)
    pixels = noise if channels == 3 else noise[..., 0]
    kind = "YBR_FULL_422" if channels == 3 else "MONOCHROME2"
    dataset = make_dataset(pixels, 8, JPEGBaseline8Bit, PhotometricInterpretation=kind)
    dataset.PixelData = encapsulate([cv2.imencode(".jpg", pixels)[1].tobytes()[:-2]])
    assert refuse(dataset) == "is damaged: the end of its JPEG data is missing"


def test_a_file_that_ends_inside_of_compressed_pixels(refuse, to_bytes, radiograph):
    data = to_bytes(radiograph("MR_small_RLE.dcm"))
    assert refuse(data[:-200]) == "is damaged: its DICOM data ends too early"


@pytest.mark.parametrize("name", ["MR_small", "MR_small_RLE", "SC_rgb_jpeg_dcmtk"])
def test_damage_anywhere_is_a_reason_or_an_image(name, to_bytes, radiograph):
    data = to_bytes(radiograph(f"{name}.dcm"))
    random = np.random.default_rng(0)
    for position in random.integers(132, len(data), 100):
        damaged = bytearray(data)
        damaged[position] = random.integers(256)
        try:
            image = read_dicom(bytes(damaged)).pixels
        except ImageError:
            continue
        assert image.dtype == np.uint8 and image.ndim == 2


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_gdcm", "MR_small_jpeg_ls_lossless"])
def test_a_jpeg_that_is_not_what_its_dicom_header_says(name, refuse, radiograph):
    # Some decoders end the process for some of these.
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


#: Of what is read from a header; and what may be found there, of any type.
KEYWORDS = (
    "Rows", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "PixelData",
    "Modality", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "PresentationLUTShape", "PixelSpacing", "ImagerPixelSpacing",
    "PixelAspectRatio", "ShutterShape", "CenterOfCircularShutter",
    "RadiusOfCircularShutter", "VerticesOfThePolygonalShutter", "ViewPosition",
    "ViewCodeSequence", "PatientOrientation", "BodyPartExamined", "VOILUTSequence",
    "ModalityLUTSequence", "SpecificCharacterSet",
)  # fmt: skip
VALUES = (
    b"", b"\0\0", b"\xff\xff", b"0 ", b"-1", b"12.5", b"1e400 ", b"nan ", b"5\\5 ",
    b"MONOCHROME1 ", b"PALETTE COLOR ", b"RGB ", b"CIRCULAR\\POLYGONAL ",
    b"\1\0\2\0\3\0", b"^=\\^~\x1b$B", b"x" * 300, b"\0\0\0\0\x84\xd7\x97\x41",
)  # fmt: skip
TYPES = (b"US", b"SS", b"DS", b"IS", b"CS", b"UI", b"FD", b"UL", b"PN", b"DA", b"ZZ")


def write_element(keyword, kind, value):
    tag = tag_for_keyword(keyword)
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if kind in (b"SQ", b"OB", b"OW", b"UN"):
        return start + kind + struct.pack("<HI", 0, len(value)) + value
    return start + kind + struct.pack("<H", len(value)) + value


def test_elements_of_any_type_and_value_are_a_reason_or_an_image(
    make_dataset, to_bytes
):
    random = np.random.default_rng(0)
    whole = make_dataset(RAMP, WindowCenter="2000", WindowWidth="900")
    for _ in range(1000):
        keyword = random.choice(KEYWORDS)
        right = dictionary_VR(keyword).split()[0].encode()
        kind = right if random.random() < 0.5 else TYPES[random.integers(len(TYPES))]
        wrong = write_element(keyword, kind, VALUES[random.integers(len(VALUES))])
        dataset = copy.deepcopy(whole)
        dataset.pop(keyword, None)
        data = to_bytes(dataset)
        start = 144 + int.from_bytes(data[140:144], "little")  # behind what is meta
        try:
            xray = read_dicom(data[:start] + wrong + data[start:])
        except ImageError as error:
            assert "\n" not in str(error)
            continue
        assert xray.pixels.shape == xray.frame.size
        assert xray.pixels.dtype == np.uint8
        left, top, right, bottom = xray.frame.corners
        assert 0 <= left < right <= xray.frame.size[1]
        assert 0 <= top < bottom <= xray.frame.size[0]


def test_warnings_of_pydicom_are_kept_back(
    caplog, capfd, recwarn, make_dataset, to_bytes
):
    dataset = make_dataset(RAMP)
    dataset.PixelData += b"\0" * 20  # pydicom warns of excess padding
    with caplog.at_level(logging.WARNING):
        assert read_dicom(to_bytes(dataset)).pixels.shape == (2, 3)
    assert not caplog.records and not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_pydicom_is_imported_for_dicom_only():
    code = "import sys, keras_mscam.images.xray; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
