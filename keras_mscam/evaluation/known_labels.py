"""The images whose label of a pathology is known."""

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


def divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide where there is something to divide by; NaN elsewhere."""
    undefined = np.full(np.shape(part), np.nan)
    return np.divide(part, whole, out=undefined, where=whole > 0)


def check_probabilities(probabilities: np.ndarray) -> None:
    """Refuse what is no probability, such as a logit."""
    if ((probabilities < 0) | (probabilities > 1)).any():
        raise ValueError("Probabilities must be in [0, 1]; are these logits?")
