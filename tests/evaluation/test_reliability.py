import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from keras_mscam.evaluation.classification import (
    compute_classification,
    compute_reliability,
)


def bin_column(labels, values):
    return compute_reliability(labels, values, ("Mass",))["Mass"]


def measure_ece(labels, values):
    return compute_classification(labels, values, ("Mass",))["Mass"]["ece"]


@pytest.fixture
def random_column():
    rng = np.random.default_rng(0)
    values = rng.beta(0.5, 4, (500, 1))
    return (rng.random((500, 1)) < values**1.3).astype(float), values


def test_by_hand():
    # Two values in 20 images: two bins. Right edges belong to a bin.
    labels = np.reshape([0] * 9 + [1] + [0] * 5 + [1] * 5, (20, 1))
    values = np.repeat([[0.25], [0.75]], 10, axis=0)
    curve = bin_column(labels, values)
    assert curve == {"predicted": [0.25, 0.75], "observed": [0.1, 0.5],
                     "images": [10, 10]}  # fmt: skip
    # 1/2 |0.1 - 0.25| + 1/2 |0.5 - 0.75|
    assert measure_ece(labels, values) == pytest.approx(0.2)


@pytest.mark.parametrize("decimals", [1, 2, 15])
def test_equals_scikit_learn(random_column, decimals):
    labels, values = random_column[0], random_column[1].round(decimals)
    curve = bin_column(labels, values)
    observed, predicted = calibration_curve(
        labels.ravel(), values.ravel(), n_bins=10, strategy="quantile"
    )
    assert curve["observed"] == pytest.approx(observed)
    assert curve["predicted"] == pytest.approx(predicted)
    assert sum(curve["images"]) == len(labels)


def test_error_equals_a_loop_over_bins(random_column):
    order = np.argsort(random_column[1].ravel())
    labels, values = (table.ravel()[order] for table in random_column)
    gaps = [
        abs(labels[k : k + 50].mean() - values[k : k + 50].mean())
        for k in range(0, 500, 50)
    ]
    assert measure_ece(*random_column) == pytest.approx(np.mean(gaps))


def test_bins_of_equal_mass(random_column):
    assert bin_column(*random_column)["images"] == [50] * 10


def test_equal_probabilities_are_never_separated():
    labels, values = np.tile([[0.0], [1.0]], (50, 1)), np.full((100, 1), 0.3)
    assert bin_column(labels, values)["images"] == [100]
    assert measure_ece(labels, values) == pytest.approx(0.2)


def test_order_of_images_does_not_count():
    rng = np.random.default_rng(1)
    labels, values = rng.integers(0, 2, (90, 1)), rng.integers(0, 12, (90, 1)) / 11
    order = rng.permutation(90)
    assert measure_ece(labels[order], values[order]) == pytest.approx(
        measure_ece(labels, values)
    )


def test_perfect_probabilities_have_a_small_error_and_inflated_ones_a_large():
    rng = np.random.default_rng(2)
    values = rng.random((20000, 1)) / 5
    labels = rng.random((20000, 1)) < values
    assert measure_ece(labels, values) < 0.01
    # On average 0.4 is said, 0.1 shown.
    assert measure_ece(labels, values * 4) == pytest.approx(0.3, abs=0.01)


def test_no_known_label():
    unknown = np.full((3, 1), np.nan)
    curve = bin_column(unknown, np.full((3, 1), 0.5))
    assert curve == {"predicted": [], "observed": [], "images": []}
    assert measure_ece(unknown, np.full((3, 1), 0.5)) is None
