"""A test that exchanges two systems in some patients and not in others."""

from collections.abc import Iterator

import numpy as np

from keras_mscam.statistics.resampling import append_mean, divide

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
