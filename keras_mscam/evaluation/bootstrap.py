"""Confidence intervals by sampling patients: the images of one aren't independent."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.stats
from scipy.sparse import csr_array

from keras_mscam.evaluation.known_labels import divide, explain_one_class, take_known

#: Numbers in the largest table that a batch of resamples makes: 16 MB.
CELLS = 2**21


@dataclass(frozen=True)
class Interval:
    """A metric and how far it may lie from its value in all such patients."""

    value: float | None  # of the patients at hand; `None` where undefined
    low: float | None  # lower end; `None` where there is no interval
    high: float | None  # upper end
    reason: str | None  # why there is no value or no interval; `None` if there are both


@dataclass(frozen=True)
class Resampled:
    """Metrics of all patients, and of each sample of patients."""

    values: np.ndarray  # `(M,)` of all patients; NaN where undefined
    samples: np.ndarray  # `(resamples, M)`; NaN where undefined
    # M sentences why there is no value or, with one patient, no spread; `None` where
    # there are both
    reasons: tuple[str | None, ...]

    def append_mean(self, averaged: np.ndarray) -> "Resampled":
        """Append the mean of the metrics that are marked in `averaged`, `(M,)` bool."""
        # Without any there is no mean; with one that has no spread, no honest spread.
        reasons = [r for r, a in zip(self.reasons, averaged, strict=True) if a and r]
        reason = f"one of the averaged metrics: {reasons[0]}" if reasons else None
        if not averaged.any():
            reason = "none of the metrics is defined"
        return Resampled(
            append_mean(self.values, averaged),
            append_mean(self.samples, averaged),
            (*self.reasons, reason),
        )


def append_mean(values: np.ndarray, averaged: np.ndarray) -> np.ndarray:
    """Append to the last axis the mean of its marked entries; NaN if none is."""
    mean = np.full((*values.shape[:-1], 1), np.nan)
    if averaged.any():
        mean = values[..., averaged].mean(axis=-1, keepdims=True)
    return np.concatenate([values, mean], axis=-1)


def bootstrap_ratio(
    numerators: np.ndarray,
    denominators: np.ndarray,
    patients: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[list[Interval], Interval]:
    """Confidence intervals of ratios `sum(numerators) / sum(denominators)`.

    As many patients as there are get sampled with replacement, each with all its items,
    and the interval is between the percentiles of the ratios. Accuracy is such a ratio
    (boxes found over ground-truth boxes), and so are AFP, a hit rate and a mean IoU.

    Args:
        numerators: `(items, M)`, a metric a column, or `(items,)` for one. An item is
            an image, or an image and pathology, or a box.
        denominators: of the same shape, not negative. An item that doesn't belong to a
            metric, such as of another pathology, is 0 in both.
        patients: `(items,)` identifiers.
        resamples: how often patients are sampled.
        seed: equal seeds and patients give equal samples.
        level: probability that an interval is to cover the truth, in (0, 1).

    Returns:
        An interval for each metric, and one of the mean of those that have a value.

    Raises:
        ValueError: shapes differ, a number isn't finite, a denominator is negative, or
            the level is out of range.

    Reference:
        Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13
        (percentile interval); Field & Welsh 2007, "Bootstrapping clustered data".
    """
    sums = sum_by_patient(numerators, denominators, patients)
    return summarize(resample_ratio(*sums, resamples, seed), level)


def bootstrap_auroc(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[list[Interval], Interval]:
    """Confidence intervals of the AUROC of each pathology, and of their mean.

    Labels `(images, C)` are 1, 0 or NaN (left out); of the scores, of the same shape,
    only the order counts. The others are as of `bootstrap_ratio`.

    Raises:
        ValueError: shapes don't fit.
        UserError: a score isn't finite.

    Reference:
        Rutter 2000, "Bootstrap estimation of diagnostic accuracy with patient-clustered
        data", Academic Radiology 7. With few patients intervals are too narrow: in 600
        simulated studies each, 95% intervals covered the truth in 90% with 40 patients
        (30% of images positive), 93% with 100, and 94% with 300 (10% positive).
    """
    return summarize(resample_auroc(labels, scores, patients, resamples, seed), level)


def sum_by_patient(
    numerators: np.ndarray, denominators: np.ndarray, patients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add up the items of each patient, both `(patients, M)`; see `bootstrap_ratio`.

    Patients are in the order of their identifiers, which does not depend on the order
    of items: systems evaluated in different orders get the same samples.
    """
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    tables = [np.asarray(t, "float64") for t in (numerators, denominators)]
    tables = [t[:, None] if t.ndim == 1 else t for t in tables]
    shapes = [table.shape for table in tables]
    if shapes[0] != shapes[1] or len(index) != len(tables[0]):
        raise ValueError(f"Tables of {shapes} do not fit {len(index)} patients.")
    if not np.isfinite(tables).all() or (tables[1] < 0).any():
        raise ValueError("Sums must be finite, and denominators not negative.")
    sums = np.zeros((2, len(names), tables[0].shape[1]))
    for summed, table in zip(sums, tables, strict=True):
        np.add.at(summed, index, table)
    return sums[0], sums[1]


def resample_ratio(
    tops: np.ndarray, wholes: np.ndarray, resamples: int, seed: int
) -> Resampled:
    """Divide sums over patients, `(patients, M)`, of all and of samples of them."""
    values, samples = _sample_patients(
        lambda weights: divide(weights.T @ tops, weights.T @ wholes),
        len(tops), tops.shape[1], len(tops), resamples, seed,
    )  # fmt: skip
    reasons = [_explain_few(n, "anything to count") for n in (wholes > 0).sum(axis=0)]
    return Resampled(values, samples, tuple(reasons))


