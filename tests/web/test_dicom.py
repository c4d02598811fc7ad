"""DICOM files as the page reads them against `keras_mscam.images.dicom`."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from keras_mscam.images.dicom.read import read_dicom
from keras_mscam.images.xray import ImageError

RNG = np.random.default_rng(5)
DEEP = RNG.integers(0, 4096, (20, 31))
SHALLOW = RNG.integers(0, 256, (21, 30))
COLOUR = RNG.integers(0, 256, (10, 14, 3))


def make_lut(first, bits, values):
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = [int(value) for value in values]
    item["LUTData"].VR = "US"
    item.LUTExplanation = "x"
    return [item]


CASES = {
    "12 bits, stretched": (DEEP, 12, {}),
    "constant": (np.full((4, 5), 7), 12, {}),
    "8 bits": (SHALLOW, 8, {}),
    "7 of 8 bits": (SHALLOW // 2, 7, {}),
    "inverted": (DEEP, 12, {"PhotometricInterpretation": "MONOCHROME1"}),
    "shape says inverted": (DEEP, 12, {"PresentationLUTShape": "INVERSE"}),
    "window": (DEEP, 12, {"WindowCenter": "2000", "WindowWidth": "1500"}),
    "of several windows the first": (
        DEEP, 12, {"WindowCenter": ["900", "3"], "WindowWidth": ["700.5", "9"]},
    ),
    "a window of width 1": (DEEP, 12, {"WindowCenter": "2000", "WindowWidth": "1"}),
    "exact window": (
        DEEP, 12,
        {"WindowCenter": "5", "WindowWidth": "9", "VOILUTFunction": "LINEAR_EXACT"},
    ),
    "sigmoid": (
        DEEP, 12,
        {"WindowCenter": "2000", "WindowWidth": "900", "VOILUTFunction": "SIGMOID"},
    ),
    "a window beside the image": (
        DEEP, 12, {"WindowCenter": "60000", "WindowWidth": "10"},
    ),
    "rescale and window": (
        DEEP - 2000, 12,
        {"RescaleSlope": "-0.25", "RescaleIntercept": "12.5", "WindowCenter": "100",
         "WindowWidth": "600"},
    ),
    "signed": (DEEP - 2048, 12, {}),
    "padding": (DEEP, 12, {"PixelPaddingValue": int(DEEP.max())}),
    "a range of padding": (
        DEEP, 12, {"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 4095},
    ),
    "modality LUT": (
        DEEP, 12,
        {"ModalityLUTSequence": make_lut(100, 16, np.arange(3000)[::-1] * 3)},
    ),
    "VOI LUT": (
        DEEP, 12, {"VOILUTSequence": make_lut(50, 10, np.arange(2000) // 2)},
    ),
    "colour": (COLOUR, 8, {"PhotometricInterpretation": "RGB",
                           "PlanarConfiguration": 0}),
    "implicit": (DEEP, 12, {"syntax": ImplicitVRLittleEndian}),
    "big endian": (DEEP, 12, {"syntax": ExplicitVRBigEndian}),
    "16 bits": (DEEP * 16, 16, {}),
    "spacing": (
        DEEP, 12,
        {"ImagerPixelSpacing": ["0.2", "0.1"], "ViewPosition": "LL",
         "EstimatedRadiographicMagnificationFactor": "1.25"},
    ),
    "collimation": (
        DEEP, 12,
        {"CollimatorShape": "RECTANGULAR", "CollimatorLeftVerticalEdge": "3",
         "CollimatorRightVerticalEdge": "30", "CollimatorUpperHorizontalEdge": "-5",
         "CollimatorLowerHorizontalEdge": "18", "BodyPartExamined": "KNEE"},
    ),
    "collimation that is nonsense": (
        DEEP, 12, {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": "3"},
    ),
    "a circle": (
        DEEP, 12,
        {"ShutterShape": ["RECTANGULAR", "CIRCULAR"], "ShutterLeftVerticalEdge": "2",
         "ShutterRightVerticalEdge": "40", "ShutterUpperHorizontalEdge": "1",
         "ShutterLowerHorizontalEdge": "20", "CenterOfCircularShutter": ["9", "15"],
         "RadiusOfCircularShutter": "8", "PixelSpacing": ["0.2", "0.1"]},
    ),
    "a polygon": (
        DEEP, 12,
        {"CollimatorShape": "POLYGONAL",
         "VerticesOfThePolygonalCollimator": ["2", "9", "18", "3", "15", "29"]},
    ),
    "a polygon that is nonsense": (
        DEEP, 12,
        {"CollimatorShape": "POLYGONAL", "VerticesOfThePolygonalCollimator": "2"},
    ),
    "calibrated": (
        DEEP, 12,
        {"PixelSpacing": ["0.2", "0.2"], "PixelSpacingCalibrationType": "FIDUCIAL"},
    ),
    "a copy of the film's spacing": (
        DEEP, 12,
        {"PixelSpacing": ["0.2", "0.2"], "NominalScannedPixelSpacing": ["0.2", "0.2"]},
    ),
    "no signs, though it is called signed": (DEEP, 12, {"PixelRepresentation": 1}),
    "signs of 12 bits that are called 10": (
        DEEP - 2048, 12, {"BitsStored": 10, "HighBit": 9},
    ),
    "12 bits that are called 10": (DEEP, 12, {"BitsStored": 10, "HighBit": 9}),
    "high bit 14": (DEEP * 8, 12, {"HighBit": 14, "BitsAllocated": 16}),
    "more bits stored than allocated": (DEEP, 12, {"BitsStored": 17}),
    "a VOI LUT of 12 bits that says 16": (
        DEEP, 12, {"VOILUTSequence": make_lut(0, 16, np.arange(4096))},
    ),
    "a VOI LUT of 8 bits": (
        DEEP, 12, {"VOILUTSequence": make_lut(0, 8, np.arange(4096) // 16)},
    ),
    "a VOI LUT that begins below 0": (
        DEEP - 2048, 12, {"VOILUTSequence": make_lut(63488, 12, np.arange(4096))},
    ),
    "a slope of 0": (DEEP, 12, {"RescaleSlope": "0", "RescaleIntercept": "5"}),
    "a window of width 0": (DEEP, 12, {"WindowCenter": "9", "WindowWidth": "0"}),
    "5 bits": (DEEP % 32, 5, {"BitsAllocated": 32}),
    "colours without an order": (COLOUR, 8, {"PhotometricInterpretation": "RGB"}),
    "colours of JPEG 2000": (COLOUR, 8, {"PhotometricInterpretation": "YBR_RCT",
                                         "PlanarConfiguration": 0}),
    "grey of 3 samples": (COLOUR, 8, {"PlanarConfiguration": 0}),
    "all warnings": (
        DEEP, 12,
        {"ViewPosition": "LLD", "PixelAspectRatio": ["2", "1"],
         "PresentationIntentType": "FOR PROCESSING", "LossyImageCompression": "01",
         "PresentationLUTShape": "INVERSE", "BurnedInAnnotation": "YES"},
    ),
    "mirrored": (DEEP, 12, {"PatientOrientation": ["R", "F"], "ViewPosition": "PA"}),
    "not turned": (DEEP, 12, {"PatientOrientation": ["LP", "F"]}),
    "seen from the side": (DEEP, 12, {"PatientOrientation": ["A", "FL"]}),
    "no orientation": (DEEP, 12, {"PatientOrientation": ["", ""]}),
    "a result": (DEEP, 12, {"Manufacturer": "keras_mscam"}),
    "from another body": (DEEP, 12, {"Modality": "MR"}),
    "of several frames": (DEEP, 12, {"NumberOfFrames": 2}),
}  # fmt: skip


def compress(data, tmp_path, program=None):
    """Compress by RLE of pydicom, or by one of DCMTK's programs."""
    if program is None:
        dataset = dcmread(io.BytesIO(data))
        dataset.compress(RLELossless)
        return save(dataset)
    if shutil.which(program) is None:
        pytest.skip(f"needs {program} of DCMTK")
    plain, packed = tmp_path / "plain.dcm", tmp_path / "packed.dcm"
    plain.write_bytes(data)
    subprocess.run([program, plain, packed], check=True)
    return packed.read_bytes()


