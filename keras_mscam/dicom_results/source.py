"""The DICOM file that was predicted: what its results must say of it."""

import io
import re
import uuid

from highdicom.base import SOPClass
from pydicom import DataElement, Dataset, dcmread
from pydicom import uid as uids
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.errors import InvalidDicomError

from keras_mscam.errors import UserError
from keras_mscam.images.dicom.header import is_given, read_numbers, read_word
from keras_mscam.images.reader import find_format

#: Storage classes of radiographs and of pictures of them.
_SOP_CLASSES = (
    uids.ComputedRadiographyImageStorage,
    uids.DigitalXRayImageStorageForPresentation,
    uids.DigitalXRayImageStorageForProcessing,
    uids.XRayRadiofluoroscopicImageStorage,
    uids.SecondaryCaptureImageStorage,
    uids.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uids.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uids.MultiFrameTrueColorSecondaryCaptureImageStorage,
)
_IDENTIFIERS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"
)  # fmt: skip
#: What every report must have (type 2), if empty.
_REQUIRED = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
    "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
#: Types of text, which are copied without being decoded.
_TEXTS = ("LO", "SH", "LT", "ST", "UC", "UT")
#: Towards left, right, anterior, posterior, head or foot; diagonals have several.
_DIRECTION = re.compile("[LRAPHF]{1,3}")
_NAMESPACE = uuid.UUID("8d0a1f0e-5f57-5a2c-9d0b-3c2f6b0f6f3a")


def read_source(data: bytes) -> Dataset:
    """Read all but the pixels of a DICOM radiograph, and check that it can be cited.

    Raises:
        UserError: it is no DICOM file, damaged, no radiograph, or without identifiers.
    """
    try:
        bare = find_format(data) == "dicom"  # without a preamble, if need be
        source = dcmread(io.BytesIO(data), stop_before_pixels=True, force=bare)
        identifiers = {name: source.get(name) for name in _IDENTIFIERS}
    except InvalidDicomError:
        raise UserError(
            "Results as DICOM need a DICOM file to refer to, and this image is none."
        ) from None
    except Exception:  # of any kind; the message may quote the file
        raise UserError("The DICOM file is damaged: it can't be read.") from None
    for name, value in identifiers.items():
        if not isinstance(value, str) or not re.fullmatch(r"[0-9.]{1,64}", value):
            raise UserError(
                f"The DICOM file has no valid {name}, so no results can refer to it."
            )
    sop_class = uids.UID(str(source.SOPClassUID))
    if sop_class not in _SOP_CLASSES:
        raise UserError(
            f"The DICOM file is of SOP class {sop_class.name}, and results refer to "
            "radiographs and secondary captures only."
        )
    _keep_bytes(source)
    return source


def _keep_bytes(source: Dataset) -> None:
    """Keep texts from being decoded.

    Where the character set isn't that of the bytes, decoding and encoding changes them.
    """
    for tag in list(source.keys()):
        raw = source.get_item(tag)
        if raw.is_raw and dictionary_has_tag(tag):
            kind = raw.VR or dictionary_VR(tag)
            if kind in _TEXTS:
                source[tag] = DataElement(tag, kind, raw.value, already_converted=True)


def make_evidence(source: Dataset, size: tuple[int, int]) -> Dataset:
    """Return the source without a word about the patient, for highdicom to refer to.

    highdicom refuses or logs names and dates that aren't quite as they should be, and
    hospitals have such; `copy_patient_and_study` takes them over as they are.
    `size` is `(height, width)` in pixels.
    """
    evidence = Dataset()
    for name in _IDENTIFIERS:
        setattr(evidence, name, str(source.get(name)))
    for name in _REQUIRED:
        setattr(evidence, name, "")
    evidence.Rows, evidence.Columns = size
    evidence.Modality = read_word(source, "Modality") or "OT"
    for name in ("PatientOrientation", "ImagerPixelSpacing"):
        if is_valid(source, name):
            setattr(evidence, name, source.get(name))
        else:  # an image library tells both of a radiograph, or none
            evidence.Modality = "OT"
    return evidence


def is_valid(source: Dataset, keyword: str) -> bool:
    """Whether an element of the image can be taken over as it is."""
    try:
        element = source[keyword]
    except Exception:  # of any kind, where it is not there or not of its type
        return False
    if dictionary_VR(keyword) != element.VR:
        return False
    if keyword == "PatientOrientation":
        return element.VM == 2 and all(map(_DIRECTION.fullmatch, element.value))
    if keyword.endswith(("Spacing", "Ratio")):
        count = len(read_numbers(source, keyword))
        return count == 2 if keyword.endswith("Spacing") else count > 0
    return True


def copy_patient_and_study(source: Dataset, document: SOPClass) -> None:
    """Copy what the source says of its patient and study, by the same bytes.

    Texts in items of sequences are decoded and encoded; private elements stay behind.

    Raises:
        UserError: it can't be read.
    """
    try:
        document.copy_patient_and_study_information(source)
        document.remove_private_tags()  # of the items of sequences
        if is_given(source, "SpecificCharacterSet"):
            document.add(source["SpecificCharacterSet"])
    except Exception:  # of any kind; the message may quote the file
        raise UserError(
            "The DICOM file is damaged: what it says of its patient and study can't "
            "be read."
        ) from None


def make_uid(*parts: str) -> str:
    """Return the same identifier for the same parts, under the root for UUIDs.

    Reference: DICOM PS3.5, B.2; RFC 9562, version 5.
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(parts)).int}"
