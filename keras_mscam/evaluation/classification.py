"""How well a classifier separates images, and how well its probabilities are true."""

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    roc_auc_score,
    roc_curve,
)

from keras_mscam.evaluation.known_labels import (
    check_probabilities,
    explain_one_class,
    take_known,
)
from keras_mscam.inference.run_calibration import OperatingPoint


def compute_classification(
    labels: np.ndarray, probabilities: np.ndarray, pathologies: tuple[str, ...]
) -> dict[str, dict]:
    """Measures of each pathology in one row, ready for JSON.

    - `auroc`: area under the ROC curve.
    - `auprc`: average precision, `sum_n (recall[n] - recall[n - 1]) precision[n]` over
      the distinct scores from the highest down. Chance level is the prevalence.
    - `brier`: mean of `(probability - label)^2`. 0 is perfect; saying the prevalence of
      every image scores `prevalence (1 - prevalence)`.
    - `ece`: expected calibration error,
      `sum_k images[k] / images |observed[k] - predicted[k]|` over the bins of
      `compute_reliability`. It is above 0 by chance alone, the more so the fewer
      images: compare it at equal numbers only.
    - `prevalence`, `images` (of known label), `positives`.
    - `reason`: why one of these is `None`; `None` where all is defined.

    Args:
        labels: `(images, C)`, 1, 0 or NaN; unknown ones are left out.
        probabilities: `(images, C)` in [0, 1], in double precision, such as those of
            `calibrate`, lest far logits become equal.
        pathologies: C names.

    Raises:
        ValueError: a probability is outside [0, 1], or shapes don't fit.
        UserError: a probability is NaN.

    Reference:
        Davis & Goadrich 2006 on why points of the precision-recall curve aren't joined
        by lines; Brier 1950, in the half-sized form that is usual today; Guo et al.
        2017, "On calibration of modern neural networks", equation 3, on the probability
        of the pathology rather than of the more likely class, with bins of equal mass
        after Nixon et al. 2019, "Measuring calibration in deep learning".
    """
    rows = {}
    for name, _, truth, values in take_known(labels, probabilities, pathologies):
        check_probabilities(values)
        reason = explain_one_class(truth)
        row = dict.fromkeys(("auroc", "auprc", "brier", "ece", "prevalence"))
        if not reason:  # scikit-learn says 1 of all positives
            row["auroc"] = float(roc_auc_score(truth, values))
            row["auprc"] = float(average_precision_score(truth, values))
        if len(truth):
            row["brier"] = float(np.mean((values - truth) ** 2))
            curve = _bin_probabilities(truth, values)
            gaps = np.abs(np.subtract(curve["observed"], curve["predicted"]))
            row["ece"] = float(np.average(gaps, weights=curve["images"]))
            row["prevalence"] = float(truth.mean())
        counts = {"images": len(truth), "positives": int(truth.sum())}
        rows[name] = {**row, **counts, "reason": reason}
    return rows


def compute_reliability(
    labels: np.ndarray, probabilities: np.ndarray, pathologies: tuple[str, ...]
) -> dict[str, dict[str, list]]:
    """Points of the reliability curve of each pathology; see `compute_classification`.

    Probabilities fall into bins `(edge[k], edge[k + 1]]`, the first with both its
    edges; edge k is the quantile `k / 10` of the probabilities, so that bins hold about
    equally many images. Equal probabilities are never separated.

    Returns:
        By pathology, three lists with an entry a bin: `predicted` (mean probability),
            `observed` (fraction of the images that show it) and `images`. All empty
            where no label is known.

    Reference:
        Niculescu-Mizil & Caruana 2005, "Predicting good probabilities with supervised
        learning".
    """
    curves = {}
    for name, _, truth, values in take_known(labels, probabilities, pathologies):
        check_probabilities(values)
        curves[name] = _bin_probabilities(truth, values)
    return curves


def _bin_probabilities(
    truth: np.ndarray, probabilities: np.ndarray, bins: int = 10
) -> dict[str, list]:
    """Do as scikit-learn's `calibration_curve`, which doesn't give the counts."""
    if not len(truth):
        return {"predicted": [], "observed": [], "images": []}
    edges = np.quantile(probabilities, np.linspace(0, 1, bins + 1))
    place = np.searchsorted(edges[1:-1], probabilities)
    images = np.bincount(place, minlength=bins)
    filled = images > 0
    predicted = np.bincount(place, probabilities, bins)[filled] / images[filled]
    observed = np.bincount(place, truth, bins)[filled] / images[filled]
    return {
        "predicted": predicted.tolist(),
        "observed": observed.tolist(),
        "images": images[filled].tolist(),
    }


def compute_roc_curve(
    labels: np.ndarray,
    scores: np.ndarray,
    pathologies: tuple[str, ...],
    points: int = 200,
) -> dict[str, dict[str, list[float]] | None]:
    """Points of the ROC curve of each pathology, from (0, 0) to (1, 1).

    Of more than `points` corners, those are kept that lie about evenly along the curve,
    which is 2 long, so the kept curve departs from the whole one by `2 / (points - 1)`
    at most: 0.01, a line's width in a plot. Scores are logits or probabilities: only
    their order counts.

    Returns:
        By pathology `false_positive_rate` and `true_positive_rate`, neither ever
        falling; `None` where only one class is present.
    """
    result = {}
    for name, _, truth, values in take_known(labels, scores, pathologies):
        if explain_one_class(truth):
            result[name] = None
            continue
        false_rate, true_rate, _ = roc_curve(truth, values)
        way = false_rate + true_rate
        kept = np.arange(len(way))
        if len(way) > points:
            kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], points)))
        result[name] = {
            "false_positive_rate": false_rate[kept].tolist(),
            "true_positive_rate": true_rate[kept].tolist(),
        }
    return result


def apply_operating_points(
    points: Mapping[str, OperatingPoint],
    labels: np.ndarray,
    probabilities: np.ndarray,
    pathologies: tuple[str, ...],
) -> dict[str, dict]:
    """Count right and wrong decisions on other images, ready for JSON.

    An image is positive if `probability >= threshold`. (tensorflow-addons' `F1Score`
    wants `>`; the two differ only where both are equal.) Probabilities are calibrated
    like those that the points were chosen on.

    Returns:
        By pathology `probability_threshold`, all of `compute_rates`, and `reason`; all
        but the reason are `None` where there is no threshold.
    """
    rows = {}
    for name, _, truth, values in take_known(labels, probabilities, pathologies):
        threshold = points[name].probability_threshold
        # Without a threshold images are counted at any, and the row is left empty.
        positive = values >= (0.5 if threshold is None else threshold)
        counts = np.zeros((2, 2), int)
        if len(truth):
            counts = confusion_matrix(truth, positive, labels=[False, True])
        rates = compute_rates(counts)
        rows[name] = {
            "probability_threshold": threshold,
            **(dict.fromkeys(rates) if threshold is None else rates),
            "reason": points[name].reason,
        }
    return rows


def compute_rates(confusion: np.ndarray) -> dict[str, int | float | None]:
    """Counts and rates of one pathology's `confusion_matrix`, ready for JSON.

    Rates are `None` where there is nothing to divide by.
    """
    (tn, fp), (fn, tp) = np.asarray(confusion).tolist()
    rates = {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "f1": (2 * tp, 2 * tp + fp + fn),
    }
    counts = {"tn": tn, "fp": fp, "fn": fn, "tp": tp}
    return counts | {name: a / b if b else None for name, (a, b) in rates.items()}
