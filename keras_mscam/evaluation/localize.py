"""From stored maps to predicted boxes on every image: the protocol, carried out."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from keras_mscam.configs.schema import LocalizationConfig, ShownConfig
from keras_mscam.evaluation.split_outputs import Predictions
from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.boxes import (
    PredictedBoxes,
    compute_iou,
    extract_boxes,
    find_peak,
    find_shown,
    normalize_map,
)
from keras_mscam.localization.fusion import Fusion, fuse_maps
from keras_mscam.localization.thresholds import (
    GRID,
    ThresholdRule,
    fixed_thresholds,
    otsu_thresholds,
    tuned_thresholds,
)

_THREADS = 2


@dataclass(frozen=True)
class FusedMap:
    """One fused map, and where it belongs."""

    # of the image and the pathology in the predictions
    row: int
    column: int
    cam: np.ndarray  # `(height, width)` raw, at the size that the model saw
    heatmap: np.ndarray  # the same, normalized
    cams: list[np.ndarray]  # of every block, `(h, w)` raw


def localize(
    predictions: Predictions,
    fusion: Fusion,
    protocol: LocalizationConfig,
    probabilities: np.ndarray,
    negatives: bool = True,
    shown: ShownConfig | None = None,
) -> list[Localization]:
    """Predict boxes on every image of which it is known where the pathology is.

    These are images with a ground-truth box, and, if `negatives`, those labelled
    without the pathology, which only FROC and average precision look at; of images
    labelled with it, but without a box, nothing can be said. Only pathologies that have
    a ground-truth box somewhere are looked for. The score of a box is the probability
    of its pathology, calibrated `(images, C)`, times the mean heat of its region.

    With a rule `shown`, which has a threshold, boxes are those that a person is shown,
    in place of those of the protocol; pathologies need not be positive.

    Returns:
        One for each image and pathology, those with a ground-truth box first, in the
        order of the images.
    """
    rule = None if shown else _choose_thresholds(predictions, fusion, protocol)
    truth = group_boxes(predictions)
    wanted = list(truth) + (_find_negatives(predictions) if negatives else [])

    def look(fused: FusedMap) -> tuple[tuple[int, int], Localization]:
        row, column = fused.row, fused.column
        pathology = predictions.pathologies[column]
        patient = str(predictions.patients[row])
        size = tuple(predictions.original_sizes[row].tolist())
        if rule is None:
            predicted = find_shown(fused.heatmap, size, shown)
        else:
            thresholds = rule(pathology, patient, fused.heatmap)
            predicted = _extract(fused.heatmap, size, protocol, thresholds)
        probability = float(probabilities[row, column])
        return (row, column), Localization(
            pathology=pathology,
            patient=patient,
            truth=truth.get((row, column), np.zeros((0, 4))),
            predicted=predicted.xyxy,
            scores=probability * predicted.scores,
            peak=find_peak(fused.cam, size),
            original_size=size,
            probability=probability,
            name=str(predictions.names[row]),
        )

    found = dict(map_fused(look, predictions, fusion, protocol, wanted))
    return [found[key] for key in wanted]


def map_fused(function, predictions, fusion, protocol, wanted) -> Iterator:
    """Call a function with the `FusedMap` of every wanted pair of row and column.

    Its results are yielded in the order of the images.
    """
    columns = {}
    for row, column in wanted:
        columns.setdefault(row, []).append(column)
    used = np.flatnonzero(fusion.weights.any(axis=1))  # one, where a block is alone

    def visit(row: int, cams: list[np.ndarray]) -> list:
        chosen = columns[row]
        fused = fuse_maps(
            [cams[place][..., chosen] for place in used],
            fusion.weights[np.ix_(used, chosen)],
            predictions.image_size,
        )
        results = []
        for column, cam in zip(chosen, fused, strict=True):
            heatmap = normalize_map(cam, protocol.normalization, fusion.scale[column])
            alone = [block[..., column] for block in cams]
            results.append(function(FusedMap(row, column, cam, heatmap, alone)))
        return results

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the images are what is shared among the threads
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            for first, maps in predictions.read_maps():
                rows = [row for row in columns if first <= row < first + len(maps[0])]
                cams = [[cam[row - first] for cam in maps] for row in rows]
                for results in pool.map(visit, rows, cams):
                    yield from results
    finally:
        cv2.setNumThreads(threads)


def measure_thresholds(
    predictions: Predictions, fusion: Fusion, protocol: LocalizationConfig
) -> tuple[np.ndarray, list[str], list[str]]:
    """Measure how well every ground-truth box is found at every threshold of `GRID`.

    Returns:
        Of each ground-truth box the highest IoU of a box predicted there,
        `(boxes, thresholds)`; its pathology; and its patient.
    """
    truth = group_boxes(predictions)

    def measure(fused: FusedMap) -> tuple[tuple[int, int], np.ndarray]:
        key = fused.row, fused.column
        size = tuple(predictions.original_sizes[fused.row].tolist())
        columns = []
        for threshold in GRID:
            boxes = _extract(fused.heatmap, size, protocol, (threshold,)).xyxy
            columns.append(compute_iou(boxes, truth[key]).max(axis=0, initial=0))
        return key, np.stack(columns, axis=1)

    found = dict(map_fused(measure, predictions, fusion, protocol, list(truth)))
    keys = [key for key in truth for _ in truth[key]]
    return (
        np.concatenate([np.zeros((0, len(GRID))), *(found[key] for key in truth)]),
        [predictions.pathologies[column] for _, column in keys],
        [str(predictions.patients[row]) for row, _ in keys],
    )


def build_extractor(protocol: LocalizationConfig):
    """Return what turns a raw map into boxes, for maps that are no model's.

    A tuned threshold is none for such maps: they get the fixed ones.
    """
    rule = _fix_thresholds(protocol)

    def extract(cam: np.ndarray, original_size: tuple[int, int]) -> PredictedBoxes:
        heatmap = normalize_map(cam, protocol.normalization)
        return _extract(heatmap, original_size, protocol, rule("", "", heatmap))

    return extract


def group_boxes(predictions: Predictions) -> dict[tuple[int, int], np.ndarray]:
    """Return the ground-truth boxes, `(M, 4)`, of every row and column that has any."""
    groups = {}
    for row, column, xyxy in zip(
        predictions.box_rows.tolist(), predictions.box_columns.tolist(),
        predictions.box_xyxy, strict=True,
    ):  # fmt: skip
        groups.setdefault((row, column), []).append(xyxy)
    return {key: np.stack(boxes) for key, boxes in groups.items()}


def _find_negatives(predictions: Predictions) -> list[tuple[int, int]]:
    boxed = np.unique(predictions.box_columns)
    annotated = set(zip(predictions.box_rows, predictions.box_columns, strict=True))
    rows, places = np.nonzero(predictions.labels[:, boxed] == 0)
    pairs = zip(rows.tolist(), boxed[places].tolist(), strict=True)
    return [pair for pair in pairs if pair not in annotated]


def _extract(heatmap, size, protocol, thresholds) -> PredictedBoxes:
    return extract_boxes(
        heatmap, size, thresholds, protocol.min_area, protocol.max_boxes
    )


def _choose_thresholds(predictions, fusion, protocol) -> ThresholdRule:
    if protocol.threshold not in ("tuned", "oracle"):
        return _fix_thresholds(protocol)
    best_iou, pathologies, patients = measure_thresholds(predictions, fusion, protocol)
    oracle = protocol.threshold == "oracle"
    return tuned_thresholds(best_iou, pathologies, patients, oracle=oracle)


def _fix_thresholds(protocol: LocalizationConfig) -> ThresholdRule:
    if protocol.threshold == "otsu":
        return otsu_thresholds
    return fixed_thresholds(protocol.cam_thresholds)
