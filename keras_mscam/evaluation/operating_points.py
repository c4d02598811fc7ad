"""From which probability on a pathology is called present, chosen on validation."""

from collections.abc import Mapping

import numpy as np

from keras_mscam.evaluation.known_labels import (
    check_tables,
    compute_confusion,
    compute_rates,
    explain_one_class,
    take_known,
)
from keras_mscam.evaluation.reliability import check_probabilities
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
    - `"sensitivity"`: the most specific one that calls at least that fraction of the
      positives.

    Of thresholds that are equally good the highest is taken, which calls fewest. It
    lies half way between the lowest probability called and the next below, so that a
    rounding error of another runtime doesn't change a call.

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
    labels, probabilities = check_tables(labels, probabilities, pathologies)
    result = {}
    for column, name in enumerate(pathologies):
        _, truth, values = take_known(labels, probabilities, column, name)
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
    levels, tp, fp = _count_calls(truth, values)
    positives, negatives = counts["positives"], len(truth) - counts["positives"]
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
    confusion = [
        [negatives - fp[best], fp[best]],
        [positives - tp[best], tp[best]],
    ]
    rates = compute_rates(np.array(confusion))
    return OperatingPoint(
        probability_threshold=_place_threshold(levels, best),
        **{name: rates[name] for name in ("sensitivity", "specificity", "ppv", "f1")},
        **counts,
    )


def _count_calls(
    truth: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct values, falling, and the true and false calls at each."""
    levels, place = np.unique(-values, return_inverse=True)
    tp = np.bincount(place, truth, len(levels)).cumsum().astype("int64")
    fp = np.bincount(place, ~truth, len(levels)).cumsum().astype("int64")
    return -levels, tp, fp


def _place_threshold(levels: np.ndarray, best: int) -> float:
    called, below = levels[best], levels[min(best + 1, len(levels) - 1)]
    middle = (called + below) / 2
    # Between two neighbouring floats there is none: their middle is one of them.
    return float(middle if middle > below else called)


def apply_operating_points(
    points: Mapping[str, OperatingPoint],
    labels: np.ndarray,
    probabilities: np.ndarray,
    pathologies: tuple[str, ...],
) -> dict[str, dict]:
    """Count the calls at given thresholds on other images, ready for JSON.

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
    thresholds = [points[name].probability_threshold for name in pathologies]
    # A pathology without threshold is counted at any, and then left empty.
    confusion = compute_confusion(
        labels, probabilities, [0.5 if t is None else t for t in thresholds]
    )
    rows = {}
    for name, threshold, matrix in zip(pathologies, thresholds, confusion, strict=True):
        rates = compute_rates(matrix)
        rows[name] = {
            "probability_threshold": threshold,
            **(dict.fromkeys(rates) if threshold is None else rates),
            "reason": points[name].reason,
        }
    return rows
