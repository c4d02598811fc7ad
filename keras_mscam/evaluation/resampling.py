"""Metrics of the whole set and of every resample of its patients."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from keras_mscam.evaluation.known_labels import (
    check_tables,
    divide,
    explain_one_class,
    take_known,
)

#: Numbers that one chunk of resamples may take for each row of a table: 16 MB.
_CELLS = 2**21


def index_patients(patients: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the patients.

    The numbers depend on the set of identifiers alone, not on the order of images, so
    that two systems evaluated in different orders still get the same draws.

    Args:
        patients: `(images,)` identifiers, strings or numbers.

    Returns:
        `(images,)` numbers, and how many patients there are.

    Example:
        >>> index_patients(np.array(["b", "a", "b"]))
        (array([1, 0, 1]), 2)
    """
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    return index, len(names)


def draw_patients(
    count: int, resamples: int, seed: int, rows: int
) -> Iterator[np.ndarray]:
    """Draw as many patients as there are, with replacement, again and again.

    The draws depend on `count` and `seed` alone: the first ones of 1000 resamples are
    those of 10, however they are cut into chunks.

    Args:
        count: number of patients, at least 1.
        resamples: how often.
        seed: of the draws.
        rows: length of the longest table that is computed for each resample, which
            bounds the resamples in a chunk.

    Yields:
        `(count, chunk)` float64: how often each patient was drawn.
    """
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS // max(rows, count))
    for first in range(0, resamples, chunk):
        columns = [
            np.bincount(rng.integers(0, count, count), minlength=count)
            for _ in range(min(chunk, resamples - first))
        ]
        yield np.stack(columns, axis=1).astype("float64")


class Ranking:
    """The images of one pathology in the order of their scores.

    Only where negatives lie between the *distinct* scores of positives counts. Level k
    is the k-th such score, from the lowest; negatives of stratum `2k` lie between
    levels k - 1 and k, those of stratum `2k + 1` at level k. Two sparse matrices count
    each patient's images there, and their products with a matrix of weights give the
    AUROCs of hundreds of resamples at once. With whole weights all sums are whole
    numbers, so equal rankings have exactly equal AUROCs.

    Args:
        truth: `(images,)` bool.
        scores: `(images,)`, finite.
        index: `(images,)` number of the patient of each.
        patients: how many patients there are.
    """

    def __init__(
        self, truth: np.ndarray, scores: np.ndarray, index: np.ndarray, patients: int
    ):
        levels, level = np.unique(scores[truth], return_inverse=True)
        stratum = np.searchsorted(levels, scores[~truth], side="left")
        stratum += np.searchsorted(levels, scores[~truth], side="right")
        size = len(levels)
        self._positives = _count(level, index[truth], (size, patients))
        self._negatives = _count(stratum, index[~truth], (2 * size + 1, patients))

    def compute_auroc(self, weights: np.ndarray) -> np.ndarray:
        """AUROC of each weighting.

        `auroc = sum_k positives[k] (below[k] + equal[k] / 2) / (positives negatives)`

        Args:
            weights: `(patients, W)`, how often each patient counts.

        Returns:
            `(W,)`; NaN where a class has no weight.

        Reference:
            Mann & Whitney 1947, ties counted half; weighted as scikit-learn's
            `roc_auc_score` does with `sample_weight`.
        """
        positives, below = self._weigh(weights)
        wins = (positives * (below[:-1:2] + below[1::2])).sum(axis=0) / 2
        return divide(wins, positives.sum(axis=0) * below[-1])

    def compute_auprc(self, weights: np.ndarray) -> np.ndarray:
        """Average precision of each weighting, as scikit-learn defines it.

        `auprc = sum_k positives[k] / positives * tp[k] / (tp[k] + fp[k])`, with the
        counts of images at level k and above.

        Args:
            weights: `(patients, W)`, how often each patient counts.

        Returns:
            `(W,)`; NaN where a class has no weight.
        """
        positives, below = self._weigh(weights)
        tp = positives[::-1].cumsum(axis=0)[::-1]
        fp = below[-1] - below[:-1:2]
        precision = np.divide(tp, tp + fp, out=np.zeros_like(tp), where=tp > 0)
        total = np.where(below[-1] > 0, positives.sum(axis=0), 0)
        return divide((positives * precision).sum(axis=0), total)

    def _weigh(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weight of positives by level, of negatives up to each stratum."""
        return self._positives @ weights, (self._negatives @ weights).cumsum(axis=0)


def _count(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Count how often each place occurs; places that occur again are added up."""
    return csr_array((np.ones(len(row)), (row, column)), shape=shape)


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


def _explain_few(patients: int, what: str) -> str | None:
    if patients > 1:
        return None
    return f"{'only one' if patients else 'no'} patient has {what}"


def _explain_few_of(truth: np.ndarray, index: np.ndarray) -> str | None:
    return _explain_few(
        len(np.unique(index[truth])), "an image that shows it"
    ) or _explain_few(len(np.unique(index[~truth])), "an image that does not show it")
