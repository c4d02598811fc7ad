"""The images whose label of a pathology is known."""

from collections.abc import Sequence

import numpy as np

from keras_mscam.errors import UserError


def take_known(
    labels: np.ndarray, values: np.ndarray, pathologies: Sequence[str] | None = None
) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Take, of each pathology, the images whose label is known.

    Args:
        labels: `(images, C)`, 1, 0 or NaN for unknown.
        values: `(images, C)`, logits or probabilities.
        pathologies: C names; errors call them "column 0" and so on by default.

    Returns:
        For each pathology its name, and of the known images the rows, whether each
        shows it, bool, and its value, float64.

    Raises:
        ValueError: the shapes don't fit, or a label is none of the three.
        UserError: a value is infinite or NaN.
    """
    labels = np.asarray(labels, dtype="float64")
    values = np.asarray(values, dtype="float64")
    if labels.ndim != 2 or labels.shape != values.shape:
        raise ValueError(
            "Labels and predictions must both be (images, pathologies), but are "
            f"{labels.shape} and {values.shape}."
        )
    if pathologies is None:
        pathologies = [f"column {column}" for column in range(labels.shape[1])]
    if len(pathologies) != labels.shape[1]:
        raise ValueError(f"{len(pathologies)} names for {labels.shape[1]} columns.")
    if not (np.isnan(labels) | (labels == 0) | (labels == 1)).all():
        raise ValueError("Labels must be 1, 0 or NaN for unknown.")
    taken = []
    for name, truth, column in zip(pathologies, labels.T, values.T, strict=True):
        rows = np.flatnonzero(~np.isnan(truth))
        broken = int((~np.isfinite(column[rows])).sum())
        if broken:
            raise UserError(
                f"{broken} of {len(rows)} predictions of {name} are infinite or NaN: "
                "the training has diverged; train again with a lower learning rate."
            )
        taken.append((name, rows, truth[rows] == 1, column[rows]))
    return taken


def explain_one_class(truth: np.ndarray) -> str | None:
    """Say why images of one class can't be told apart; `None` if both are there."""
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
