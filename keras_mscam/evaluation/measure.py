"""All numbers of a run on a split: the contents of `metrics.json`."""

import dataclasses

import numpy as np

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.data.split_gaps import describe_gaps, describe_missing_boxes
from keras_mscam.evaluation.bootstrap import Interval, bootstrap_auroc, bootstrap_ratio
from keras_mscam.evaluation.classification import (
    apply_operating_points,
    compute_classification,
    compute_reliability,
    compute_roc_curve,
)
from keras_mscam.evaluation.localize import build_extractor, localize
from keras_mscam.evaluation.split_outputs import Predictions
from keras_mscam.inference.run_calibration import (
    RunCalibration,
    calibrate,
    select_deviations,
)
from keras_mscam.localization.accuracy import (
    SIZES,
    Localization,
    compute_localization,
    count_localizations,
    select_size,
    summarize_counts,
)
from keras_mscam.localization.baselines import localize_at_random, localize_by_mean_box
from keras_mscam.localization.detection import (
    compute_average_precision,
    compute_froc,
    compute_mean_iou,
    compute_pointing_game,
)
from keras_mscam.localization.fusion import Fusion, build_fusion
from keras_mscam.localization.protocol import describe_protocol
from keras_mscam.localization.thresholds import find_fold

#: T(IoU) and T(IoBB) of Wang et al. 2017, Tables 3 and 4.
OVERLAP_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
#: The overlap at which all else is measured, that isn't measured at each of them.
HIT = 0.3
Systems = dict[str, list[Localization]]


def locate_all(
    predictions: Predictions, calibration: RunCalibration, protocol: LocalizationConfig
) -> tuple[Systems, Fusion]:
    """Predict boxes from the fused map, from every block alone, and of the baselines.

    Returns:
        Localizations of `attention`, `block{b}`, `mean_box` and `random_map`; and the
        fusion behind the first. Images without the pathology, which FROC and average
        precision need, are looked at for `attention` and `mean_box` alone.
    """
    names, weights = predictions.pathologies, predictions.relevance_weights
    deviations = select_deviations(calibration, names, weights)
    fusion = build_fusion(protocol.fusion, weights, deviations)
    probabilities = calibrate(calibration.calibrations, predictions.logits, names)
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
    baselines = {
        "mean_box": localize_by_mean_box(attention),
        "random_map": localize_at_random(
            annotated, predictions.image_size, build_extractor(protocol)
        ),
    }
    for name, items in baselines.items():
        systems[name] = [  # scores are multiplied as those of a system
            dataclasses.replace(item, scores=item.scores * item.probability)
            for item in items
        ]
    return systems, fusion


def measure(
    predictions: Predictions,
    calibration: RunCalibration,
    protocol: LocalizationConfig,
    systems: Systems,
    fusion: Fusion,
    split: str = "test",
) -> dict:
    """Measure all that stands in `metrics.json`, by systems and fusion of `locate_all`.

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
            system: _measure_system(items, boxed, calibration, protocol)
            for system, items in systems.items()
        },
        "relevance_weights": dict(
            zip(names, predictions.relevance_weights.T.tolist(), strict=True)
        ),
        "fusion_weights": dict(zip(names, fusion.weights.T.tolist(), strict=True)),
        "blocks": [f"block{block}" for block in predictions.blocks],
        "warnings": describe_limits(predictions, calibration, protocol, split),
    }


def describe_limits(
    predictions: Predictions,
    calibration: RunCalibration,
    protocol: LocalizationConfig,
    split: str,
) -> list[str]:
    """Say what of the split is measured on too little, or was chosen on too little.

    There is one sentence for each kind, with the names of its pathologies.
    """
    names, labels = predictions.pathologies, predictions.labels
    positives = dict(zip(names, (labels == 1).sum(axis=0).tolist(), strict=True))
    negatives = dict(zip(names, (labels == 0).sum(axis=0).tolist(), strict=True))
    boxes = [predictions.box_columns.tolist().count(c) for c in range(len(names))]
    said = describe_gaps(split, positives, negatives, use="test")
    said += describe_missing_boxes(split, dict(zip(names, boxes, strict=True)))
    one_class = [name for name in names if not (positives[name] and negatives[name])]
    if 0 < len(one_class) < len(names):
        said += (f"The mean AUROC is that of {len(names) - len(one_class)} pathologies "
                 f"of {len(names)}.",)  # fmt: skip
    points = calibration.operating_points
    # Thresholds that came with published weights were chosen on no split.
    chosen = [name for name in names if points[name].criterion != "published"]
    scalings = {name: calibration.calibrations[name] for name in names}
    shown = {name: scalings[name].positives for name in chosen}
    absent = {name: scalings[name].images - shown[name] for name in chosen}
    said += describe_gaps("validation", shown, absent)
    gaps = [name for name in chosen if not (shown[name] and absent[name])]
    both = [name for name in names if name not in gaps]
    said += _group("Calibration of", {name: scalings[name].reason for name in both})
    said += _group(
        "No operating point of", {name: points[name].reason for name in both}
    )
    if protocol.threshold == "tuned":
        said += _describe_tuning(predictions)
    return list(said)


def _group(what: str, reasons: dict[str, str | None]) -> tuple[str, ...]:
    """Return a sentence for each reason, with the names that share it."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if reason:
            groups.setdefault(reason, []).append(name)
    return tuple(f"{what} {', '.join(g)}: {reason}." for reason, g in groups.items())


