"""A test that exchanges two systems in some patients and not in others."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from keras_mscam.evaluation.bootstrap import (
    Resampled,
    append_mean,
    divide,
    find_percentiles,
    resample_ranking,
    resample_ratio,
    sum_by_patient,
    to_float,
)

#: Patients times permutations of a chunk: 16 MB.
_CELLS = 2**21


def exchange_systems(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    permutations: int = 9999,
    seed: int = 0,
) -> np.ndarray:
    """p-values of differences between two systems' ratios, by exchanging the systems.

    If the systems don't differ, it doesn't matter which of them did what in a patient.
    So both are exchanged in a random half of the patients, again and again; the p-value
    is how often the difference becomes at least as large, either way, as it is. With
    equal denominators, as of accuracy, this is the sign-flip test of the patients'
    differences. With so few patients that all `2^patients` ways are no more than
    `permutations`, each is taken once and the p-value is exact.

    Args:
        first: numerators and denominators of one system, `(patients, M)` each.
        second: those of the other.
        permutations: how many ways to exchange are drawn, at least 1.
        seed: of the draws.

    Returns:
        `(M + 1,)` two-sided p-values in (0, 1], the last of the mean difference over
        the metrics that both systems have; NaN where the difference is undefined.

    Example:
        >>> one, count = np.array([[1.0], [1.0]]), np.ones((2, 1))
        >>> exchange_systems((one, count), (0 * one, count))  # of 4 ways, 2 as large
        array([0.5, 0.5])

    Reference:
        Good 2005, "Permutation, parametric and bootstrap tests of hypotheses"; Phipson
        & Smyth 2010, "Permutation p-values should never be zero", for
        `p = (1 + exceeding) / (1 + permutations)`.
    """
    first, second = np.concatenate(first, axis=1), np.concatenate(second, axis=1)
    totals = first.sum(axis=0), second.sum(axis=0)
    ratios = _divide_halves(totals[0]), _divide_halves(totals[1])
    compared = ~np.isnan(ratios[0] - ratios[1])
    observed = append_mean(ratios[0] - ratios[1], compared)
    # What is equal but for rounding must count as equal.
    rounding = 1e-12 * np.nanmax(np.abs(ratios), axis=(0, 1), initial=0)
    # A patient in whom the systems agree changes nothing by being exchanged.
    moves = second - first
    moves = moves[(moves != 0).any(axis=1)]
    exact = 2 ** len(moves) <= permutations
    exceeding = np.zeros(len(observed)) if exact else np.ones(len(observed))
    drawn = exceeding.copy()
    for exchanged in _choose_patients(len(moves), permutations, seed, exact):
        moved = exchanged @ moves
        changed = _divide_halves(totals[0] + moved) - _divide_halves(totals[1] - moved)
        changed = np.abs(append_mean(changed, compared))
        exceeding += (changed >= np.abs(observed) - rounding).sum(axis=0)
        drawn += (~np.isnan(changed)).sum(axis=0)
    return np.where(np.isnan(observed), np.nan, divide(exceeding, drawn))


def _choose_patients(
    patients: int, permutations: int, seed: int, exact: bool
) -> Iterator[np.ndarray]:
    """Yield `(chunk, patients)` float64, 1 where the systems are exchanged."""
    if exact:
        ways = np.arange(2**patients)[:, None] >> np.arange(patients)
        yield (ways & 1).astype("float64")
        return
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS // patients)
    for start in range(0, permutations, chunk):
        size = (min(chunk, permutations - start), patients)
        yield rng.integers(0, 2, size, dtype="int8").astype("float64")


def _divide_halves(sums: np.ndarray) -> np.ndarray:
    """Divide the first half of the columns, numerators, by the second."""
    tops, wholes = np.split(sums, 2, axis=-1)
    return divide(tops, wholes)


@dataclass(frozen=True)
class PairedDifference:
    """A metric of two systems, and how sure their difference is.

    Args:
        first: metric of the one system; `None` where undefined.
        second: of the other.
        difference: `first - second`.
        low: lower end of the difference's interval; `None` where there is none.
        high: upper end.
        level: probability that the interval is to cover the true difference.
        p_value: two-sided, of no difference; `None` where there is none. Not corrected
            for comparing several metrics or systems.
        patients: how many the metrics were computed from.
        resamples: how often patients were drawn for the interval.
        undefined: in how many of them the difference was undefined and left out.
        reason: why there is no difference, or no interval and p-value; `None` if all
            are there.
    """

    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    level: float
    p_value: float | None
    patients: int
    resamples: int
    undefined: int
    reason: str | None

    def to_dict(self) -> dict:
        """Return plain values for JSON."""
        return asdict(self)


def compare_ratio(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    patients: np.ndarray,
    resamples: int = 1000,
    permutations: int = 9999,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[list[PairedDifference], PairedDifference]:
    """Compare ratios of sums of two systems on the same items.

    The interval is that of `bootstrap_ratio`, with the same patients drawn for both
    systems; the p-value comes from exchanging the systems within patients
    (`exchange_systems`).

    Args:
        first: numerators and denominators of the one system, as of `bootstrap_ratio`.
        second: those of the other, for the same items in the same order.
        patients: `(items,)` identifiers.
        resamples: how often patients are drawn.
        permutations: how often systems are exchanged.
        seed: of both.
        level: in (0, 1).

    Returns:
        A comparison for each metric, and one of the mean over the metrics that both
        systems have.

    Raises:
        ValueError: as `bootstrap_ratio`.

    Example:
        >>> hits, worse, boxes = [1, 1, 1], [1, 0, 0], [1, 1, 1]
        >>> rows, mean = compare_ratio((hits, boxes), (worse, boxes), ["a", "b", "c"])
        >>> rows[0].difference, rows[0].p_value  # exchanging b and c: 2 of 4 as large
        (0.6666666666666667, 0.5)
    """
    p_values = exchange_systems(
        sum_by_patient(*first, patients),
        sum_by_patient(*second, patients),
        permutations,
        seed,
    )
    return _compare(
        resample_ratio(*first, patients, resamples, seed),
        resample_ratio(*second, patients, resamples, seed),
        level,
        p_values,
    )


def compare_auroc(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    patients: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[list[PairedDifference], PairedDifference]:
    """Compare the AUROCs of two systems on the same images.

    The p-value comes from the bootstrap that the interval comes from:
    `p = 2 min(1 + resamples with difference <= 0, 1 + those >= 0) / (1 + resamples)`,
    one minus the level at which the interval would just reach 0. DeLong's test takes
    images for independent, which those of a patient aren't (its extension to clustered
    data, Obuchowski 1997, has the same spread but no mean over pathologies); exchanging
    systems within patients needs scores on one scale, and tests whether the systems'
    *scores* are alike rather than their AUROCs.

    Args:
        labels: `(images, C)`, 1, 0 or NaN; unknown ones are left out.
        first: `(images, C)` scores of the one system; only their order counts.
        second: those of the other, for the same images in the same order.
        patients: `(images,)` identifiers.
        resamples: how often patients are drawn; no p-value is below
            `2 / (1 + resamples)`.
        seed: of the draws.
        level: in (0, 1).

    Returns:
        A comparison for each pathology, and one of the mean AUROC.

    Raises:
        ValueError, UserError: as `bootstrap_auroc`.

    Example:
        >>> labels, scores = np.array([[0, 0, 1, 1]]).T, np.array([[1, 2, 3, 4]]).T
        >>> rows, mean = compare_auroc(labels, scores, scores, ["a", "b", "c", "d"])
        >>> rows[0].difference, rows[0].p_value
        (0.0, 1.0)

    Reference:
        Efron & Tibshirani 1993, "An introduction to the bootstrap", section 15.4 (tests
        from confidence intervals); Rutter 2000 for drawing patients. With 40 patients
        5% of p-values under the null became 8%; from 100 on they were 5 to 7%.
    """
    return _compare_ranking(
        "auroc", labels, first, second, patients, resamples, seed, level
    )


def compare_auprc(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    patients: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[list[PairedDifference], PairedDifference]:
    """Compare the average precisions of two systems on the same images.

    Args, Returns, Raises, Reference: as `compare_auroc`.

    Example:
        >>> labels, scores = np.array([[0, 0, 1, 1]]).T, np.array([[1, 2, 3, 4]]).T
        >>> rows, mean = compare_auprc(labels, scores, -scores, ["a", "b", "c", "d"])
        >>> round(rows[0].difference, 3)  # 1 - (1 / 3 + 2 / 4) / 2
        0.583
    """
    return _compare_ranking(
        "auprc", labels, first, second, patients, resamples, seed, level
    )


def _compare_ranking(metric, labels, first, second, patients, resamples, seed, level):
    return _compare(
        resample_ranking(metric, labels, first, patients, resamples, seed),
        resample_ranking(metric, labels, second, patients, resamples, seed),
        level,
    )


def _compare(
    first: Resampled,
    second: Resampled,
    level: float,
    p_values: np.ndarray | None = None,
) -> tuple[list[PairedDifference], PairedDifference]:
    """Compare every metric and, last, the mean of those that both systems have."""
    both = ~np.isnan(first.values - second.values)
    first, second = first.append_mean(both), second.append_mean(both)
    *rows, mean = [
        _make_difference(
            first, second, column, level, None if p_values is None else p_values[column]
        )
        for column in range(len(both) + 1)
    ]
    return rows, mean


def _make_difference(
    first: Resampled,
    second: Resampled,
    column: int,
    level: float,
    p_value: float | None,
) -> PairedDifference:
    samples = first.samples[:, column] - second.samples[:, column]
    low, high, undefined, problem = find_percentiles(samples, level)
    reason = first.reasons[column] or second.reasons[column] or problem
    if p_value is None and reason is None:
        p_value = _reach_zero(samples)
    values = first.values[column], second.values[column]
    contributing = first.contributing[:, column] | second.contributing[:, column]
    return PairedDifference(
        first=to_float(values[0]),
        second=to_float(values[1]),
        difference=to_float(values[0] - values[1]),
        low=None if reason else low,
        high=None if reason else high,
        level=level,
        p_value=None if reason else float(p_value),
        patients=int(contributing.sum()),
        resamples=len(samples),
        undefined=undefined,
        reason=reason,
    )


def _reach_zero(differences: np.ndarray) -> float:
    """Find 1 - the level of the percentile interval that would just reach 0."""
    defined = differences[~np.isnan(differences)]
    below, above = (defined <= 0).sum(), (defined >= 0).sum()
    return min(1.0, 2 * (1 + min(below, above)) / (1 + len(defined)))