def save(dataset):
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def read_and_check(run_node, data):
    check(data, run_node([{"kind": "read", "bytes": data}])[0])


def check(data, answer, tolerance=0):
    """Compare what the page read, or refused, with the reader in Python."""
    try:
        expected = read_dicom(data)
    except ImageError as error:
        assert answer["error"] == str(error)
        return
    assert "error" not in answer, answer
    frame = expected.frame
    assert tuple(answer["size"]) == frame.size
    found = np.reshape(answer["pixels"], frame.size)
    np.testing.assert_allclose(found, expected.pixels, rtol=0, atol=tolerance)
    assert answer["plane"] == frame.spacing_plane
    assert answer["field"] == (list(frame.field) if frame.field else None)
    assert answer["warnings"] == list(frame.warnings)
    if frame.pixel_spacing is None:
        assert answer["spacing"] is None
    else:
        assert answer["spacing"] == pytest.approx(frame.pixel_spacing)


def test_files_are_read_as_in_python(run_node, dicom):
    files = [
        dicom(pixels, bits, **elements) for pixels, bits, elements in CASES.values()
    ]
    answers = run_node([{"kind": "read", "bytes": data} for data in files])
    for name, data, answer in zip(CASES, files, answers, strict=True):
        try:
            check(data, answer)
        except AssertionError as error:
            raise AssertionError(name) from error


