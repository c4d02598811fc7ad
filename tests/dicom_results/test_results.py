import logging
import subprocess
import sys

import cv2
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_charset_files
from pydicom.filebase import DicomBytesIO
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

import keras_mscam.dicom_results as package
from keras_mscam.dicom_results import write_results
from keras_mscam.errors import UserError
from keras_mscam.inference.find_boxes import Box
from keras_mscam.inference.prediction import Prediction

from .conftest import ELEMENTS, SIZE, make_dataset, make_prediction, to_bytes

PIXELS = np.zeros(SIZE, "uint8")
IDENTITY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate",
    "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
BARE = dict.fromkeys(
    (*IDENTITY, "StudyDescription", "PatientAge", "Manufacturer", "SeriesNumber",
     "InstanceNumber", "PatientOrientation", "ImagerPixelSpacing", "Modality",
     "BurnedInAnnotation", "LossyImageCompression"),
)  # fmt: skip


def write(source, folder, prediction=None, model="phantom-1"):
    data = source if isinstance(source, bytes) else to_bytes(source)
    prediction = prediction or make_prediction()
    return write_results(prediction, data, PIXELS, folder, "x", model)


# The standard, as its validators read it ---------------------------------------------


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"BodyPartExamined": "CHEST"},
        {"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"},
        {"ImagerPixelSpacing": [0.3, 0.3],
         "EstimatedRadiographicMagnificationFactor": 1.25},
        {"ImageLaterality": "U", "SpecificCharacterSet": "ISO_IR 100",
         "PatientName": "M\u00fcller^J\u00f6rg"},
        {"SOPClassUID": ComputedRadiographyImageStorage, "Modality": "CR"},
        {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT"},
        BARE,
    ],
)  # fmt: skip
def test_validators_find_no_error(tmp_path, need, elements):
    check_by_validators(tmp_path, need, make_dataset(**elements), make_prediction())


def test_validators_find_no_error_in_names_of_any_script(tmp_path, need):
    names = ("Nodule/Mass", "\u80ba\u708e" * 40, "<b>&\"x\" \\ 'y'", "Nodule Mass")
    prediction = make_prediction(names=names)
    check_by_validators(tmp_path, need, make_dataset(), prediction)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "x.Nodule_Mass-2.sc.dcm", "x.Nodule_Mass.sc.dcm", "x.sr.dcm",
    ]  # fmt: skip


def check_by_validators(tmp_path, need, source, prediction):
    need("dciodvfy", "dsrdump", "dcmdump")
    paths = write(source, tmp_path, prediction)
    for path in paths:
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr
        # It warns of private schemes (which PS3.16, 8.2, has begin with 99), of a side
        # where the source names no part of the body, and of a source without names.
        expected = "<99KMSCAM>", "<Laterality>", "needed to build DICOMDIR"
        assert [
            line
            for line in told.splitlines()
            if line not in ("ComprehensiveSR", "SCImage")
            and not (line.startswith("Warning") and any(e in line for e in expected))
        ] == []
        subprocess.run(["dcmdump", path], check=True, capture_output=True)
    dump = subprocess.run(
        ["dsrdump", "+Pl", paths[0]],
        check=True,
        capture_output=True,
        encoding="latin-1",
    )
    assert dump.stderr == ""
    # Every number and region is in the tree: probabilities of four, a score and two
    # sizes for each of two boxes.
    assert dump.stdout.count('NUM:(,,"Probability")') == 4
    assert dump.stdout.count('SCOORD:(,,"Image Region")=(POLYLINE') == 2
    assert "4/10,24/10,24/30,4/30,4/10" in dump.stdout


# Patient and study -------------------------------------------------------------------


def test_patient_and_study_are_the_sources(tmp_path):
    for path in write(make_dataset(), tmp_path):
        found = dcmread(path)
        for name in (*IDENTITY, "StudyDescription", "PatientAge"):
            assert str(found[name].value) == ELEMENTS[name]


def test_what_the_source_leaves_out_is_empty_not_invented(tmp_path):
    for path in write(make_dataset(**BARE), tmp_path):
        found = dcmread(path)
        assert [str(found[name].value or "") for name in IDENTITY] == [""] * 9
        assert "PatientAge" not in found


@pytest.mark.parametrize("name", ["chrH31", "chrH32", "chrRuss", "chrX1", "chrX2"])
def test_names_keep_their_characters_byte_for_byte(tmp_path, name):
    named = dcmread(get_charset_files(f"{name}.dcm")[0])
    source = make_dataset(SpecificCharacterSet=named.SpecificCharacterSet)
    source.PatientName = named.PatientName
    for path in write(source, tmp_path):
        found = dcmread(path).PatientName
        assert found.original_string == named.PatientName.original_string
        assert str(found) == str(named.PatientName)


