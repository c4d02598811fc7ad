"""The ROC curve as points for a plot."""

import numpy as np
from sklearn.metrics import roc_curve

from keras_mscam.classification.known import (
    check_tables,
    explain_one_class,
    take_known,
)


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
