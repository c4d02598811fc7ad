import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss

from keras_mscam.errors import UserError
from keras_mscam.evaluation.classification import compute_classification


def make_column(seed, images=60, levels=9):
    """Random labels, both classes among them, and scores with ties in [0, 1]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (images, 1)).astype(float)
    labels[:2, 0] = 0, 1
    return labels, rng.integers(0, levels, (images, 1)) / max(levels - 1, 1)


def measure(labels, values):
    return compute_classification(labels, values, ("Mass",))["Mass"]


class TestAuroc:
    def test_by_hand(self):
        # Positives .9 and .3, negatives .5 and .1: of 4 pairs, 3 are in order.
        row = measure([[1], [1], [0], [0]], [[0.9], [0.3], [0.5], [0.1]])
        assert row["auroc"] == 0.75

    def test_equals_counting_pairs(self):
        labels, scores = make_column(0)
        positive, negative = scores[labels == 1], scores[labels == 0]
        pairs = positive[:, None] - negative[None]
        expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
        assert measure(labels, scores)["auroc"] == pytest.approx(expected)

    @pytest.mark.parametrize("score", [0.0, np.nan])
    def test_unknown_labels_are_left_out(self, score):
        row = measure([[1], [0], [np.nan]], [[0.9], [0.1], [score]])
        assert (row["auroc"], row["images"]) == (1, 2)

    def test_constant_scores_are_chance(self):
        assert measure(*make_column(0, levels=1))["auroc"] == 0.5


class TestAuprc:
    def test_by_hand(self):
        # From the highest: 1 (precision 1/1), 0, 1 (2/3), 0. Half of the recall each.
        row = measure([[1], [1], [0], [0]], [[0.9], [0.3], [0.5], [0.1]])
        assert row["auprc"] == pytest.approx((1 + 2 / 3) / 2)

    @pytest.mark.parametrize("seed", range(5))
    def test_equals_a_loop_over_thresholds(self, seed):
        labels, scores = make_column(seed)
        expected, recall = 0, 0
        for threshold in sorted(set(scores.ravel()), reverse=True):
            called = scores >= threshold
            precision = labels[called].mean()
            expected += (labels[called].sum() / labels.sum() - recall) * precision
            recall = labels[called].sum() / labels.sum()
        assert measure(labels, scores)["auprc"] == pytest.approx(expected)

    def test_constant_scores_give_the_prevalence(self):
        labels, scores = make_column(0, levels=1)
        assert measure(labels, scores)["auprc"] == pytest.approx(labels.mean())


class TestBrier:
    def test_by_hand(self):
        # (0.1^2 + 0.7^2 + 0.5^2) / 3
        row = measure([[1], [1], [0]], [[0.9], [0.3], [0.5]])
        assert row["brier"] == pytest.approx(0.25)

    @pytest.mark.parametrize("value", [-0.1, 1.1])
    def test_logits_are_refused(self, value):
        with pytest.raises(ValueError, match="logits"):
            measure([[1.0]], [[value]])


class TestClassification:
    def test_each_column_by_itself(self):
        rng = np.random.default_rng(2)
        labels = rng.choice([0, 1, np.nan], (80, 3), p=[0.5, 0.3, 0.2])
        values = rng.random((80, 3))
        rows = compute_classification(labels, values, ("Mass", "Nodule", "Hernia"))
        for column, row in enumerate(rows.values()):
            known = ~np.isnan(labels[:, column])
            truth, scores = labels[known, column], values[known, column]
            assert row["images"] == known.sum()
            assert row["positives"] == truth.sum()
            assert row["prevalence"] == pytest.approx(truth.mean())
            expected = average_precision_score(truth, scores)
            assert row["auprc"] == pytest.approx(expected)
            assert row["brier"] == pytest.approx(brier_score_loss(truth, scores))
            assert row["reason"] is None

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("label, word", [(0, "none"), (1, "all"), (np.nan, "no")])
    def test_undefined_is_null_with_a_reason(self, label, word):
        rows = compute_classification([[label]] * 2, [[0.25]] * 2, ("Mass",))
        row = json.loads(json.dumps(rows, allow_nan=False))["Mass"]
        assert row["auroc"] is None and row["auprc"] is None
        assert row["reason"].startswith(word)
        # One class still says how far probabilities are off.
        brier = {0: 0.0625, 1: 0.5625}.get(label)
        assert row["brier"] == brier
        assert row["ece"] == {0: 0.25, 1: 0.75}.get(label)

    def test_no_images(self):
        row = compute_classification(np.zeros((0, 1)), np.zeros((0, 1)), ("Mass",))
        assert row["Mass"]["images"] == 0
        assert row["Mass"]["reason"] == "no image has a known label"


class TestWhatIsRefused:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_diverged_model(self, value):
        with pytest.raises(UserError, match="1 of 2 predictions of Mass are infinite"):
            measure([[0], [1]], [[0.1], [value]])

    @pytest.mark.parametrize(
        "labels, values, names",
        [
            ([[0], [1]], [[0.1]], ("Mass",)),
            ([0, 1], [0.1, 0.2], ("Mass",)),
            ([[0], [1]], [[0.1], [0.2]], ("Mass", "Nodule")),
            ([[-1], [1]], [[0.1], [0.2]], ("Mass",)),
        ],
    )
    def test_tables_that_do_not_fit(self, labels, values, names):
        with pytest.raises(ValueError):
            compute_classification(labels, values, names)
