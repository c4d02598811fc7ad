import numpy as np
import pytest
from sklearn.metrics import f1_score, multilabel_confusion_matrix

from keras_mscam.evaluation.classification import apply_operating_points, compute_rates
from keras_mscam.inference.run_calibration import OperatingPoint


def count(labels, values, thresholds):
    names = tuple(f"column {column}" for column in range(len(thresholds)))
    points = {
        name: OperatingPoint(probability_threshold=threshold)
        for name, threshold in zip(names, thresholds, strict=True)
    }
    return list(apply_operating_points(points, labels, values, names).values())


def test_by_hand():
    labels = [[1], [1], [0], [0], [0], [np.nan]]
    values = [[0.9], [0.1], [0.5], [0.4], [0.6], [0.9]]
    (row,) = count(labels, values, [0.5])
    assert [row[key] for key in ("tn", "fp", "fn", "tp")] == [1, 2, 1, 1]
    assert row["f1"] == pytest.approx(2 / (2 + 2 + 1))


def test_equals_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (70, 4))
    values = rng.integers(0, 11, (70, 4)) / 10
    thresholds = [0.0, 0.3, 0.5, 1.0]
    rows = count(labels, values, thresholds)
    positive = values >= thresholds
    np.testing.assert_array_equal(
        [[[row["tn"], row["fp"]], [row["fn"], row["tp"]]] for row in rows],
        multilabel_confusion_matrix(labels, positive),
    )
    np.testing.assert_allclose(
        [row["f1"] for row in rows], f1_score(labels, positive, average=None)
    )


def test_rates_by_hand():
    rates = compute_rates(np.array([[6, 2], [1, 3]]))
    assert rates == {
        "tn": 6, "fp": 2, "fn": 1, "tp": 3, "sensitivity": 3 / 4,
        "specificity": 6 / 8, "ppv": 3 / 5, "npv": 6 / 7, "f1": 6 / 9,
    }  # fmt: skip


def test_undefined_rates():
    rates = compute_rates(np.zeros((2, 2), int))
    assert [rates[name] for name in ("tn", "fp", "fn", "tp")] == [0, 0, 0, 0]
    assert set(list(rates.values())[4:]) == {None}
    # Only negatives, none called: nothing that F1 speaks of.
    assert compute_rates(np.array([[5, 0], [0, 0]]))["f1"] is None


def test_no_images():
    (row,) = count(np.zeros((0, 1)), np.zeros((0, 1)), [0.5])
    assert [row[key] for key in ("tn", "fp", "fn", "tp")] == [0, 0, 0, 0]