def resample_auroc(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    resamples: int,
    seed: int,
) -> Resampled:
    """Compute the AUROC of each pathology, of all patients and of samples of them.

    The samples are the same for all pathologies and systems; see `bootstrap_auroc`.
    """
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    if len(index) != len(labels):
        raise ValueError(f"{len(index)} patients for {len(labels)} images.")
    rankings, reasons = [], []
    for _, rows, truth, values in take_known(labels, scores):
        rankings.append(Ranking(truth, values, index[rows], len(names)))
        positives, negatives = (
            len(np.unique(index[rows[chosen]])) for chosen in (truth, ~truth)
        )
        reasons.append(
            explain_one_class(truth)
            or _explain_few(positives, "an image that shows it")
            or _explain_few(negatives, "an image that does not show it")
        )
    values, samples = _sample_patients(
        lambda weights: np.stack([r.compute_auroc(weights) for r in rankings], axis=1),
        len(names), len(rankings), len(labels), resamples, seed,
    )  # fmt: skip
    return Resampled(values, samples, tuple(reasons))


def _sample_patients(
    compute: Callable[[np.ndarray], np.ndarray],
    patients: int,
    metrics: int,
    rows: int,
    resamples: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute metrics of all patients, `(metrics,)`, and of samples of them.

    `compute` gives `(W, metrics)` of weights `(patients, W)`, how often each patient
    counts. `rows`, of the longest table that it makes for each of these, bounds how
    many are computed together.
    """
    if not patients or not metrics:
        return np.full(metrics, np.nan), np.full((resamples, metrics), np.nan)
    values = compute(np.ones((patients, 1)))[0]
    if patients < 2:  # samples of one say nothing
        return values, np.full((resamples, metrics), np.nan)

    def compute_of_sample(sample: np.ndarray, axis: int) -> np.ndarray:
        weights = [np.bincount(drawn, minlength=patients) for drawn in sample]
        return compute(np.stack(weights, axis=1).astype("float64")).T

    with warnings.catch_warnings():
        # SciPy's own interval is NaN if a sample is undefined: see `summarize`.
        warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
        result = scipy.stats.bootstrap(
            (np.arange(patients),), compute_of_sample, vectorized=True,
            n_resamples=resamples, batch=max(1, CELLS // max(rows, patients)),
            method="percentile", rng=np.random.default_rng(seed),
        )  # fmt: skip
    return values, result.bootstrap_distribution.T


class Ranking:
    """The images of one pathology in the order of their scores, which are finite.

    Step k is the k-th *distinct* score of positives, from the lowest; negatives of
    stratum `2k` lie between steps k - 1 and k, those of stratum `2k + 1` at step k. Two
    sparse matrices count each patient's images there, and their products with a matrix
    of weights give the AUROCs of hundreds of samples at once: 1,000 samples of 25,596
    images and 14 pathologies take 1.2 s, one by one by `roc_auc_score` 2 minutes. With
    whole weights all sums are whole, so equal rankings have exactly equal AUROCs.
    """

    def __init__(
        self, truth: np.ndarray, scores: np.ndarray, index: np.ndarray, patients: int
    ):
        steps, step = np.unique(scores[truth], return_inverse=True)
        stratum = np.searchsorted(steps, scores[~truth], side="left")
        stratum += np.searchsorted(steps, scores[~truth], side="right")

        def count(row: np.ndarray, column: np.ndarray, rows: int) -> csr_array:
            places = (np.ones(len(row)), (row, column))  # the same ones are added up
            return csr_array(places, shape=(rows, patients))

        self._positives = count(step, index[truth], len(steps))
        self._negatives = count(stratum, index[~truth], 2 * len(steps) + 1)

    def compute_auroc(self, weights: np.ndarray) -> np.ndarray:
        """AUROC, `(W,)`, of each weighting of patients, `(patients, W)`.

        `auroc = sum_k positives[k] (below[k] + equal[k] / 2) / (positives negatives)`

        NaN where a class has no weight. As `roc_auc_score` with `sample_weight`, ties
        count half (Mann & Whitney 1947).
        """
        positives = self._positives @ weights
        below = (self._negatives @ weights).cumsum(axis=0)
        wins = (positives * (below[:-1:2] + below[1::2])).sum(axis=0) / 2
        return divide(wins, positives.sum(axis=0) * below[-1])


def _explain_few(patients: int, what: str) -> str | None:
    if patients > 1:
        return None
    return f"{'only one' if patients else 'no'} patient has {what}"


def summarize(resampled: Resampled, level: float) -> tuple[list[Interval], Interval]:
    """Find the interval of every metric, and of the mean of those that are defined."""
    resampled = resampled.append_mean(~np.isnan(resampled.values))
    *intervals, mean = find_intervals(resampled, level)
    return intervals, mean


def find_intervals(resampled: Resampled, level: float) -> list[Interval]:
    """Find the interval between the percentiles of every metric's samples.

    Where more than half of the samples are undefined, the others aren't typical, and
    there is none. The level is in (0, 1), or a `ValueError`.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), but got {level}.")
    intervals = []
    for value, samples, reason in zip(
        resampled.values, resampled.samples.T, resampled.reasons, strict=True
    ):
        defined = samples[~np.isnan(samples)]
        undefined = len(samples) - len(defined)
        if not len(samples) or undefined > len(samples) / 2:
            reason = reason or f"undefined in {undefined} of {len(samples)} resamples"
        low = high = None
        if not reason:
            ends = [(1 - level) / 2, (1 + level) / 2]
            low, high = np.quantile(defined, ends).tolist()
        intervals.append(Interval(to_float(value), low, high, reason))
    return intervals


def to_float(value: float) -> float | None:
    """Return a plain float, `None` for NaN."""
    return None if np.isnan(value) else float(value)
