"""All numbers of a run on a split: the contents of `metrics.json`."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.evaluation.bootstrap import Interval, bootstrap_auroc, bootstrap_ratio
from keras_mscam.evaluation.classification import (
    compute_classification,
    compute_reliability,
    compute_roc_curve,
)
from keras_mscam.evaluation.localize import build_extractor, localize
from keras_mscam.evaluation.operating_points import apply_operating_points
from keras_mscam.evaluation.split_outputs import Predictions
from keras_mscam.inference.run_calibration import RunCalibration, calibrate
from keras_mscam.localization.accuracy import (
    Localization,
    compute_localization,
    count_localizations,
    summarize_counts,
)
from keras_mscam.localization.baselines import localize_at_random, localize_by_mean_box
from keras_mscam.localization.detection import compute_average_precision, compute_froc
from keras_mscam.localization.fusion import Fusion, build_fusion
from keras_mscam.localization.pointing import compute_mean_iou, compute_pointing_game
from keras_mscam.localization.protocol import describe_protocol
from keras_mscam.localization.sizes import SIZES, select_size

#: T(IoU) and T(IoBB) of Wang et al. 2017, Tables 3 and 4.
OVERLAP_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
#: The overlap at which all else is measured, that isn't measured at each of them.
HIT = 0.3
Systems = dict[str, list[Localization]]


def locate_all(
    predictions: Predictions,
    calibration: RunCalibration,
    protocol: LocalizationConfig,
) -> tuple[Systems, Fusion]:
    """Predict boxes from the fused map, from every block alone, and of the baselines.

    Returns:
        Localizations of `attention`, `block{b}`, `mean_box` and `random_map`; and the
        fusion behind the first. Images without the pathology, which FROC and average
        precision need, are looked at for `attention` and `mean_box` alone.
    """
    probabilities = calibrate(
        calibration.calibrations, predictions.logits, predictions.pathologies
    )
    calibrated = list(calibration.calibrations)
    columns = [calibrated.index(name) for name in predictions.pathologies]
    deviations = calibration.deviations[:, columns]
    fusion = build_fusion(protocol.fusion, predictions.relevance_weights, deviations)
    attention = localize(predictions, fusion, protocol, probabilities)
    annotated = [item for item in attention if len(item.truth)]
    systems = {"attention": attention}
    for place, block in enumerate(predictions.blocks):
        if len(predictions.blocks) > 1:
            alone = np.zeros_like(fusion.weights)
            alone[place] = 1
            single = Fusion(alone, deviations[place])
            systems[f"block{block}"] = localize(
                predictions, single, protocol, probabilities, negatives=False
            )
    systems["mean_box"] = _weigh(localize_by_mean_box(attention))
    systems["random_map"] = _weigh(
        localize_at_random(annotated, predictions.image_size, build_extractor(protocol))
    )
    return systems, fusion


def measure(
    predictions: Predictions,
    calibration: RunCalibration,
    protocol: LocalizationConfig,
    systems: Systems,
    fusion: Fusion,
) -> dict:
    """Measure all that stands in `metrics.json`.

    Args:
        predictions: stored ones.
        calibration: of the run.
        protocol: by which the boxes were predicted.
        systems: of `locate_all`.
        fusion: of `locate_all`.

    Returns:
        Plain numbers, strings, lists and dictionaries; `None` for what is undefined,
        with its reason.
    """
    names = predictions.pathologies
    present = {item.pathology for item in systems["attention"] if len(item.truth)}
    boxed = tuple(name for name in names if name in present)
    classification, auroc_mean, curves = _measure_classification(
        predictions, calibration
    )
    return {
        "images": len(predictions.names),
        "patients": len(set(predictions.patients.tolist())),
        "pathologies": list(names),
        "boxed": list(boxed),
        "protocol": {
            **dataclasses.asdict(protocol),
            "cam_thresholds": list(protocol.cam_thresholds),
            "text": describe_protocol(protocol),
        },
        "classification": classification,
        "auroc_mean": auroc_mean,
        "curves": curves,
        "localization": {
            system: measure_system(items, boxed, calibration, protocol.afp_denominator)
            for system, items in systems.items()
        },
        "relevance_weights": _by_pathology(predictions.relevance_weights, names),
        "fusion_weights": _by_pathology(fusion.weights, names),
        "blocks": [f"block{block}" for block in predictions.blocks],
        "notes": _collect_notes(classification, calibration),
    }


def measure_system(
    items: Sequence[Localization],
    boxed: tuple[str, ...],
    calibration: RunCalibration,
    afp_denominator: str,
) -> dict:
    """Measure the localization of one system, by pathology."""
    tables, means = {}, {}
    for overlap in ("iou", "iobb"):
        tables[overlap], means[overlap] = _measure_overlap(
            items, boxed, overlap, afp_denominator
        )
    annotated = [item for item in items if len(item.truth)]
    negatives = len(annotated) < len(items)
    return {
        **tables,
        "mean_accuracy": means,
        "pointing": compute_pointing_game(items, boxed),
        "mean_iou": compute_mean_iou(items, boxed),
        "average_precision": (
            compute_average_precision(items, boxed, HIT) if negatives else {}
        ),
        "froc": compute_froc(items, boxed, HIT) if negatives else {},
        "by_size": {
            size: compute_localization(select_size(annotated, size), boxed, HIT)
            for size in SIZES
        },
        "by_operating_point": _measure_by_operating_point(
            annotated, boxed, calibration
        ),
    }


def _measure_overlap(items, boxed, overlap: str, afp_denominator: str):
    """Return accuracy and AFP by threshold and pathology, and the mean accuracy."""
    counts = count_localizations(items, OVERLAP_THRESHOLDS, overlap)
    tables = summarize_counts(counts, boxed, afp_denominator)
    belongs = counts.pathology[:, None] == np.array(boxed)
    boxes = counts.boxes[:, None] * belongs
    by_threshold, means = {}, {}
    for place, (threshold, table) in enumerate(
        zip(OVERLAP_THRESHOLDS, tables, strict=True)
    ):
        found = counts.found[:, place, None] * belongs
        intervals, mean = _bootstrap(found, boxes, counts.patient)
        by_threshold[str(threshold)] = {
            name: {**table[name], "accuracy": interval}
            for name, interval in zip(boxed, intervals, strict=True)
        }
        means[str(threshold)] = mean
    return by_threshold, means


def _bootstrap(found, boxes, patients) -> tuple[list[dict], dict]:
    """Return the interval of each column, and of their mean."""
    if not boxes.sum():  # a baseline may have nothing to say
        undefined = {"value": None, "low": None, "high": None}
        return [undefined] * boxes.shape[1], undefined
    intervals, mean = bootstrap_ratio(found, boxes, patients)
    return [_ends(interval) for interval in intervals], _ends(mean)


def _measure_classification(predictions, calibration):
    names, labels = predictions.pathologies, predictions.labels
    logits, patients = predictions.logits, predictions.patients
    probabilities = calibrate(calibration.calibrations, logits, names)
    rows = compute_classification(labels, probabilities, names)
    points = apply_operating_points(
        calibration.operating_points, labels, probabilities, names
    )
    # Logits, because far-off probabilities become equal in the sigmoid.
    intervals, mean = bootstrap_auroc(labels, logits, patients)
    for name, interval in zip(names, intervals, strict=True):
        rows[name] |= {"auroc": _ends(interval), "operating_point": points[name]}
    curves = {
        "roc": compute_roc_curve(labels, logits, names),
        "reliability": compute_reliability(labels, probabilities, names),
    }
    defined = [i.value for i in intervals if i.value is not None]
    mean = {**_ends(mean), "value": float(np.mean(defined)) if defined else None}
    return rows, mean, curves


def _measure_by_operating_point(items, boxed, calibration) -> dict:
    """Measure images above and below the operating point of the classifier."""

    def is_positive(item: Localization) -> bool:
        point = calibration.operating_points[item.pathology].probability_threshold
        return point is not None and item.probability >= point

    return {
        side: compute_localization(
            [item for item in items if is_positive(item) == (side == "above")],
            boxed,
            HIT,
        )
        for side in ("above", "below")
    }


def _collect_notes(classification: dict, calibration: RunCalibration) -> list[str]:
    notes = [
        f"{name}: {row['reason']}"
        for name, row in classification.items()
        if row["reason"]
    ]
    for name, item in calibration.calibrations.items():
        if item.reason:
            notes.append(f"Calibration of {name}: {item.reason}")
    return notes


def _weigh(items: list[Localization]) -> list[Localization]:
    """Multiply the scores of a baseline by the probability, as those of a system."""
    return [
        dataclasses.replace(item, scores=item.scores * item.probability)
        for item in items
    ]


def _by_pathology(weights: np.ndarray, names) -> dict[str, list[float]]:
    return {name: weights[:, c].tolist() for c, name in enumerate(names)}


def _ends(interval: Interval) -> dict:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
