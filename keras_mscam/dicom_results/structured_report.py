"""Probabilities and boxes as a Structured Report, by DICOM's Measurement Report.

Reference: DICOM PS3.16, TID 1500, 1501 and 1410.
"""

import highdicom.sr as sr
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from keras_mscam import __version__
from keras_mscam.dicom_results.source import (
    copy_patient_and_study,
    make_evidence,
    make_uid,
)
from keras_mscam.inference.find_boxes import Box
from keras_mscam.inference.prediction import Prediction
from keras_mscam.localization.protocol import describe_shown

#: Private coding schemes begin with 99.
SCHEME = "99KMSCAM"
#: Concepts by pathology, DICOM's own first: radiographic appearances (CID 6102), then
#: disorders. What its dictionary (PS3.16, as pydicom carries it) holds is taken from
#: there, but for its entry "Cardiomegaly": code and context (CID 12248) are those of a
#: septal foramen. The other codes of SNOMED CT, which calls each a disorder, are of
#: concepts that the DICOM context groups don't list. ChestX-ray14's "Hernia" are
#: hernias of the diaphragm. No code of pleural thickening could be confirmed, so it has
#: a private one, as every pathology of another data set has.
PATHOLOGY_CODES = {
    "Infiltration": codes.DCM.Infiltrate,
    "Mass": codes.SCT.Mass,
    "Nodule": codes.SCT.Nodule,
    "Pneumothorax": codes.SCT.Pneumothorax,
    "Effusion": codes.SCT.PleuralEffusion,
    "Edema": codes.SCT.PulmonaryEdema,
    "Atelectasis": Code("46621007", "SCT", "Atelectasis"),
    "Cardiomegaly": Code("8186001", "SCT", "Cardiomegaly"),
    "Consolidation": Code("95436008", "SCT", "Lung consolidation"),
    "Emphysema": Code("87433001", "SCT", "Pulmonary emphysema"),
    "Fibrosis": Code("51615001", "SCT", "Pulmonary fibrosis"),
    "Hernia": Code("39839004", "SCT", "Diaphragmatic hernia"),
    "Pneumonia": Code("233604007", "SCT", "Pneumonia"),
}
#: Of a pathology: calibrated, in percent.
PROBABILITY = codes.DCM.Probability
#: From which probability on a pathology is called positive, in percent.
THRESHOLD = codes.DCM.ThresholdValue
#: Of a box: probability of the pathology times the mean heat in it, in percent.
SCORE = Code("score", SCHEME, "Box score")
#: Which side of its threshold a probability is on; no statement on the patient.
RESULT = Code("result", SCHEME, "Result at threshold")
POSITIVE, NEGATIVE = codes.SCT.Positive, codes.SCT.Negative
#: Of a pathology that is never called, as no threshold is better than chance.
INDETERMINATE = codes.SCT.Indeterminate
#: The part of the image that the network saw.
FIELD = Code("field", SCHEME, "Part of the image that was looked at")
NOTICE = (
    "Research software, not a medical device. Computed by a network that learned from "
    "labels of images; not verified by a person."
)
#: Of sizes, by the plane in which the spacing was measured.
PLANES = {
    "patient": "Millimetres are at the patient, by calibration or magnification.",
    "detector": "Millimetres are of the shadow on the detector, which is larger than "
    "the chest by 5 to 20%.",
    "film": "Millimetres are of the shadow on the film that was scanned, which is "
    "larger than the chest by 5 to 20%.",
    None: "The source does not say whether its millimetres are at the patient, or of "
    "the shadow, which is larger by 5 to 20%.",
}
_SERIES_NUMBER = 9001


