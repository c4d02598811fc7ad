"""The images whose label of a pathology is known, and what was predicted of them."""

import math
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from keras_mscam.evaluation.known_labels import (
    check_tables,
    explain_one_class,
    take_known,
)
from keras_mscam.evaluation.reliability import bin_probabilities, check_probabilities


def compute_auroc(
    labels: np.ndarray, probabilities: np.ndarray, pathologies: tuple[str, ...]
) -> dict[str, float]:
    """Area under the ROC curve of each pathology.

    Args:
        labels: `(images, pathologies)`, 1, 0 or NaN; unknown ones are left out.
        probabilities: `(images, pathologies)`, or logits: only their order counts.
            Logits are better: far ones have equal probabilities in single precision.
        pathologies: names of the columns.

    Returns:
        By pathology; NaN, with a warning, where only one class is present.

    Example:
        >>> compute_auroc(np.array([[0], [1]]), np.array([[0.2], [0.7]]), ("Mass",))
        {'Mass': 1.0}
    """
    return _by_pathology("AUROC", _auroc, labels, probabilities, pathologies)


def compute_auprc(
    labels: np.ndarray, probabilities: np.ndarray, pathologies: tuple[str, ...]
) -> dict[str, float]:
    """Area under the precision-recall curve of each pathology, as average precision.

    `auprc = sum_n (recall[n] - recall[n - 1]) precision[n]` over the distinct scores
    from the highest down, without interpolation. Chance level is the prevalence.

    Args:
        labels, probabilities, pathologies: as `compute_auroc`.

    Returns:
        By pathology; NaN, with a warning, where only one class is present. (Of all
        positives scikit-learn says 1, but then nothing was told apart.)

    Example:
        >>> compute_auprc(np.array([[0], [1]]), np.array([[0.7], [0.2]]), ("Mass",))
        {'Mass': 0.5}

    Reference:
        Davis & Goadrich 2006, "The relationship between precision-recall and ROC
        curves", on why points of this curve aren't joined by lines.
    """
    return _by_pathology("AUPRC", _auprc, labels, probabilities, pathologies)


def compute_brier(
    labels: np.ndarray, probabilities: np.ndarray, pathologies: tuple[str, ...]
) -> dict[str, float]:
    """Brier score of each pathology: mean of `(probability - label)^2`.

    0 is perfect; saying the prevalence of every image scores
    `prevalence (1 - prevalence)`.

    Args:
        labels: `(images, pathologies)`, 1, 0 or NaN; unknown ones are left out.
        probabilities: `(images, pathologies)` in [0, 1].
        pathologies: names of the columns.

    Returns:
        By pathology; NaN, with a warning, where no label is known.

    Raises:
        ValueError: a probability is outside [0, 1].

    Example:
        >>> compute_brier(np.array([[0], [1]]), np.array([[0.5], [1.0]]), ("Mass",))
        {'Mass': 0.125}

    Reference:
        Brier 1950, for two classes in the half-sized form that is usual today.
    """
    return _by_pathology("Brier score", _brier, labels, probabilities, pathologies)


def compute_ece(
    labels: np.ndarray,
    probabilities: np.ndarray,
    pathologies: tuple[str, ...],
    bins: int = 10,
    strategy: str = "quantile",
) -> dict[str, float]:
    """Expected calibration error of each pathology.

    `ece = sum_k images[k] / images |observed[k] - predicted[k]|` over the bins of
    `compute_reliability`: 10 of equal mass by default. It is above 0 by chance alone,
    the more so the fewer images and the more bins: compare it at equal ones only.

    Args:
        labels, probabilities, pathologies: as `compute_brier`.
        bins: number of them.
        strategy: `"quantile"` (equal mass) or `"uniform"` (equal width).

    Returns:
        By pathology; NaN, with a warning, where no label is known.

    Raises:
        ValueError: a probability is outside [0, 1].

    Example:
        >>> compute_ece([[0], [1]], [[0.25], [0.5]], ("Mass",), bins=1)  # 0.5 - 0.375
        {'Mass': 0.125}

    Reference:
        Guo et al. 2017, "On calibration of modern neural networks", equation 3, on the
        probability of the pathology rather than of the more likely class; bins of equal
        mass after Nixon et al. 2019, "Measuring calibration in deep learning".
    """

    def ece(truth, values):
        return _ece(truth, values, bins, strategy)

    return _by_pathology("calibration error", ece, labels, probabilities, pathologies)


