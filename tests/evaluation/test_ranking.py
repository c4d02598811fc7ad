import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from keras_mscam.evaluation.resampling import Ranking


@pytest.mark.parametrize("levels", [1, 2, 5, 10**6])
@pytest.mark.parametrize("prevalence", [0.1, 0.5, 0.9])
def test_equals_scikit_learn_with_weights(levels, prevalence):
    rng = np.random.default_rng(levels)
    truth = rng.random(80) < prevalence
    truth[:2] = False, True
    scores = rng.integers(0, levels, 80) + rng.integers(0, 2, 80) * truth
    index = rng.integers(0, 30, 80)
    index[:2] = 0, 1
    weights = rng.integers(0, 4, (30, 40)).astype(float)
    weights[:2] = 1  # both classes in every weighting
    ranking = Ranking(truth, scores, index, 30)
    auroc, auprc = ranking.compute_auroc(weights), ranking.compute_auprc(weights)
    for column in range(40):
        of_images = weights[index, column]
        expected = roc_auc_score(truth, scores, sample_weight=of_images)
        assert auroc[column] == pytest.approx(expected, abs=1e-12)
        expected = average_precision_score(truth, scores, sample_weight=of_images)
        assert auprc[column] == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("truth", [[False, False], [True, True], []])
def test_one_class_is_undefined(truth):
    count = len(truth)
    ranking = Ranking(np.array(truth, bool), np.arange(count), np.arange(count), 2)
    assert np.isnan(ranking.compute_auroc(np.ones((2, 3)))).all()
    assert np.isnan(ranking.compute_auprc(np.ones((2, 3)))).all()


@pytest.mark.filterwarnings("error")
def test_a_class_that_was_not_drawn_is_undefined():
    ranking = Ranking(np.array([True, False]), np.array([1, 0]), np.array([0, 1]), 2)
    weights = np.array([[2.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    assert ranking.compute_auroc(weights).tolist()[2] == 1
    assert np.isnan(ranking.compute_auroc(weights)).tolist() == [True, True, False]
    assert np.isnan(ranking.compute_auprc(weights)).tolist() == [True, True, False]


def test_equal_rankings_are_exactly_equal():
    rng = np.random.default_rng(0)
    truth, scores = rng.random(500) < 0.1, rng.normal(size=500)
    weights = rng.integers(0, 5, (500, 50)).astype(float)
    one = Ranking(truth, scores, np.arange(500), 500).compute_auroc(weights)
    other = Ranking(truth, np.exp(scores), np.arange(500), 500).compute_auroc(weights)
    np.testing.assert_array_equal(one, other)
