import numpy as np
import pytest
from sklearn.metrics import f1_score, multilabel_confusion_matrix

from keras_mscam.evaluation.known_labels import (
    compute_confusion,
    compute_f1,
    compute_rates,
)


def test_by_hand():
    labels = [[1], [1], [0], [0], [0], [np.nan]]
    values = [[0.9], [0.1], [0.5], [0.4], [0.6], [0.9]]
    confusion = compute_confusion(labels, values, 0.5)
    assert confusion.tolist() == [[[1, 2], [1, 1]]]
    assert compute_f1(confusion)[0] == pytest.approx(2 / (2 + 2 + 1))


@pytest.mark.parametrize("threshold", [0.4, [0.0, 0.3, 0.5, 1.0]])
def test_equals_scikit_learn(threshold):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (70, 4))
    values = rng.integers(0, 11, (70, 4)) / 10
    confusion = compute_confusion(labels, values, threshold)
    called = values >= threshold
    np.testing.assert_array_equal(
        confusion, multilabel_confusion_matrix(labels, called)
    )
    np.testing.assert_allclose(
        compute_f1(confusion), f1_score(labels, called, average=None)
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
    assert np.isnan(compute_f1(np.array([[[5, 0], [0, 0]]]))).all()


def test_no_images():
    assert compute_confusion(np.zeros((0, 2)), np.zeros((0, 2)), 0.5).sum() == 0


def test_an_undefined_threshold_is_refused():
    with pytest.raises(ValueError, match="threshold"):
        compute_confusion([[1, 0]], [[0.2, 0.3]], [0.5, np.nan])
