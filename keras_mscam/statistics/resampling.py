"""Metrics of the whole set and of every resample of its patients."""

from dataclasses import dataclass

import numpy as np

from keras_mscam.classification.known import (
    check_tables,
    explain_one_class,
    take_known,
)
from keras_mscam.statistics.patients import draw_patients, index_patients
from keras_mscam.statistics.ranking import Ranking

RANKINGS = {"auroc": Ranking.compute_auroc, "auprc": Ranking.compute_auprc}


@dataclass(frozen=True)
class Resampled:
    """Metrics, one a column, with what they are when patients are drawn again.

    Args:
        values: `(M,)` of all patients; NaN where undefined.
        samples: `(resamples, M)`; NaN where undefined.
        contributing: `(patients, M)` bool, which patients a metric was computed from.
        reasons: M sentences why there is no value or, with one patient, no spread;
            `None` where there are both.
    """

    values: np.ndarray
    samples: np.ndarray
    contributing: np.ndarray
    reasons: tuple[str | None, ...]

    def append_mean(self, averaged: np.ndarray) -> "Resampled":
        """Append the mean of some of the metrics as one more.

        Args:
            averaged: `(M,)` bool, which; they have values.
        """
        # Without any there is no mean; with one that has no spread, no honest spread.
        reasons = [r for r, a in zip(self.reasons, averaged, strict=True) if a and r]
        reason = f"one of the averaged metrics: {reasons[0]}" if reasons else None
        if not averaged.any():
            reason = "none of the metrics is defined"
        return Resampled(
            append_mean(self.values, averaged),
            append_mean(self.samples, averaged),
            np.column_stack(
                [self.contributing, self.contributing[:, averaged].any(axis=1)]
            ),
            (*self.reasons, reason),
        )


def append_mean(values: np.ndarray, averaged: np.ndarray) -> np.ndarray:
    """Append to the last axis the mean of some of its entries; NaN of none.

    Args:
        values: `(..., M)`.
        averaged: `(M,)` bool.

    Returns:
        `(..., M + 1)`.
    """
    mean = np.full((*values.shape[:-1], 1), np.nan)
    if averaged.any():
        mean = values[..., averaged].mean(axis=-1, keepdims=True)
    return np.concatenate([values, mean], axis=-1)


def resample_ratio(
    numerators: np.ndarray,
    denominators: np.ndarray,
    patients: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
) -> Resampled:
    """Compute ratios of sums, of all patients and of resampled ones.

    Args:
        numerators, denominators, patients: as `bootstrap_ratio`.
        resamples: how often patients are drawn.
        seed: of the draws.

    Raises:
        ValueError: as `sum_by_patient`.

    Example:
        >>> resample_ratio([1, 0, 1], [1, 1, 1], ["a", "a", "b"]).values
        array([0.66666667])
    """
    tops, wholes = sum_by_patient(numerators, denominators, patients)
    count = len(tops)
    samples = [np.empty((0, tops.shape[1]))]
    for weights in draw_patients(count, resamples, seed, count) if count else ():
        samples.append(divide(weights.T @ tops, weights.T @ wholes))
    contributing = wholes > 0
    return Resampled(
        divide(tops.sum(axis=0), wholes.sum(axis=0)),
        np.concatenate(samples),
        contributing,
        tuple(_explain_few(n, "anything to count") for n in contributing.sum(axis=0)),
    )


def resample_ranking(
    metric: str,
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
) -> Resampled:
    """Compute AUROC or AUPRC of each pathology, of all patients and of resampled ones.

    The patients drawn are the same for all pathologies and systems.

    Args:
        metric: `"auroc"` or `"auprc"`.
        labels, scores, patients: as `bootstrap_auroc`.
        resamples: how often patients are drawn.
        seed: of the draws.

    Raises:
        ValueError: as `check_tables`, or not a patient for each image.
        UserError: a score isn't finite.
    """
    labels, scores = check_tables(labels, scores)
    index, count = index_patients(patients)
    if len(index) != len(labels):
        raise ValueError(f"{len(index)} patients for {len(labels)} images.")
    rankings, reasons = [], []
    contributing = np.zeros((count, labels.shape[1]), bool)
    for column in range(labels.shape[1]):
        rows, truth, values = take_known(labels, scores, column, f"column {column}")
        rankings.append(Ranking(truth, values, index[rows], count))
        contributing[index[rows], column] = True
        reasons.append(explain_one_class(truth) or _explain_few_of(truth, index[rows]))
    compute = RANKINGS[metric]
    whole = np.ones((count, 1))
    samples = [np.empty((0, len(rankings)))]
    for weights in draw_patients(count, resamples, seed, len(labels)) if count else ():
        samples.append(np.stack([compute(r, weights) for r in rankings], axis=1))
    return Resampled(
        np.array([compute(ranking, whole)[0] for ranking in rankings]),
        np.concatenate(samples),
        contributing,
        tuple(reasons),
    )


def sum_by_patient(
    numerators: np.ndarray, denominators: np.ndarray, patients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add up the items of each patient.

    Args:
        numerators, denominators, patients: as `bootstrap_ratio`.

    Returns:
        Both `(patients, M)`, by patient in the order of `index_patients`.

    Raises:
        ValueError: shapes differ, a number isn't finite, or a denominator is negative.
    """
    tops, wholes = (
        table[:, None] if table.ndim == 1 else table
        for table in (
            np.asarray(numerators, dtype="float64"),
            np.asarray(denominators, dtype="float64"),
        )
    )
    index, count = index_patients(patients)
    if tops.ndim != 2 or tops.shape != wholes.shape or len(tops) != len(index):
        raise ValueError(
            "Numerators and denominators must both be (items,) or (items, metrics), "
            f"with a patient for each item, but are {np.shape(numerators)} and "
            f"{np.shape(denominators)} for {len(index)} patients."
        )
    if not (np.isfinite(tops).all() and np.isfinite(wholes).all()):
        raise ValueError("Numerators and denominators must be finite; leave others 0.")
    if (wholes < 0).any():
        raise ValueError("Denominators must not be negative.")
    summed = np.zeros((2, count, tops.shape[1]))
    np.add.at(summed[0], index, tops)
    np.add.at(summed[1], index, wholes)
    return summed[0], summed[1]


def divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide where there is something to divide by; NaN elsewhere."""
    undefined = np.full(np.shape(part), np.nan)
    return np.divide(part, whole, out=undefined, where=whole > 0)


def _explain_few(patients: int, what: str) -> str | None:
    if patients > 1:
        return None
    return f"{'only one' if patients else 'no'} patient has {what}"


def _explain_few_of(truth: np.ndarray, index: np.ndarray) -> str | None:
    return _explain_few(
        len(np.unique(index[truth])), "an image that shows it"
    ) or _explain_few(len(np.unique(index[~truth])), "an image that does not show it")
