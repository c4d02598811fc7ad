"""The images whose label of a pathology is known, and decisions on them counted."""

import numpy as np

from keras_mscam.errors import UserError


def check_tables(
    labels: np.ndarray, values: np.ndarray, pathologies: tuple[str, ...] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Check that labels and what was predicted belong together.

    Args:
        labels: `(images, C)`, 1, 0 or NaN for unknown.
        values: `(images, C)`, logits or probabilities.
        pathologies: C names, where there are some.

    Returns:
        Both as float64.

    Raises:
        ValueError: they are no tables of one shape, their columns aren't as many as the
            names, or a label is none of the three.
    """
    labels = np.asarray(labels, dtype="float64")
    values = np.asarray(values, dtype="float64")
    if labels.ndim != 2 or labels.shape != values.shape:
        raise ValueError(
            "Labels and predictions must both be (images, pathologies), but are "
            f"{labels.shape} and {values.shape}."
        )
    if pathologies is not None and len(pathologies) != labels.shape[1]:
        raise ValueError(f"{len(pathologies)} names for {labels.shape[1]} columns.")
    if not (np.isnan(labels) | (labels == 0) | (labels == 1)).all():
        raise ValueError("Labels must be 1, 0 or NaN for unknown.")
    return labels, values


def take_known(
    labels: np.ndarray, values: np.ndarray, column: int, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take the images of one pathology whose label is known.

    Args:
        labels: `(images, C)` of `check_tables`.
        values: `(images, C)` of `check_tables`.
        column: which pathology.
        name: what an error calls it.

    Returns:
        Rows `(known,)`, whether each shows the pathology `(known,)` bool, and its value
        `(known,)`.

    Raises:
        UserError: a value is infinite or NaN.
    """
    rows = np.flatnonzero(~np.isnan(labels[:, column]))
    taken = values[rows, column]
    broken = int((~np.isfinite(taken)).sum())
    if broken:
        raise UserError(
            f"{broken} of {len(rows)} predictions of {name} are infinite or NaN: the "
            "training has diverged; train again with a lower learning rate."
        )
    return rows, labels[rows, column] == 1, taken


def explain_one_class(truth: np.ndarray) -> str | None:
    """Say why images of one class can't be told apart; `None` if both are there.

    Example:
        >>> explain_one_class(np.array([False, False]))
        'none of the 2 images with a known label shows it'
    """
    if not len(truth):
        return "no image has a known label"
    if not truth.any():
        return f"none of the {len(truth)} images with a known label shows it"
    if truth.all():
        return f"all of the {len(truth)} images with a known label show it"
    return None


def compute_confusion(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: float | np.ndarray
) -> np.ndarray:
    """Confusion matrix of each pathology, one against its absence.

    An image is called positive if `probability >= threshold`. (tensorflow-addons'
    `F1Score` wants `>`; the two differ only where both are equal.)

    Args:
        labels: `(images, C)`, 1, 0 or NaN; unknown ones are left out.
        probabilities: `(images, C)`, or logits with thresholds of logits.
        thresholds: one for all pathologies, or C.

    Returns:
        `(C, 2, 2)` int64, `[[tn, fp], [fn, tp]]` each, the layout of scikit-learn's
        `multilabel_confusion_matrix`. All 0 without images.

    Raises:
        ValueError: shapes don't fit, or a threshold is NaN.

    Example:
        >>> compute_confusion([[1], [0], [0]], [[0.9], [0.6], [0.2]], 0.5)
        array([[[1, 1],
                [0, 1]]])
    """
    labels, probabilities = check_tables(labels, probabilities)
    count = labels.shape[1]
    thresholds = np.broadcast_to(np.asarray(thresholds, "float64"), (count,))
    if np.isnan(thresholds).any():
        raise ValueError("A threshold is undefined; leave that pathology out.")
    result = np.zeros((count, 2, 2), "int64")
    for column in range(count):
        _, truth, values = take_known(labels, probabilities, column, f"column {column}")
        called = values >= thresholds[column]
        np.add.at(result[column], (truth.astype(int), called.astype(int)), 1)
    return result


def compute_f1(confusion: np.ndarray) -> np.ndarray:
    """F1 of each pathology: `2 tp / (2 tp + fp + fn)`.

    Args:
        confusion: `(C, 2, 2)` of `compute_confusion`.

    Returns:
        `(C,)`; NaN where there is neither a positive image nor a positive call.

    Example:
        >>> compute_f1(np.array([[[1, 1], [0, 1]]]))
        array([0.66666667])
    """
    confusion = np.asarray(confusion)
    tp = confusion[..., 1, 1]
    return divide(2 * tp, 2 * tp + confusion[..., 0, 1] + confusion[..., 1, 0])


def compute_rates(confusion: np.ndarray) -> dict[str, int | float | None]:
    """Counts and rates of one pathology, ready for JSON.

    Args:
        confusion: `(2, 2)`, one of `compute_confusion`.

    Returns:
        `tn`, `fp`, `fn`, `tp`; `sensitivity = tp / (tp + fn)`,
        `specificity = tn / (tn + fp)`, `ppv = tp / (tp + fp)`,
        `npv = tn / (tn + fn)` and `f1`, `None` where there is nothing to divide by.

    Example:
        >>> compute_rates(np.array([[3, 1], [0, 0]]))["specificity"]
        0.75
    """
    (tn, fp), (fn, tp) = np.asarray(confusion).tolist()
    parts = [tp, tn, tp, tn, 2 * tp]
    wholes = [tp + fn, tn + fp, tp + fp, tn + fn, 2 * tp + fp + fn]
    names = ("sensitivity", "specificity", "ppv", "npv", "f1")
    return {
        **{"tn": tn, "fp": fp, "fn": fn, "tp": tp},
        **{
            name: part / whole if whole else None
            for name, part, whole in zip(names, parts, wholes, strict=True)
        },
    }


def divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide where there is something to divide by; NaN elsewhere."""
    undefined = np.full(np.shape(part), np.nan)
    return np.divide(part, whole, out=undefined, where=whole > 0)