def test_values_that_are_not_quite_dicom_are_kept_as_they_are(tmp_path):
    data = to_bytes(make_dataset(PatientName="x" * 64, PatientSex="O"))
    data = data.replace(b"20240229", b"2024/2/9").replace(b"19660102", b"UNKNOWN ")
    data = data.replace(b"x" * 64, b"M\xfcller^" + b"y" * 57)  # and no character set
    for path in write(data, tmp_path):
        written = path.read_bytes()
        assert b"2024/2/9" in written and b"UNKNOWN" in written
        assert b"M\xfcller^" + b"y" * 57 in written


def test_private_attributes_stay_behind(tmp_path):
    source = make_dataset()
    source.private_block(0x0011, "SOMEONE", create=True).add_new(1, "LO", "secret")
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "chest"
    item.private_block(0x0011, "SOMEONE", create=True).add_new(1, "LO", "secret")
    source.ProcedureCodeSequence = [item]
    for path in write(source, tmp_path):
        assert b"secret" not in path.read_bytes()
        assert dcmread(path).ProcedureCodeSequence[0].CodeMeaning == "chest"


@pytest.mark.parametrize(
    ("character_set", "written"),
    [("ISO_IR 192", b"M\xfcller 1234!"), ("ISO_IR 126", b"A\xffBCDEFGHIJK")],
)
def test_texts_keep_bytes_that_their_character_set_lacks(
    tmp_path, character_set, written
):
    source = make_dataset(SpecificCharacterSet=character_set, PatientID="x" * 12)
    data = to_bytes(source).replace(b"x" * 12, written)
    for path in write(data, tmp_path):
        assert written in path.read_bytes()


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_a_compressed_source_is_like_any_other(tmp_path, syntax):
    plain = write(make_dataset(), tmp_path / "plain")
    source = make_dataset()
    source.compress(syntax, generate_instance_uid=False)
    for path, other in zip(write(source, tmp_path / "rle"), plain, strict=True):
        assert dcmread(path).SOPInstanceUID == dcmread(other).SOPInstanceUID


def test_a_big_endian_source_is_like_any_other(tmp_path):
    source = make_dataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    file = DicomBytesIO()
    source.save_as(file, enforce_file_format=True)
    found = dcmread(write(file.getvalue(), tmp_path)[0])
    assert found.PatientName == "Doe^Jane"
    assert found.file_meta.TransferSyntaxUID.is_little_endian


def test_a_source_without_a_preamble_is_like_any_other(tmp_path):
    whole = to_bytes(make_dataset())
    length = int.from_bytes(whole[140:144], "little")
    expected = identifiers(write(whole, tmp_path))
    for data in (whole[132:], whole[144 + length :]):
        assert identifiers(write(data, tmp_path)) == expected


@pytest.mark.parametrize(
    "elements",
    [
        {"PatientOrientation": ["L", "F", "H"]},
        {"PatientOrientation": ["L", ""]},
        {"PatientOrientation": ["LEFT", "FOOT"]},
        {"SpecificCharacterSet": ""},
        {"ImagerPixelSpacing": None, "PixelAspectRatio": ["2", "1"]},
    ],
)
def test_what_is_wrong_in_the_source_is_not_taken_over(tmp_path, need, elements):
    need("dciodvfy")
    for path in write(make_dataset(**elements), tmp_path):
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr
        assert "Error" not in told


@pytest.mark.parametrize("keyword", ["Modality", "ImageLaterality", "PixelSpacing"])
def test_elements_of_a_wrong_type_are_left_out(tmp_path, keyword):
    # A double of four bytes, which pydicom can't read.
    data = to_bytes(make_dataset(**{keyword: "1234"}))
    type_of = {"Modality": b"CS", "ImageLaterality": b"CS", "PixelSpacing": b"DS"}
    element = type_of[keyword] + b"\4\x001234"
    assert data.count(element) == 1
    for path in write(data.replace(element, b"FD\4\x00wxyz"), tmp_path):
        assert b"wxyz" not in path.read_bytes()


def test_numbers_that_are_none_in_the_source_are_not_taken_over(tmp_path):
    data = to_bytes(
        make_dataset(
            LossyImageCompressionRatio="12.3456", NominalScannedPixelSpacing="6.5432"
        )
    )
    data = data.replace(b"12.3456", b"abcdefg").replace(b"6.5432", b"a,bcde")
    for path in write(data, tmp_path)[1:]:
        found = dcmread(path)
        assert "LossyImageCompressionRatio" not in found
        assert "NominalScannedPixelSpacing" not in found


# Identifiers -------------------------------------------------------------------------


def identifiers(paths):
    return [
        (found.SeriesInstanceUID, found.SOPInstanceUID)
        for found in map(dcmread, paths)
    ]  # fmt: skip


def test_same_results_have_same_identifiers_and_others_have_others(tmp_path):
    first = identifiers(write(make_dataset(), tmp_path))
    assert identifiers(write(make_dataset(), tmp_path)) == first
    probabilities = make_prediction().probabilities
    variants = [
        write(make_dataset(), tmp_path, model="phantom-2"),
        write(make_dataset(SOPInstanceUID="1.2.3"), tmp_path),
        write(make_dataset(), tmp_path, make_prediction(boxes=())),
        write(
            make_dataset(), tmp_path,
            make_prediction(probabilities=probabilities | {"Mass": 0.3}),
        ),
    ]  # fmt: skip
    uids = {uid for pair in first for uid in pair}
    assert len(uids) == 5  # two series, three instances
    for paths in variants:
        assert not uids & {uid for pair in identifiers(paths) for uid in pair}


