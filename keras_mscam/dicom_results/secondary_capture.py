"""The overlay of one pathology as a Secondary Capture."""

from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from keras_mscam import __version__
from keras_mscam.dicom_results.source import copy_patient_and_study, is_valid, make_uid
from keras_mscam.dicom_results.structured_report import NOTICE, to_ascii
from keras_mscam.images.dicom.frame import find_spacing
from keras_mscam.images.dicom.header import read_word

_SERIES_NUMBER = 9002
#: What stays true of a picture drawn over its source.
_KEPT = (
    "BodyPartExamined", "Laterality", "ImageLaterality", "PatientOrientation",
    "BurnedInAnnotation", "RecognizableVisualFeatures",
    "LossyImageCompression", "LossyImageCompressionRatio",
    "LossyImageCompressionMethod", "NominalScannedPixelSpacing",
    "NominalScannedPixelSpacingType",
)  # fmt: skip
_CALIBRATION = ("PixelSpacingCalibrationType", "PixelSpacingCalibrationDescription")


def build_capture(
    overlay,
    pathology: str,
    number: int,
    pixel_spacing: tuple[float, float] | None,
    source: Dataset,
    model: str,
    identity: str,
) -> SCImage:
    """Build the picture of one pathology, uncompressed: every viewer reads that.

    Args:
        overlay: uint8 RGB `(height, width, 3)`, at the size of the source.
        pathology: its name.
        number: in the series, from 1.
        pixel_spacing: millimetres, `(down, across)`, or `None`.
        source: see `read_source`.
        model: its name.
        identity: text that is the same for the same results; UIDs are made of it.
    """
    image = SCImage(
        overlay,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=str(source.StudyInstanceUID),
        series_instance_uid=make_uid(identity, "overlay series"),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=make_uid(identity, "overlay", pathology),
        instance_number=number,
        manufacturer="keras_mscam",
        manufacturer_model_name=to_ascii(model)[:64],
        software_versions=__version__,
        series_description="keras_mscam overlays, research only",
        pixel_spacing=pixel_spacing,
        patient_orientation=("L", "F"),  # one is required; replaced below
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    image.add_new("PatientOrientation", "CS", None)
    sides = read_word(source, "BodyPartExamined"), read_word(source, "ImageLaterality")
    if not any(sides):
        # Needed where nothing says that a chest is no pair.
        image.add_new("Laterality", "CS", None)
    _copy(source, image, *_KEPT)
    if pixel_spacing is None:
        _copy(source, image, "PixelAspectRatio")
    _keep_calibration(image, source)
    name = to_ascii(pathology).replace("_", " ")
    image.ImageComments = name
    image.DerivationDescription = (
        f"Heat map and boxes of {name} drawn over the source by keras_mscam "
        f"{__version__}, model {to_ascii(model)}. {NOTICE}"
    )[:1024]
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    reference.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(purpose)]
    image.SourceImageSequence = [reference]
    copy_patient_and_study(source, image)
    return image


def _keep_calibration(image: SCImage, source: Dataset) -> None:
    """Say how the spacing was calibrated to the patient, where it was.

    Without a word on that, it is the detector's. Reference: DICOM PS3.3, 10.7.1.3.
    """
    if "PixelSpacing" not in image:
        return
    if is_valid(source, "PixelSpacing") and image.PixelSpacing == source.PixelSpacing:
        if read_word(source, "PixelSpacingCalibrationType"):
            image.PixelSpacingCalibrationDescription = "not described by the source"
            _copy(source, image, *_CALIBRATION)
    elif (spacing := find_spacing(source)) and spacing.plane == "patient":
        image.PixelSpacingCalibrationType = "GEOMETRY"
        image.PixelSpacingCalibrationDescription = "by the estimated magnification"


def _copy(source: Dataset, image: SCImage, *keywords: str) -> None:
    for keyword in keywords:
        if is_valid(source, keyword):
            image.add(source[keyword])