def build_report(
    prediction: Prediction, source: Dataset, model: str, identity: str
) -> sr.ComprehensiveSR:
    """Build the report of one X-ray, whose source is that of `read_source`.

    Each pathology is a measurement group with its probability, which is inferred from
    the part of the image that was looked at, and its result at the threshold. Each box
    is a group with its region, score and, where the spacing is known, its size in
    millimetres. Viewers of today (OHIF) need the image library, and a region under
    every number that stands in a group without one; so both are always there. UIDs are
    made of `identity`, a text that is the same for the same results.
    """
    evidence = make_evidence(source, prediction.original_size)
    image = sr.SourceImageForRegion.from_source_image(evidence)
    algorithm = sr.AlgorithmIdentification(
        "keras_mscam", __version__, parameters=[f"model {to_ascii(model)}"]
    )
    groups = [
        sr.MeasurementsAndQualitativeEvaluations(
            sr.TrackingIdentifier(make_uid(identity, name), to_ascii(name)),
            finding_type=code_pathology(name),
            algorithm_id=algorithm,
            measurements=[_measure_probability(prediction, name, image)],
            qualitative_evaluations=_describe_result(prediction, name),
        )
        for name in prediction.pathologies
    ] + [
        sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            sr.TrackingIdentifier(
                make_uid(identity, "box", str(number)),
                f"{to_ascii(box.pathology)}, box {number}",
            ),
            referenced_region=sr.ImageRegion(
                "POLYLINE", outline(box.xyxy, prediction.original_size), image
            ),
            finding_type=code_pathology(box.pathology),
            algorithm_id=algorithm,
            measurements=_measure_box(box, prediction.pixel_spacing),
        )
        for number, box in enumerate(prediction.boxes, 1)
    ]
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=make_uid("device", __version__, model),
        name="keras_mscam",
        manufacturer_name="keras_mscam",
        model_name=to_ascii(model),
    )
    observer = sr.ObserverContext(codes.DCM.Device, device)
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.LN.XRUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[evidence],
    )
    notices = [NOTICE]
    if prediction.contract:
        notices.append(describe_shown(prediction.contract))
    if prediction.pixel_spacing:
        notices.append(PLANES[prediction.spacing_plane])
    for sentence in (*notices, *prediction.warnings):
        content[0].ContentSequence.append(
            sr.TextContentItem(codes.DCM.Comment, to_ascii(sentence), "CONTAINS")
        )
    report = sr.ComprehensiveSR(
        evidence=[evidence],
        content=content,
        series_instance_uid=make_uid(identity, "report series"),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=make_uid(identity, "report"),
        instance_number=1,
        manufacturer="keras_mscam",
        manufacturer_model_name=to_ascii(model)[:64],
        software_versions=__version__,
        series_description="keras_mscam findings, research only",
        is_complete=True,
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name="keras_mscam")],
    )
    copy_patient_and_study(source, report)
    return report


def _measure_probability(
    prediction: Prediction, name: str, image: sr.SourceImageForRegion
) -> sr.Measurement:
    field = sr.CoordinatesForMeasurement(
        "POLYLINE",
        outline(prediction.corners, prediction.original_size),
        image,
        purpose=FIELD,
    )
    return sr.Measurement(
        PROBABILITY,
        _to_percent(prediction.probabilities[name]),
        codes.UCUM.Percent,
        referenced_coordinates=[field],
    )


def _describe_result(
    prediction: Prediction, name: str
) -> list[sr.QualitativeEvaluation]:
    if prediction.contract is None:  # a server's answer doesn't tell thresholds
        return []
    threshold = prediction.contract.thresholds[name]
    if threshold is None:
        return [sr.QualitativeEvaluation(RESULT, INDETERMINATE)]
    called = POSITIVE if name in prediction.positives else NEGATIVE
    result = sr.QualitativeEvaluation(RESULT, called)
    number = sr.NumContentItem(
        THRESHOLD, _to_percent(threshold), codes.UCUM.Percent, None,
        "HAS PROPERTIES",
    )  # fmt: skip
    result[0].ContentSequence = sr.ContentSequence([number])
    return [result]


def _measure_box(
    box: Box, pixel_spacing: tuple[float, float] | None
) -> list[sr.Measurement]:
    score = sr.Measurement(SCORE, _to_percent(box.score), codes.UCUM.Percent)
    if pixel_spacing is None:
        return [score]
    down, across = pixel_spacing
    left, top, right, bottom = box.xyxy
    width, height = round(across * (right - left), 2), round(down * (bottom - top), 2)
    return [
        score,
        sr.Measurement(codes.SCT.Width, width, codes.UCUM.Millimeter),
        sr.Measurement(codes.DCM.Height, height, codes.UCUM.Millimeter),
    ]


def outline(
    xyxy: tuple[float, float, float, float], size: tuple[int, int]
) -> np.ndarray:
    """Return the corners of a box, `(5, 2)` columns and rows, the first one twice.

    Boxes and DICOM agree on where pixels are: (0, 0) is the outer corner of the first
    pixel, and (width, height) that of the last. So nothing is shifted by half a pixel.
    No corner may leave the image, of `(height, width)`.

    Reference: DICOM PS3.3, table C.18.6-1.
    """
    left, top, right, bottom = xyxy
    corners = (left, top), (right, top), (right, bottom), (left, bottom), (left, top)
    return np.clip(np.array(corners, float), 0, size[::-1])


def _to_percent(fraction: float) -> float:
    return round(100 * fraction, 2)


def code_pathology(name: str) -> sr.CodedConcept:
    """Return the concept of a pathology; a private one where none is known."""
    known = PATHOLOGY_CODES.get(name)
    if known is not None:
        return sr.CodedConcept(known.value, known.scheme_designator, known.meaning)
    text = to_ascii(name)
    # The meaning ends with 64 letters, the value as late as names differ.
    return sr.CodedConcept(text, SCHEME, text[:64].replace("_", " "))


def to_ascii(text: str) -> str:
    """Spell a text so that every character set of DICOM has it.

    The set is the source's, since names of people must stay as they are, and it may not
    hold what a model is called. A backslash separates values in DICOM.

    Example:
        >>> to_ascii("Erguß")
        'Ergu&#223;'
    """
    text = "".join(c if c.isprintable() else " " for c in text.replace("\\", "/"))
    return text.encode("ascii", "xmlcharrefreplace").decode()