@pytest.mark.parametrize("program", [None, "dcmcjpeg"])
def test_compressed_files_are_read_as_in_python(program, run_node, dicom, tmp_path):
    # dcmcjpeg without options: lossless JPEG, selection value 1.
    files = [
        compress(dicom(pixels, bits), tmp_path, program)
        for pixels, bits in ((DEEP, 12), (SHALLOW, 8), (DEEP * 16, 16))
    ]
    if program is None:
        elements = {"PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        files.append(compress(dicom(COLOUR, 8, **elements), tmp_path))
    answers = run_node([{"kind": "read", "bytes": data} for data in files])
    for data, answer in zip(files, answers, strict=True):
        check(data, answer)


def strip(data):
    """Cut off the preamble and the file's meta information."""
    return data[144 + int.from_bytes(data[140:144], "little") :]


#: Meta information of a version alone: an element of 12 + 2 bytes.
NO_SYNTAX = b"\2\0\1\0OB\0\0\2\0\0\0\0\1"


def test_files_without_a_preamble_are_read_as_in_python(run_node, dicom):
    syntaxes = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
    whole = [dicom(DEEP, 12, syntax=syntax) for syntax in syntaxes]
    files = [
        cut
        for data in whole
        for cut in (
            data[132:], strip(data), data[:132] + strip(data),
            data[:132] + NO_SYNTAX + strip(data), NO_SYNTAX + strip(data),
        )
    ]  # fmt: skip
    answers = run_node([{"kind": "read", "bytes": data} for data in files])
    for data, answer in zip(files, answers, strict=True):
        check(data, answer)


@pytest.mark.parametrize(
    "name",
    ["rgb_small_odd_big_endian", "ybr_full_422_uncompressed"],
)
def test_colours_of_other_software_are_read_as_in_python(name, run_node):
    data = Path(get_testdata_file(f"SC_{name}.dcm", download=False)).read_bytes()
    read_and_check(run_node, data)


@pytest.mark.parametrize(
    "keyword",
    ["Rows", "BitsAllocated", "BitsStored", "PixelRepresentation", "HighBit",
     "SamplesPerPixel", "PhotometricInterpretation", "PixelData"],
)  # fmt: skip
def test_headers_that_lack_something_are_read_or_refused_as_in_python(
    keyword, run_node, dicom
):
    dataset = dcmread(io.BytesIO(dicom(DEEP, 12)))
    delattr(dataset, keyword)
    read_and_check(run_node, save(dataset))


def test_a_lossless_jpeg_may_end_in_one_grey_value(run_node, dicom, tmp_path):
    """There a pixel takes a bit, and the end marker is soon behind it."""
    images = RNG.integers(0, 4096, (12, 40, 50))
    for number, image in enumerate(images):
        image[20 + number :, 10 + number :] = 7
    files = [compress(dicom(image, 12), tmp_path, "dcmcjpeg") for image in images]
    answers = run_node([{"kind": "read", "bytes": data} for data in files])
    for data, answer in zip(files, answers, strict=True):
        check(data, answer)


@pytest.mark.parametrize("signed", [0, 1])
def test_padding_has_the_sign_of_the_pixels(signed, run_node, dicom):
    # 65000 of 16 bits without a sign is -536 with one.
    pixels = np.where(DEEP < 9, 65000 - 65536 * signed, DEEP)
    dataset = dcmread(io.BytesIO(dicom(pixels, 16)))
    dataset.add_new("PixelPaddingValue", "SS", -536)
    if signed:
        dataset.add_new("PixelPaddingValue", "US", 65000)
    data = save(dataset)
    # The others are stretched from their minimum to their maximum.
    assert read_dicom(data).pixels[DEEP.max() == DEEP].min() == 255
    read_and_check(run_node, data)


@pytest.mark.parametrize("ending", [b"", b"\xff\xd9"])
def test_a_lossless_jpeg_that_was_cut_is_refused_as_in_python(
    ending, run_node, dicom, tmp_path
):
    smooth = np.add.outer(np.arange(200), np.arange(150)) * 4
    whole = dcmread(io.BytesIO(compress(dicom(smooth, 12), tmp_path, "dcmcjpeg")))
    jpeg = next(generate_frames(whole.PixelData, number_of_frames=1))
    whole.PixelData = encapsulate([jpeg[: len(jpeg) // 2] + ending])
    data = save(whole)
    with pytest.raises(ImageError, match="data is missing"):
        read_dicom(data)
    read_and_check(run_node, data)


def test_the_list_of_a_disc_is_called_so(run_node):
    data = Path(get_testdata_file("DICOMDIR-empty.dcm", download=False)).read_bytes()
    read_and_check(run_node, data)


def test_what_the_page_can_not_read_is_a_sentence(run_node, dicom, tmp_path):
    whole = dicom(DEEP, 12)
    rle = compress(whole, tmp_path)
    elements = {"PixelData": encapsulate([b"\xff\x4f"])}
    jpeg_2000 = dicom(DEEP, 12, JPEG2000Lossless, **elements)
    files = [
        b"", b"GIF89a", whole[:400], whole[:-200], rle[:-300],
        jpeg_2000, whole[:132] + b"\xff" * 99,
        dicom(DEEP, 12, PhotometricInterpretation="PALETTE COLOR"),
    ]  # fmt: skip
    answers = run_node([{"kind": "read", "bytes": data} for data in files])
    reasons = [answer["error"] for answer in answers]
    assert reasons[:2] == ["is empty", "is not a PNG, JPEG or DICOM image"]
    assert all(reason.startswith("is ") for reason in reasons[:-1]), reasons
    assert reasons[-1] == "has pixels of a kind unknown here: PALETTE COLOR"
    assert "JPEG 2000" in reasons[5]
