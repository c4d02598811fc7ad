import itertools

import numpy as np
import pytest
from scipy.stats import kstest

from keras_mscam.evaluation.paired import exchange_systems


def exchange(first, second, wholes=None, **arguments):
    """p-value of one metric; every patient has one item unless told."""
    first, second = np.reshape(first, (-1, 1)), np.reshape(second, (-1, 1))
    wholes = np.ones_like(first) if wholes is None else np.reshape(wholes, (-1, 1))
    p_values = exchange_systems((first, wholes), (second, wholes), **arguments)
    assert p_values[0] == p_values[1]  # the mean of one metric
    return p_values[0]


def test_by_hand():
    # Differences 1, 1, 1, -1: sum 2. Of 16 ways to flip signs, sums are 4, 2 (4 times),
    # 0 (6 times), -2 (4 times), -4: 10 are as large.
    assert exchange([1.0, 1, 1, 0], [0.0, 0, 0, 1]) == 10 / 16


def test_identical_systems():
    assert exchange([1.0, 0, 1], [1.0, 0, 1]) == 1
    # Different in patients, but equal together.
    assert exchange([1.0, 0, 1], [0.0, 1, 1]) == 1


def try_all_ways(first, second):
    """Another implementation: the signs of the differences, flipped in every way."""
    flips = np.array(list(itertools.product([-1, 1], repeat=len(first))))
    sums = np.abs(flips @ (first - second))
    return np.mean(sums >= np.abs((first - second).sum()) - 1e-9)


@pytest.mark.parametrize("count", [2, 5, 10])
def test_equals_a_loop_where_all_ways_are_tried(count):
    rng = np.random.default_rng(count)
    first, second = rng.random(count), rng.random(count)
    assert exchange(first, second) == pytest.approx(try_all_ways(first, second))


@pytest.mark.parametrize("shift", [0.0, 0.15])
def test_equals_a_loop_where_ways_are_drawn(shift):
    # 2^14 ways are more than 9999; drawing has a deviation of 0.005 at most.
    rng = np.random.default_rng(0)
    first, second = rng.random(14) + shift, rng.random(14)
    expected = try_all_ways(first, second)
    assert exchange(first, second) == pytest.approx(expected, abs=0.015)


def test_several_metrics_and_their_mean_equal_a_loop():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 5, (2, 2, 7, 3)).astype(float)
    first[1, :, 2] = second[1, :, 2] = 0  # a metric that nothing is known of

    def differ(a, b):
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = [x[0].sum(axis=0) / x[1].sum(axis=0) for x in (a, b)]
            difference = ratios[0] - ratios[1]
        return np.append(difference, difference[:2].mean())

    observed, drawn = differ(first, second), []
    for flags in itertools.product([False, True], repeat=7):
        swapped = np.array(flags)[None, :, None]
        one, other = np.where(swapped, second, first), np.where(swapped, first, second)
        drawn.append(differ(one, other))
    expected = (np.abs(drawn) >= np.abs(observed) - 1e-9).mean(axis=0)
    p_values = exchange_systems(tuple(first), tuple(second))
    np.testing.assert_allclose(p_values[[0, 1, 3]], expected[[0, 1, 3]])
    assert np.isnan(p_values[2])


def test_exchanging_the_arguments_changes_nothing():
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 9, (2, 40)) / 3
    assert exchange(first, second) == pytest.approx(exchange(second, first), abs=0.02)


def test_chunks_and_seeds():
    rng = np.random.default_rng(3)
    first, second = rng.random(300) + 0.02, rng.random(300)
    p_value = exchange(first, second, seed=1)
    assert exchange(first, second, seed=1) == p_value
    assert exchange(first, second, seed=2) == pytest.approx(p_value, abs=0.02)


def test_no_p_value_is_zero():
    p_value = exchange(np.ones(50), np.zeros(50), permutations=199)
    assert p_value == 1 / 200


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("patients", [0, 3])
def test_nothing_to_divide_by(patients):
    nothing = np.zeros((patients, 2))
    assert np.isnan(exchange_systems((nothing, nothing), (nothing, nothing))).all()


def draw_p_values(draw):
    """p-values of 150 studies of 80 patients whose systems don't differ."""
    p_values = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        items, easy = rng.integers(1, 5, 80), rng.random(80)
        first, second = (draw(rng, items, easy) for _ in range(2))
        p_values.append(exchange(first * 1.0, second * 1.0, items, permutations=199))
    return np.array(p_values)


def test_p_values_are_uniform_where_systems_do_not_differ():
    p_values = draw_p_values(lambda rng, items, easy: items * rng.beta(1 + easy, 1))
    # Of 150, 7.5 are to be below 0.05, with a deviation of 2.7.
    assert 1 <= (p_values <= 0.05).sum() <= 16
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_p_values_of_counts_are_no_smaller_than_uniform():
    # Counts are often equal: then p is 1.
    p_values = draw_p_values(lambda rng, items, easy: rng.binomial(items, easy))
    assert (p_values <= 0.05).sum() <= 16
    assert kstest(p_values, "uniform", alternative="greater").pvalue > 0.01


def test_a_real_difference_is_found():
    found = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        first, second = rng.random(100) < 0.6, rng.random(100) < 0.3
        found += exchange(first * 1.0, second * 1.0, permutations=199) <= 0.05
    assert found >= 45