def test_the_last_digits_of_a_processor_make_no_new_identifiers(tmp_path):
    first = identifiers(write(make_dataset(), tmp_path))
    near = {k: v + 1e-6 for k, v in make_prediction().probabilities.items()}
    paths = write(make_dataset(), tmp_path, make_prediction(probabilities=near))
    assert identifiers(paths) == first


# Refusals ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (cv2.imencode(".png", PIXELS)[1].tobytes(), "this image is none"),
        (b"", "this image is none"),
        (to_bytes(make_dataset())[:150], "damaged|no valid"),
        (make_dataset(StudyInstanceUID=None), "no valid StudyInstanceUID"),
        (make_dataset(StudyInstanceUID=""), "no valid StudyInstanceUID"),
        (make_dataset(SeriesInstanceUID=None), "no valid SeriesInstanceUID"),
        (
            to_bytes(make_dataset(SeriesInstanceUID="1234")).replace(
                b"UI\4\x001234", b"UL\4\x001234"
            ),
            "no valid SeriesInstanceUID",
        ),
        (make_dataset(SOPClassUID=CTImageStorage), "CT Image Storage"),
    ],
)
def test_a_source_that_cannot_be_cited_is_refused(tmp_path, source, reason):
    with pytest.raises(UserError, match=reason):
        write(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(tmp_path, value):
    probabilities = make_prediction().probabilities | {"Mass": value}
    boxes = (Box("Mass", (1.0, 2.0, 3.0, 4.0), value),)
    corners = (Box("Mass", (1.0, value, 3.0, 4.0), 0.5),)
    for wrong, name in (
        ({"probabilities": probabilities}, "the probability of Mass"),
        ({"boxes": boxes}, "box 1 of Mass"),
        ({"boxes": corners}, "box 1 of Mass"),
    ):
        with pytest.raises(UserError, match=f"{name} is {value}"):
            write(make_dataset(), tmp_path / "new", make_prediction(**wrong))
    assert not (tmp_path / "new").exists()


def test_an_image_that_could_not_be_read_has_no_results(tmp_path):
    refused = Prediction({}, error="is empty", original_size=SIZE)
    with pytest.raises(UserError, match="the image is empty"):
        write(make_dataset(), tmp_path / "new", refused)


def test_without_highdicom_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(package.__name__)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UserError, match=r"pip install 'keras_mscam\[dicom\]'"):
        package.write_results  # noqa: B018


def test_files_come_all_together_or_not_at_all(tmp_path, monkeypatch):
    import pydicom

    save = pydicom.Dataset.save_as

    def fail_at_the_second(dataset, path, **kwargs):
        if dataset.Modality != "SR":
            raise OSError(28, "No space left on device")
        save(dataset, path, **kwargs)

    monkeypatch.setattr(pydicom.Dataset, "save_as", fail_at_the_second)
    with pytest.raises(OSError, match="No space"):
        write(make_dataset(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pixels_of_another_image_are_a_defect_of_the_caller(tmp_path):
    with pytest.raises(ValueError, match="shape"):
        write_results(
            make_prediction(), to_bytes(make_dataset()), PIXELS[1:], tmp_path, "x", "m"
        )


# Privacy -----------------------------------------------------------------------------


def test_nothing_of_the_patient_is_printed_or_logged(tmp_path, capfd, caplog):
    secrets = [str(ELEMENTS[name]) for name in IDENTITY if name != "PatientSex"]
    secrets += [ELEMENTS["SOPInstanceUID"], "a^b^c^d^e^f^g", "not a date"]
    odd = to_bytes(make_dataset(PatientName="n" * 13, StudyTime="101112.123"))
    odd = odd.replace(b"n" * 13, b"a^b^c^d^e^f^g").replace(b"101112.123", b"not a date")
    sources = [
        to_bytes(make_dataset()),
        odd,
        to_bytes(make_dataset(StudyInstanceUID="4711")).replace(b"4711", b"Jane"),
        to_bytes(make_dataset(SOPClassUID=CTImageStorage)),
    ]
    told = ""
    with caplog.at_level(logging.DEBUG):
        for source in sources + [sources[0][:n] for n in range(130, 700, 40)]:
            try:
                write(source, tmp_path)
            except UserError as error:
                told += f"{error} {error.__cause__}"
    output = capfd.readouterr()
    told += output.out + output.err + caplog.text
    assert [secret for secret in secrets if len(secret) > 2 and secret in told] == []


def test_loggers_are_as_before(tmp_path):
    logger = logging.getLogger("highdicom")
    logger.setLevel(logging.INFO)
    write(make_dataset(), tmp_path)
    assert logger.level == logging.INFO
    logger.setLevel(logging.NOTSET)
