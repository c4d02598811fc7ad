import numpy as np
import pytest

from keras_mscam.classification import compute_auroc


def test_by_hand():
    # Positives .9 and .3, negatives .5 and .1: of 4 pairs, 3 are in the right order.
    labels = np.array([[1], [1], [0], [0]])
    auroc = compute_auroc(labels, np.array([[0.9], [0.3], [0.5], [0.1]]), ("Mass",))
    assert auroc == {"Mass": 0.75}


def test_equals_counting_pairs():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, (60, 1)), rng.integers(0, 9, (60, 1)) / 8
    positive, negative = scores[labels == 1], scores[labels == 0]
    pairs = positive[:, None] - negative[None]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert compute_auroc(labels, scores, ("Mass",))["Mass"] == pytest.approx(expected)


def test_unknown_labels_are_left_out():
    labels = np.array([[1], [0], [np.nan]])
    auroc = compute_auroc(labels, np.array([[0.9], [0.1], [0.0]]), ("Mass",))
    assert auroc["Mass"] == 1


@pytest.mark.parametrize("labels", [[[0], [0]], [[1], [1]], [[np.nan], [1]]])
def test_one_class_is_undefined(labels):
    with pytest.warns(UserWarning, match="Mass is undefined"):
        auroc = compute_auroc(np.array(labels), np.array([[0.9], [0.1]]), ("Mass",))
    assert np.isnan(auroc["Mass"])
