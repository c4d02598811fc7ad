import struct
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from keras_mscam.images.reader import find_format, read_grey, read_xray

RAMP = [[100, 200, 300], [300, 400, 500]]
# (x - 100) / 400 * 255
GREY = [[0, 64, 128], [128, 191, 255]]


def strip(data):
    """Cut off the preamble and the file's meta information."""
    length = struct.unpack_from("<I", data, 140)[0]
    return data[144 + length :]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_files_without_a_preamble(syntax, make_dataset, to_bytes):
    whole = to_bytes(make_dataset(RAMP, syntax=syntax))
    for data in (whole, whole[132:], strip(whole)):
        assert find_format(data) == "dicom"
        assert read_grey(data).tolist() == GREY


def test_files_without_a_preamble_that_are_compressed(refuse, make_dataset, to_bytes):
    dataset = make_dataset(RAMP, 8, JPEGBaseline8Bit)
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    assert refuse(strip(to_bytes(dataset))) == (
        "does not say how its pixels are compressed"
    )


@pytest.mark.parametrize("name", ["ExplVR_BigEndNoMeta", "ExplVR_LitEndNoMeta"])
def test_old_files_are_known_for_what_they_are(name, refuse):
    data = Path(get_testdata_file(f"{name}.dcm", download=False)).read_bytes()
    assert refuse(data) == "is a DICOM file without pixels: RT Ion Plan"


@pytest.mark.parametrize(
    "data", [b"", b"\x08", b"\x08\0\x05\0", b"\x08\0text and more text", b"\0" * 300]
)
def test_other_files_are_not_taken_for_dicom(data):
    assert find_format(data) is None


def test_a_frame_has_the_size_and_nothing_that_the_file_does_not_say(read_frame):
    frame = read_frame(4, 6)
    assert frame.size == (4, 6)
    assert (frame.pixel_spacing, frame.spacing_plane, frame.field) == (None,) * 3
    assert frame.warnings == ()


def test_millimetres_are_down_and_across(read_frame):
    frame = read_frame(ImagerPixelSpacing=["0.2", "0.1"])
    assert frame.pixel_spacing == (0.2, 0.1)
    assert frame.spacing_plane == "detector"


def test_warnings_name_no_patient(read_frame):
    patient = {"PatientName": "Secret^Name", "PatientID": "4711", "PatientAge": "099Y"}
    said = " ".join(
        read_frame(
            **patient,
            ViewPosition="LL",
            BodyPartExamined="SECRET",
            PixelAspectRatio=["2", "1"],
            PresentationIntentType="FOR PROCESSING",
            PresentationLUTShape="INVERSE",
            LossyImageCompression="01",
            BurnedInAnnotation="YES",
            CollimatorShape="RECTANGULAR",
        ).warnings
    )
    assert not any(word in said for word in ("Secret", "SECRET", "4711", "99"))
    expected = "lateral another square collimation processing contradicts loss text"
    assert all(word in said for word in expected.split())


def test_elements_of_nonsense_are_ignored(read_frame):
    frame = read_frame(
        ViewPosition=["", "?"],
        PatientOrientation="Q",
        PixelAspectRatio=["0", "0"],
        ImagerPixelSpacing=["-1", "2"],
        ShutterShape="",
        BurnedInAnnotation="MAYBE",
    )
    assert (frame.pixel_spacing, frame.field, frame.warnings) == (None, None, ())


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_png_and_a_dicom_file_made_from_it_by_pydicom(
    photometric, shared, make_dataset, to_bytes
):
    path = sorted((shared / "chestxray14-sample/images").glob("*.png"))[0]
    grey = read_grey(path)
    stored = 255 - grey if photometric == "MONOCHROME1" else grey
    data = to_bytes(make_dataset(stored, 8, PhotometricInterpretation=photometric))
    np.testing.assert_array_equal(read_xray(data).pixels, read_xray(path).pixels)
    # In 12 bits, with the window of all of them: 16 x + 8 is in the middle of x.
    deep = stored.astype("u2") * 16 + 8
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    kind = {"PhotometricInterpretation": photometric}
    data = to_bytes(make_dataset(deep, 12, **window, **kind))
    difference = read_xray(data).pixels.astype(int) - grey
    assert np.abs(difference).max() <= 1


def test_a_png_and_a_dicom_file_made_from_it_by_dcmtk(shared, tmp_path, dcmtk):
    path = sorted((shared / "chestxray14-sample/images").glob("*.png"))[0]
    bitmap, made = tmp_path / "chest.bmp", tmp_path / "chest.dcm"
    cv2.imwrite(str(bitmap), read_grey(path))
    subprocess.run([dcmtk("img2dcm"), "-i", "BMP", bitmap, made], check=True)
    np.testing.assert_array_equal(read_xray(made).pixels, read_xray(path).pixels)
