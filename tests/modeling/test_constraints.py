import keras
import numpy as np
import pytest
from scipy.optimize import brentq

from keras_mscam.modeling import UnitSimplex


def project(w, **kwargs):
    return keras.ops.convert_to_numpy(UnitSimplex(**kwargs)(np.asarray(w, "float32")))


def project_by_root_finding(v):
    """Another road to the same point: find t with sum(max(v - t, 0)) = 1, in float64.

    With v shifted so that its largest entry is 0 (the simplex doesn't notice), the sum
    falls from at least 1 at t = -1 to 0 at t = 0.
    """
    v = np.asarray(v, "float64")
    v = v - v.max()
    t = brentq(lambda t: np.maximum(v - t, 0).sum() - 1, -1 - 1e-9, 0, xtol=1e-15)
    return np.maximum(v - t, 0)


def test_hand_worked_columns():
    # Column 1 is feasible already. Column 2: t = (0.9 + 0.5 - 1) / 2 = 0.2 leaves
    # 0.7, 0.3, 0. Column 3: one entry leads by more than 1, so it takes all.
    w = [[0.2, 0.9, 5.0], [0.3, 0.5, 3.0], [0.5, 0.0, -2.0]]
    expected = [[0.2, 0.7, 1.0], [0.3, 0.3, 0.0], [0.5, 0.0, 0.0]]
    np.testing.assert_allclose(project(w), expected, atol=1e-6)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 17])
@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 30.0])
def test_equals_reference_solver(blocks, scale):
    w = np.random.default_rng(blocks).normal(0, scale, (blocks, 25)).astype("float32")
    expected = np.stack([project_by_root_finding(column) for column in w.T], axis=1)
    np.testing.assert_allclose(project(w), expected, atol=2e-6)


@pytest.mark.parametrize(
    "column",
    [
        [0.5, 0.5, 0.5, 0.5],  # all tied: 1/4 each
        [2.0, 2.0, -1.0, -1.0],  # two tied at the top: 1/2 each
        [-3.0, -3.0, -3.0, -3.0],  # all negative and tied
        [-1.0, -2.0, -3.0, -4.0],  # all negative
        [1e30, 0.0, -1e30, 1e30],  # huge: 1/2, 0, 0, 1/2
        [1e-30, -1e-30, 0.0, 0.0],  # tiny
        [3e4, 3e4 + 1, 0.0, 0.0],  # a lead of 1 among large ones
    ],
)
def test_ties_and_extremes(column):
    expected = project_by_root_finding(column)
    np.testing.assert_allclose(project(np.c_[column])[:, 0], expected, atol=1e-6)


def test_is_feasible_and_idempotent():
    w = np.random.default_rng(0).normal(0, 100, (3, 500))
    once = project(w)
    assert (once >= 0).all()
    np.testing.assert_allclose(once.sum(0), 1, atol=1e-6)
    np.testing.assert_allclose(project(once), once, atol=1e-6)


def test_nan_stays_in_its_column():
    projected = project([[np.nan, 0.6], [0.0, 0.4]])
    assert np.isnan(projected[:, 0]).all()
    np.testing.assert_allclose(projected[:, 1], [0.6, 0.4], atol=1e-6)


def test_other_axis_and_serialization():
    w = np.random.default_rng(1).normal(size=(4, 3))
    np.testing.assert_allclose(project(w, axis=1), project(w.T).T, atol=1e-6)
    copy = keras.constraints.deserialize(
        keras.constraints.serialize(UnitSimplex(axis=-1))
    )
    assert isinstance(copy, UnitSimplex)
    assert copy.axis == -1
    np.testing.assert_allclose(project(w, axis=-1), project(w, axis=1), atol=0)
