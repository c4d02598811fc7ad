import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score

from keras_mscam.evaluation.classification import compute_roc_curve


def make_curve(images, points=200, levels=None):
    rng = np.random.default_rng(0)
    labels = (rng.random((images, 1)) < 0.3).astype(float)
    scores = rng.normal(size=(images, 1)) + labels
    if levels:
        scores = (scores * levels).round()
    curve = compute_roc_curve(labels, scores, ("Mass",), points)["Mass"]
    return labels, scores, curve["false_positive_rate"], curve["true_positive_rate"]


def test_by_hand():
    # From the highest: 1, then 0 and 1 tied, then 0.
    labels, scores = [[1], [0], [1], [0]], [[4], [2], [2], [1]]
    curve = compute_roc_curve(labels, scores, ("Mass",))["Mass"]
    assert curve["false_positive_rate"] == [0, 0, 0.5, 1]
    assert curve["true_positive_rate"] == [0, 0.5, 1, 1]


@pytest.mark.parametrize("levels", [None, 2])
def test_area_below_is_the_auroc(levels):
    labels, scores, false_rate, true_rate = make_curve(150, levels=levels)
    assert auc(false_rate, true_rate) == pytest.approx(roc_auc_score(labels, scores))


@pytest.mark.parametrize("points", [2, 50, 200])
def test_thinned_curve_stays_on_the_whole_one(points):
    _, _, false_rate, true_rate = make_curve(20000, points)
    assert len(false_rate) <= points
    assert (false_rate[0], true_rate[0]) == (0, 0)
    assert (false_rate[-1], true_rate[-1]) == (1, 1)
    assert (np.diff(false_rate) >= 0).all() and (np.diff(true_rate) >= 0).all()
    _, _, whole_false, whole_true = make_curve(20000, 10**6)
    assert {*zip(false_rate, true_rate, strict=True)} <= {
        *zip(whole_false, whole_true, strict=True)
    }
    drawn = np.interp(whole_false, false_rate, true_rate)
    gap = 2 / (points - 1) + 2 / len(whole_false)
    assert np.abs(drawn - whole_true).max() <= gap


def test_constant_scores_are_the_diagonal():
    curve = compute_roc_curve([[0], [1]], [[3], [3]], ("Mass",))["Mass"]
    assert curve["false_positive_rate"] == curve["true_positive_rate"] == [0, 1]


@pytest.mark.parametrize("label", [0, 1, np.nan])
def test_one_class(label):
    assert compute_roc_curve([[label]], [[1]], ("Mass",)) == {"Mass": None}
