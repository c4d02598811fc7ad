"""From which probability on an image is positive, chosen on validation."""

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import confusion_matrix, roc_curve

from keras_mscam.evaluation.known_labels import (
    check_probabilities,
    explain_one_class,
    take_known,
)
from keras_mscam.inference.run_calibration import OperatingPoint

CRITERIA = ("youden", "f1", "sensitivity")


def choose_operating_points(
    labels: np.ndarray,
    probabilities: np.ndarray,
    pathologies: tuple[str, ...],
    criterion: str = "youden",
    minimum_sensitivity: float = 0.9,
) -> dict[str, OperatingPoint]:
    """Choose a threshold for each pathology.

    - `"youden"`: the largest `J = sensitivity + specificity - 1`. None is chosen where
      no threshold has J above 0, what chance has.
    - `"f1"`: the largest F1.
    - `"sensitivity"`: the most specific one with at least that sensitivity.

    Of thresholds that are equally good the highest is taken, with the fewest positives.
    It lies half way between the lowest probability above it and the next below, so that
    a rounding error of another runtime changes no decision.

    Args:
        labels: `(images, C)` of the validation split, 1, 0 or NaN (left out).
        probabilities: `(images, C)` in [0, 1].
        pathologies: C names.
        criterion: one of `CRITERIA`.
        minimum_sensitivity: in (0, 1], for `"sensitivity"`.

    Returns:
        By pathology; without threshold, and with a reason, where only one class is
        present.

    Raises:
        ValueError: unknown criterion, or a number out of its range.

    Example:
        >>> points = choose_operating_points([[0], [1]], [[0.2], [0.4]], ("Mass",))
        >>> points["Mass"].probability_threshold
        0.30000000000000004

    Reference:
        Youden 1950, "Index for rating diagnostic tests".
    """
    if criterion not in CRITERIA or not 0 < minimum_sensitivity <= 1:
        raise ValueError(
            f"The criterion must be one of {CRITERIA} and the sensitivity in (0, 1], "
            f"but got {criterion!r} and {minimum_sensitivity}."
        )
    result = {}
    for name, _, truth, values in take_known(labels, probabilities, pathologies):
        check_probabilities(values)
        result[name] = _choose(truth, values, criterion, minimum_sensitivity)
    return result


def _choose(
    truth: np.ndarray, values: np.ndarray, criterion: str, minimum_sensitivity: float
) -> OperatingPoint:
    counts = {
        "criterion": criterion,
        "images": len(truth),
        "positives": int(truth.sum()),
    }
    one_class = explain_one_class(truth)
    if one_class:
        return OperatingPoint(**counts, reason=one_class)
    positives, negatives = counts["positives"], len(truth) - counts["positives"]
    fp, tp, scores = roc_curve(truth, values, drop_intermediate=False)
    scores = scores[1:]  # the first is infinite: no image is positive
    tp = np.rint(tp[1:] * positives).astype("int64")
    fp = np.rint(fp[1:] * negatives).astype("int64")
    # In whole numbers, so that ties are ties.
    youden = tp * negatives - fp * positives
    if criterion == "youden":
        best = int(np.argmax(youden))
        if youden[best] <= 0:
            return OperatingPoint(**counts, reason="no threshold is better than chance")
    elif criterion == "f1":
        best = int(np.argmax(2 * tp / (tp + fp + positives)))
    else:
        best = int(np.argmax(tp / positives >= minimum_sensitivity))
    confusion = [negatives - fp[best], fp[best]], [positives - tp[best], tp[best]]
    rates = compute_rates(np.array(confusion))
    return OperatingPoint(
        probability_threshold=_place_threshold(scores, best),
        **{name: rates[name] for name in ("sensitivity", "specificity", "ppv", "f1")},
        **counts,
    )


def _place_threshold(scores: np.ndarray, best: int) -> float:
    above, below = scores[best], scores[min(best + 1, len(scores) - 1)]
    middle = (above + below) / 2
    # Between two neighbouring floats there is none: their middle is one of them.
    return float(middle if middle > below else above)


def apply_operating_points(
    points: Mapping[str, OperatingPoint],
    labels: np.ndarray,
    probabilities: np.ndarray,
    pathologies: tuple[str, ...],
) -> dict[str, dict]:
    """Count right and wrong decisions on other images, ready for JSON.

    An image is positive if `probability >= threshold`. (tensorflow-addons' `F1Score`
    wants `>`; the two differ only where both are equal.)

    Args:
        points: by pathology, at least these.
        labels: `(images, C)`, such as of the test split; 1, 0 or NaN (left out).
        probabilities: `(images, C)`, calibrated like those that were chosen on.
        pathologies: C names.

    Returns:
        By pathology `probability_threshold`, all of `compute_rates`, and `reason`; all
        but the reason are `None` where there is no threshold.

    Example:
        >>> points = {"Mass": OperatingPoint(probability_threshold=0.3)}
        >>> apply_operating_points(points, [[1]], [[0.4]], ("Mass",))["Mass"]["tp"]
        1
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
    """Counts and rates of one pathology, ready for JSON.

    Args:
        confusion: `(2, 2)`, `[[tn, fp], [fn, tp]]` as of `confusion_matrix`.

    Returns:
        `tn`, `fp`, `fn`, `tp`; `sensitivity = tp / (tp + fn)`,
        `specificity = tn / (tn + fp)`, `ppv = tp / (tp + fp)`,
        `npv = tn / (tn + fn)` and `f1`, `None` where there is nothing to divide by.

    Example:
        >>> compute_rates(np.array([[3, 1], [0, 0]]))["specificity"]
        0.75
    """
    (tn, fp), (fn, tp) = np.asarray(confusion).tolist()
    rates = {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "f1": (2 * tp, 2 * tp + fp + fn),
    }
    return {
        **{"tn": tn, "fp": fp, "fn": fn, "tp": tp},
        **{
            name: part / whole if whole else None
            for name, (part, whole) in rates.items()
        },
    }