def _describe_tuning(predictions: Predictions) -> tuple[str, ...]:
    folds: dict[str, set[int]] = {}
    for row, column in zip(predictions.box_rows, predictions.box_columns, strict=True):
        name, patient = predictions.pathologies[column], predictions.patients[row]
        folds.setdefault(name, set()).add(find_fold(str(patient)))
    alone = [name for name, found in folds.items() if len(found) == 1]
    if not alone:
        return ()
    return (
        f"The threshold of maps of {', '.join(alone)} is 0.5 and not tuned, for want "
        "of boxes of other patients.",
    )


def _measure_system(items, boxed: tuple[str, ...], calibration, protocol) -> dict:
    """Measure the localization of one system, by pathology."""
    tables, means = {}, {}
    for overlap in ("iou", "iobb"):
        tables[overlap], means[overlap] = _measure_overlap(
            items, boxed, overlap, protocol.afp_denominator
        )
    annotated = [item for item in items if len(item.truth)]
    negatives = len(annotated) < len(items)
    sides = {"above": [], "below": []}  # the operating point of the classifier
    for item in annotated:
        point = calibration.operating_points[item.pathology].probability_threshold
        if point is not None:
            sides["above" if item.probability >= point else "below"].append(item)
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
            size: compute_localization(
                select_size(annotated, size), boxed, HIT,
                afp_denominator=protocol.afp_denominator,
            )
            for size in SIZES
        },
        "by_operating_point": {
            side: compute_localization(
                found, boxed, HIT, afp_denominator=protocol.afp_denominator
            )
            for side, found in sides.items()
        },
    }  # fmt: skip


def _measure_overlap(items, boxed, overlap: str, afp_denominator: str):
    """Return accuracy and AFP by threshold and pathology, and the mean accuracy."""
    counts = count_localizations(items, OVERLAP_THRESHOLDS, overlap)
    tables = summarize_counts(counts, boxed, afp_denominator)
    belongs = counts.pathology[:, None] == np.array(boxed)
    boxes = counts.boxes[:, None] * belongs
    by_threshold, means = {}, {}
    for place, threshold in enumerate(map(str, OVERLAP_THRESHOLDS)):
        found = counts.found[:, place, None] * belongs
        intervals, mean = bootstrap_ratio(found, boxes, counts.patient)
        by_threshold[threshold] = {
            name: {**tables[place][name], "accuracy": _ends(interval)}
            for name, interval in zip(boxed, intervals, strict=True)
        }
        means[threshold] = _ends(mean)
    return by_threshold, means


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
    return rows, _ends(mean), curves


def _ends(interval: Interval) -> dict:
    """Return value and ends, and where one of them is missing the reason."""
    ends = dataclasses.asdict(interval)
    return ends if interval.reason else {k: ends[k] for k in ("value", "low", "high")}
