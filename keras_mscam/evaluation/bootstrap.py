"""Drawing patients again: the images of one aren't independent of each other."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from scipy.sparse import csr_array

from keras_mscam.evaluation.known_labels import (
    check_tables,
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
        return _divide(wins, positives.sum(axis=0) * below[-1])

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
        return _divide((positives * precision).sum(axis=0), total)

    def _weigh(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weight of positives by level, of negatives up to each stratum."""
        return self._positives @ weights, (self._negatives @ weights).cumsum(axis=0)


def _count(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Count how often each place occurs; places that occur again are added up."""
    return csr_array((np.ones(len(row)), (row, column)), shape=shape)


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    undefined = np.full(np.shape(part), np.nan)
    return np.divide(part, whole, out=undefined, where=whole > 0)


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


@dataclass(frozen=True)
class Interval:
    """A metric and how far it may lie from its value in all such patients.

    Args:
        value: of the patients at hand; `None` where undefined.
        low: lower end; `None` where there is no interval.
        high: upper end.
        level: probability that the interval is to cover the truth.
        patients: how many the value was computed from.
        resamples: how often patients were drawn.
        undefined: in how many of them the metric was undefined and left out.
        reason: why there is no value or no interval; `None` if there are both.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    patients: int
    resamples: int
    undefined: int
    reason: str | None

    def to_dict(self) -> dict:
        """Return plain values for JSON."""
        return asdict(self)


def bootstrap_ratio(
    numerators: np.ndarray,
    denominators: np.ndarray,
    patients: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[list[Interval], Interval]:
    """Confidence intervals of ratios `sum(numerators) / sum(denominators)`.

    As many patients as there are get drawn with replacement, each with all its items,
    and the interval is between the percentiles of the ratios so drawn. Accuracy is such
    a ratio (boxes found over boxes drawn), and AFP, a hit rate, a mean IoU, the Brier
    score.

    Args:
        numerators: `(items, M)`, a metric a column, or `(items,)` for one. An item is
            an image, or an image and pathology, or a box.
        denominators: of the same shape, not negative. An item that doesn't belong to a
            metric, such as of another pathology, is 0 in both.
        patients: `(items,)` identifiers.
        resamples: how often patients are drawn.
        seed: of the draws; equal seeds and patients give equal draws.
        level: in (0, 1).

    Returns:
        An interval for each metric, and one of the mean of those metrics that have a
        value. Without any item of a metric, or with those of one patient, it has no
        ends but a reason.

    Raises:
        ValueError: shapes differ, a number isn't finite, or a denominator is negative.

    Example:
        >>> intervals, mean = bootstrap_ratio([1, 0, 1], [1, 1, 1], ["a", "a", "b"])
        >>> intervals[0].low, intervals[0].high  # only a drawn; only b drawn
        (0.5, 1.0)

    Reference:
        Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13
        (percentile interval); Field & Welsh 2007, "Bootstrapping clustered data".
    """
    resampled = resample_ratio(numerators, denominators, patients, resamples, seed)
    return _summarize(resampled, level)


def bootstrap_auroc(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[list[Interval], Interval]:
    """Confidence intervals of the AUROC of each pathology.

    Args:
        labels: `(images, C)`, 1, 0 or NaN; unknown ones are left out.
        scores: `(images, C)`, logits or probabilities: only their order counts.
        patients: `(images,)` identifiers.
        resamples: how often patients are drawn.
        seed: of the draws; equal seeds and patients give equal draws.
        level: in (0, 1).

    Returns:
        An interval for each pathology, and one of the mean AUROC over those that have
        one. With one class only, or a class that only one patient has, it has no ends
        but a reason.

    Raises:
        ValueError: shapes don't fit.
        UserError: a score isn't finite.

    Example:
        >>> labels, scores = [[0], [0], [1], [1]], [[0.1], [0.4], [0.3], [0.9]]
        >>> intervals, mean = bootstrap_auroc(labels, scores, ["a", "b", "c", "d"])
        >>> intervals[0].value
        0.75

    Reference:
        Rutter 2000, "Bootstrap estimation of diagnostic accuracy with patient-clustered
        data", Academic Radiology 7. With few patients intervals are too narrow: in 600
        simulated studies each, 95% intervals covered the truth in 90% with 40 patients
        (30% of images positive), 93% with 100, and 94% with 300 (10% positive).
    """
    ranked = resample_ranking("auroc", labels, scores, patients, resamples, seed)
    return _summarize(ranked, level)


def bootstrap_auprc(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[list[Interval], Interval]:
    """Confidence intervals of the average precision of each pathology.

    Args, Returns, Raises, Reference: as `bootstrap_auroc`. Average precision depends on
    the prevalence, which varies from resample to resample too.

    Example:
        >>> labels, scores = [[0], [0], [1], [1]], [[0.1], [0.4], [0.3], [0.9]]
        >>> intervals, mean = bootstrap_auprc(labels, scores, ["a", "b", "c", "d"])
        >>> intervals[0].value  # precision 1 at the first positive, 2 / 3 at the other
        0.8333333333333333
    """
    ranked = resample_ranking("auprc", labels, scores, patients, resamples, seed)
    return _summarize(ranked, level)


def find_percentiles(
    samples: np.ndarray, level: float
) -> tuple[float | None, float | None, int, str | None]:
    """Find the percentile interval of one metric's samples.

    Args:
        samples: `(resamples,)`; NaN where undefined.
        level: in (0, 1).

    Returns:
        Both ends, the number of undefined samples, and why there are no ends: more than
        half of the samples are undefined, so that the others aren't typical.

    Raises:
        ValueError: the level is outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), but got {level}.")
    defined = samples[~np.isnan(samples)]
    undefined = len(samples) - len(defined)
    if not len(samples) or undefined > len(samples) / 2:
        reason = f"undefined in {undefined} of {len(samples)} resamples"
        return None, None, undefined, reason
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high, undefined, None


def to_float(value: float) -> float | None:
    """Return a plain float, `None` for NaN."""
    return None if np.isnan(value) else float(value)


def _summarize(resampled: Resampled, level: float) -> tuple[list[Interval], Interval]:
    resampled = resampled.append_mean(~np.isnan(resampled.values))
    columns = range(len(resampled.values))
    *intervals, mean = [_make_interval(resampled, m, level) for m in columns]
    return intervals, mean


def _make_interval(resampled: Resampled, column: int, level: float) -> Interval:
    low, high, undefined, problem = find_percentiles(
        resampled.samples[:, column], level
    )
    reason = resampled.reasons[column] or problem
    return Interval(
        value=to_float(resampled.values[column]),
        low=None if reason else low,
        high=None if reason else high,
        level=level,
        patients=int(resampled.contributing[:, column].sum()),
        resamples=len(resampled.samples),
        undefined=undefined,
        reason=reason,
    )
