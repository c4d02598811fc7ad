"""Confidence intervals from resampled patients."""

from dataclasses import asdict, dataclass

import numpy as np

from keras_mscam.statistics.resampling import (
    Resampled,
    resample_ranking,
    resample_ratio,
)


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
