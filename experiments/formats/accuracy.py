"""How well a runtime classifies and localizes, by the protocol of Table 1."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.evaluation.classification import compute_classification
from keras_mscam.evaluation.localize import localize
from keras_mscam.evaluation.split_outputs import Predictions
from keras_mscam.inference.run_calibration import RunCalibration, calibrate
from keras_mscam.localization.accuracy import compute_localization
from keras_mscam.localization.fusion import build_fusion

import numpy as np

_BATCH = 32
#: T(IoU) that are told.
OVERLAPS = (0.3, 0.5)


@dataclass(frozen=True)
class Accuracy:
    """Means over pathologies.

    Args:
        auroc: of all images.
        localization: fraction of ground-truth boxes found, at each of `OVERLAPS`.
    """

    auroc: float
    localization: tuple[float, ...]


@dataclass(frozen=True)
class _OfRuntime(Predictions):
    """Predictions whose maps are in memory."""

    cams: tuple[np.ndarray, ...] = ()

    def read_maps(self) -> Iterator[tuple[int, list[np.ndarray]]]:
        yield 0, list(self.cams)


def run_all(
    run: Callable[[np.ndarray], dict[str, np.ndarray]], images: np.ndarray
) -> dict[str, np.ndarray]:
    """Run a network over many images, some at a time."""
    batches = [
        run(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)
    ]
    return {
        name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]
    }


def measure_accuracy(
    outputs: dict[str, np.ndarray],
    known: Predictions,
    calibration: RunCalibration,
    protocol: LocalizationConfig,
) -> Accuracy:
    """Measure what a network said of a split, as `keras_mscam-evaluate` does.

    Args:
        outputs: of `run_all`.
        known: predictions of the Keras model there, for labels and ground-truth boxes.
        calibration: of the run.
        protocol: how maps become boxes.
    """
    predictions = _replace_outputs(known, calibration, outputs)
    names = predictions.pathologies
    probabilities = calibrate(calibration.calibrations, predictions.logits, names)
    table = compute_classification(predictions.labels, probabilities, names)
    fusion = build_fusion(
        protocol.fusion, predictions.relevance_weights, calibration.deviations
    )
    found = localize(predictions, fusion, protocol, probabilities, negatives=False)
    drawn = {item.pathology for item in found}
    boxed = tuple(name for name in names if name in drawn)
    return Accuracy(
        _mean(table, "auroc"),
        tuple(
            _mean(compute_localization(found, boxed, overlap), "accuracy")
            for overlap in OVERLAPS
        ),
    )


def _replace_outputs(known, calibration, outputs) -> Predictions:
    """Return predictions with what another network said."""
    fields = {name: getattr(known, name) for name in known.__dataclass_fields__}
    scaling = [calibration.calibrations[name] for name in known.pathologies]
    slopes = np.array([item.slope for item in scaling])
    intercepts = np.array([item.intercept for item in scaling])
    # A network gives probabilities; what Platt scaling added is taken away again.
    edge = np.finfo("float32").tiny, 1 - np.finfo("float32").epsneg
    probabilities = outputs["probabilities"].astype("float64").clip(*edge)
    logits = (np.log(probabilities / (1 - probabilities)) - intercepts) / slopes
    cams = tuple(outputs[f"cam_block{block}"] for block in known.blocks)
    return replace(_OfRuntime(**fields, cams=cams), logits=logits)


def _mean(table: dict[str, dict], column: str) -> float:
    values = [row[column] for row in table.values() if row[column] is not None]
    return float(np.mean(values))
