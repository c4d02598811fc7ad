"""Probabilities and boxes as a Structured Report, by DICOM's Measurement Report.

Reference: DICOM PS3.16, TID 1500, 1501 and 1410.
"""

import highdicom.sr as sr
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes

from keras_mscam import __version__
from keras_mscam.dicom_results import codes as ours
from keras_mscam.dicom_results.codes import code_pathology, to_ascii
from keras_mscam.dicom_results.source import (
    copy_patient_and_study,
    make_evidence,
    make_uid,
)
from keras_mscam.inference.find_boxes import Box
from keras_mscam.inference.prediction import Prediction

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
    """Build the report of one X-ray.

    Each pathology is a measurement group with its probability, which is inferred from
    the part of the image that was looked at, and its result at the threshold. Each box
    is a group with its region, score and, where the spacing is known, its size in
    millimetres.

    Viewers of today (OHIF) need the image library, and a region under every number that
    stands in a group without one; so both are always there.

    Args:
        prediction: of the source.
        source: see `read_source`.
        model: its name.
        identity: text that is the same for the same results; UIDs are made of it.

    Returns:
        A dataset to be saved.
    """
    evidence = make_evidence(source, prediction.original_size)
    algorithm = sr.AlgorithmIdentification(
        "keras_mscam", __version__, parameters=[f"model {to_ascii(model)}"]
    )
    groups = [
        _describe_pathology(prediction, name, evidence, algorithm, identity)
        for name in prediction.pathologies
    ] + [
        _describe_box(prediction, number, box, evidence, algorithm, identity)
        for number, box in enumerate(prediction.boxes, 1)
    ]
    content = sr.MeasurementReport(
        observation_context=_describe_observer(model),
        procedure_reported=codes.LN.XRUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[evidence],
    )
    notices = [NOTICE]
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
        coding_schemes=[ours.describe_scheme()],
    )
    copy_patient_and_study(source, report)
    return report


def _describe_observer(model: str) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=make_uid("device", __version__, model),
        name="keras_mscam",
        manufacturer_name="keras_mscam",
        model_name=to_ascii(model),
    )
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
    )


def _describe_pathology(
    prediction: Prediction,
    name: str,
    evidence: Dataset,
    algorithm: sr.AlgorithmIdentification,
    identity: str,
) -> sr.MeasurementsAndQualitativeEvaluations:
    height, width = prediction.original_size
    field = sr.CoordinatesForMeasurement(
        "POLYLINE",
        outline(prediction.field or (0, 0, width, height), prediction.original_size),
        sr.SourceImageForRegion.from_source_image(evidence),
        purpose=ours.FIELD,
    )
    probability = sr.Measurement(
        ours.PROBABILITY,
        _to_percent(prediction.probabilities[name]),
        codes.UCUM.Percent,
        referenced_coordinates=[field],
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(make_uid(identity, name), to_ascii(name)),
        finding_type=code_pathology(name),
        algorithm_id=algorithm,
        measurements=[probability],
        qualitative_evaluations=_describe_result(prediction, name),
    )


def _describe_result(
    prediction: Prediction, name: str
) -> list[sr.QualitativeEvaluation]:
    if prediction.contract is None:  # a server's answer doesn't tell thresholds
        return []
    column = prediction.contract.pathologies.index(name)
    threshold = prediction.contract.probability_thresholds[column]
    if threshold is None:
        return [sr.QualitativeEvaluation(ours.RESULT, ours.INDETERMINATE)]
    called = name in prediction.positives
    result = sr.QualitativeEvaluation(
        ours.RESULT, ours.POSITIVE if called else ours.NEGATIVE
    )
    number = sr.NumContentItem(
        ours.THRESHOLD, _to_percent(threshold), codes.UCUM.Percent, None,
        "HAS PROPERTIES",
    )  # fmt: skip
    result[0].ContentSequence = sr.ContentSequence([number])
    return [result]


def _describe_box(
    prediction: Prediction,
    number: int,
    box: Box,
    evidence: Dataset,
    algorithm: sr.AlgorithmIdentification,
    identity: str,
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    measurements = [
        sr.Measurement(ours.SCORE, _to_percent(box.score), codes.UCUM.Percent)
    ]
    if prediction.pixel_spacing is not None:
        down, across = prediction.pixel_spacing
        left, top, right, bottom = box.xyxy
        measurements += [
            sr.Measurement(concept, round(size, 2), codes.UCUM.Millimeter)
            for concept, size in (
                (codes.SCT.Width, across * (right - left)),
                (codes.DCM.Height, down * (bottom - top)),
            )
        ]
    region = sr.ImageRegion(
        "POLYLINE",
        outline(box.xyxy, prediction.original_size),
        sr.SourceImageForRegion.from_source_image(evidence),
    )
    label = f"{to_ascii(box.pathology)}, box {number}"
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(make_uid(identity, "box", str(number)), label),
        referenced_region=region,
        finding_type=code_pathology(box.pathology),
        algorithm_id=algorithm,
        measurements=measurements,
    )


def outline(
    xyxy: tuple[float, float, float, float], size: tuple[int, int]
) -> np.ndarray:
    """Return the corners of a box, `(5, 2)` columns and rows, the first one twice.

    Boxes and DICOM agree on where pixels are: (0, 0) is the outer corner of the first
    pixel, and (width, height) that of the last. So nothing is shifted by half a pixel.

    Args:
        xyxy: half-open, in pixels.
        size: `(height, width)` of the image, which no corner may leave.

    Reference: DICOM PS3.3, table C.18.6-1.
    """
    left, top, right, bottom = xyxy
    corners = (left, top), (right, top), (right, bottom), (left, bottom), (left, top)
    return np.clip(np.array(corners, float), 0, size[::-1])


def _to_percent(fraction: float) -> float:
    return round(100 * fraction, 2)
