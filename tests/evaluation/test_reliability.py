import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from keras_mscam.evaluation.classification import compute_ece
from keras_mscam.evaluation.reliability import compute_reliability


@pytest.fixture
def random_column():
    rng = np.random.default_rng(0)
    values = rng.beta(0.5, 4, (500, 1))
    return (rng.random((500, 1)) < values**1.3).astype(float), values


def test_by_hand():
    # Width 1/2: .1, .3 and .5 (right edges belong to a bin), then .75 and 1.
    labels = [[0], [0], [1], [1], [0]]
    values = [[0.1], [0.3], [0.5], [0.75], [1.0]]
    curve = compute_reliability(labels, values, ("Mass",), 2, "uniform")["Mass"]
    assert curve["images"] == [3, 2]
    assert curve["predicted"] == pytest.approx([0.3, 0.875])
    assert curve["observed"] == pytest.approx([1 / 3, 1 / 2])
    # 3/5 |1/3 - 0.3| + 2/5 |0.5 - 0.875| = 0.02 + 0.15
    ece = compute_ece(labels, values, ("Mass",), 2, "uniform")
    assert ece["Mass"] == pytest.approx(0.17)


@pytest.mark.parametrize("strategy", ["quantile", "uniform"])
@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("decimals", [1, 15])
def test_equals_scikit_learn(random_column, strategy, bins, decimals):
    labels, values = random_column[0], random_column[1].round(decimals)
    curve = compute_reliability(labels, values, ("Mass",), bins, strategy)["Mass"]
    observed, predicted = calibration_curve(
        labels.ravel(), values.ravel(), n_bins=bins, strategy=strategy
    )
    assert curve["observed"] == pytest.approx(observed)
    assert curve["predicted"] == pytest.approx(predicted)
    assert sum(curve["images"]) == len(labels)


def test_error_equals_a_loop_over_bins(random_column):
    labels, values = random_column[0].ravel(), random_column[1].ravel()
    expected = 0
    for k in range(15):
        chosen = (values > k / 15) & (values <= (k + 1) / 15)
        if chosen.any():
            gap = abs(labels[chosen].mean() - values[chosen].mean())
            expected += chosen.mean() * gap
    ece = compute_ece(*random_column, ("Mass",), 15, "uniform")
    assert ece["Mass"] == pytest.approx(expected)


def test_bins_of_equal_mass(random_column):
    curve = compute_reliability(*random_column, ("Mass",))["Mass"]
    assert curve["images"] == [50] * 10


def test_equal_probabilities_are_never_parted():
    labels, values = np.tile([[0.0], [1.0]], (50, 1)), np.full((100, 1), 0.3)
    curve = compute_reliability(labels, values, ("Mass",))["Mass"]
    assert curve["images"] == [100]
    assert compute_ece(labels, values, ("Mass",))["Mass"] == pytest.approx(0.2)


def test_order_of_images_does_not_count():
    rng = np.random.default_rng(1)
    labels, values = rng.integers(0, 2, (90, 1)), rng.integers(0, 12, (90, 1)) / 11
    order = rng.permutation(90)
    assert compute_ece(labels[order], values[order], ("Mass",)) == {
        "Mass": pytest.approx(compute_ece(labels, values, ("Mass",))["Mass"])
    }


def test_perfect_probabilities_have_a_small_error_and_inflated_ones_a_large():
    rng = np.random.default_rng(2)
    values = rng.random((20000, 1)) / 5
    labels = rng.random((20000, 1)) < values
    assert compute_ece(labels, values, ("Mass",))["Mass"] < 0.01
    # On average 0.4 is said, 0.1 shown.
    inflated = compute_ece(labels, values * 4, ("Mass",))["Mass"]
    assert inflated == pytest.approx(0.3, abs=0.01)


def test_no_known_label():
    unknown = np.full((3, 1), np.nan)
    curve = compute_reliability(unknown, np.full((3, 1), 0.5), ("Mass",))["Mass"]
    assert curve == {"predicted": [], "observed": [], "images": []}
    with pytest.warns(UserWarning, match="calibration error of Mass is undefined"):
        assert np.isnan(compute_ece(unknown, np.full((3, 1), 0.5), ("Mass",))["Mass"])


@pytest.mark.parametrize("bins, strategy", [(10, "mass"), (0, "uniform")])
def test_unknown_bins(bins, strategy):
    with pytest.raises(ValueError, match="strategy"):
        compute_reliability([[1.0]], [[0.5]], ("Mass",), bins, strategy)
