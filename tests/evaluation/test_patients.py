import numpy as np
import pytest

from keras_mscam.evaluation.resampling import draw_patients, index_patients


def draw(count, resamples, seed=0, rows=1):
    return np.concatenate(list(draw_patients(count, resamples, seed, rows)), axis=1)


def test_numbers_do_not_depend_on_the_order_of_images():
    names = np.array(["b", "a", "c", "a"])
    index, count = index_patients(names)
    assert (index.tolist(), count) == ([1, 0, 2, 0], 3)
    order = [3, 2, 0, 1]
    np.testing.assert_array_equal(index_patients(names[order])[0], index[order])


def test_as_many_patients_as_there_are():
    weights = draw(40, 2000)
    assert weights.shape == (40, 2000)
    assert (weights.sum(axis=0) == 40).all()
    # Each weight is binomial(40, 1/40): mean 1, variance 39/40.
    assert weights.mean(axis=1) == pytest.approx(1, abs=0.1)
    assert weights.var() == pytest.approx(39 / 40, rel=0.02)


def test_draws_do_not_depend_on_how_they_are_cut():
    whole = draw(7, 50)
    np.testing.assert_array_equal(draw(7, 50, rows=2**20), whole)
    np.testing.assert_array_equal(draw(7, 20), whole[:, :20])
    assert not np.array_equal(draw(7, 50, seed=1), whole)


@pytest.mark.parametrize("rows", [1, 25_596, 10**7])
def test_memory_is_bounded(rows):
    chunk = next(draw_patients(1000, 10**5, 0, rows))
    assert chunk.shape[1] * max(rows, 1000) <= max(2**21, rows)