def compute_classification(
    labels: np.ndarray,
    probabilities: np.ndarray,
    pathologies: tuple[str, ...],
    bins: int = 10,
    strategy: str = "quantile",
) -> dict[str, dict]:
    """All of the above in one row a pathology, ready for JSON.

    Args:
        labels, probabilities, pathologies, bins, strategy: as `compute_ece`. Pass
            probabilities in double precision, such as those of `calibrate`, lest far
            logits become equal.

    Returns:
        By pathology `auroc`, `auprc`, `brier`, `ece`, `prevalence`, `images` (of known
        label), `positives`, and `reason`. What is undefined is `None`, without a
        warning, and `reason` says why; `reason` is `None` where all is defined.

    Example:
        >>> compute_classification([[0.0]], [[0.5]], ("Mass",))["Mass"]["reason"]
        'none of the 1 images with a known label shows it'
    """
    labels, probabilities = check_tables(labels, probabilities, pathologies)
    rows = {}
    for column, name in enumerate(pathologies):
        _, truth, values = take_known(labels, probabilities, column, name)
        row = {
            "auroc": _auroc(truth, values),
            "auprc": _auprc(truth, values),
            "brier": _brier(truth, values),
            "ece": _ece(truth, values, bins, strategy),
            "prevalence": float(truth.mean()) if len(truth) else math.nan,
        }
        rows[name] = {
            **{key: None if math.isnan(value) else value for key, value in row.items()},
            "images": len(truth),
            "positives": int(truth.sum()),
            "reason": explain_one_class(truth),
        }
    return rows


def _by_pathology(
    metric: str,
    compute: Callable[[np.ndarray, np.ndarray], float],
    labels: np.ndarray,
    values: np.ndarray,
    pathologies: tuple[str, ...],
) -> dict[str, float]:
    labels, values = check_tables(labels, values, pathologies)
    result = {}
    for column, name in enumerate(pathologies):
        _, truth, taken = take_known(labels, values, column, name)
        result[name] = compute(truth, taken)
        if math.isnan(result[name]):
            warnings.warn(
                f"The {metric} of {name} is undefined: {explain_one_class(truth)}.",
                stacklevel=3,
            )
    return result


def _auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    return math.nan if explain_one_class(truth) else float(roc_auc_score(truth, scores))


def _auprc(truth: np.ndarray, scores: np.ndarray) -> float:
    if explain_one_class(truth):
        return math.nan
    return float(average_precision_score(truth, scores))


def _brier(truth: np.ndarray, probabilities: np.ndarray) -> float:
    check_probabilities(probabilities)
    return float(np.mean((probabilities - truth) ** 2)) if len(truth) else math.nan


def _ece(
    truth: np.ndarray, probabilities: np.ndarray, bins: int, strategy: str
) -> float:
    curve = bin_probabilities(truth, probabilities, bins, strategy)
    if not len(truth):
        return math.nan
    gaps = np.abs(np.subtract(curve["observed"], curve["predicted"]))
    return float(np.average(gaps, weights=curve["images"]))


def compute_roc_curve(
    labels: np.ndarray,
    scores: np.ndarray,
    pathologies: tuple[str, ...],
    points: int = 200,
) -> dict[str, dict[str, list[float]] | None]:
    """Points of the ROC curve of each pathology, from (0, 0) to (1, 1).

    Of more than `points` corners, those are kept that lie about evenly along the curve,
    so the kept curve departs from the whole one by `2 / (points - 1)` at most: 0.01, a
    line's width in a plot.

    Args:
        labels: `(images, C)`, 1, 0 or NaN; unknown ones are left out.
        scores: `(images, C)`, logits or probabilities: only their order counts.
        pathologies: C names.
        points: the most points a curve may have, at least 2.

    Returns:
        By pathology `false_positive_rate` and `true_positive_rate`, neither ever
        falling; `None` where only one class is present.

    Example:
        >>> compute_roc_curve([[0], [1]], [[0.2], [0.7]], ("Mass",))["Mass"]
        {'false_positive_rate': [0.0, 0.0, 1.0], 'true_positive_rate': [0.0, 1.0, 1.0]}
    """
    labels, scores = check_tables(labels, scores, pathologies)
    result = {}
    for column, name in enumerate(pathologies):
        _, truth, values = take_known(labels, scores, column, name)
        if explain_one_class(truth):
            result[name] = None
            continue
        false_rate, true_rate, _ = roc_curve(truth, values)
        kept = _thin(false_rate + true_rate, points)
        result[name] = {
            "false_positive_rate": false_rate[kept].tolist(),
            "true_positive_rate": true_rate[kept].tolist(),
        }
    return result


def _thin(position: np.ndarray, points: int) -> np.ndarray:
    """Choose corners by their way along the curve, which is 2 long."""
    if len(position) <= points:
        return np.arange(len(position))
    return np.unique(np.searchsorted(position, np.linspace(0, position[-1], points)))
