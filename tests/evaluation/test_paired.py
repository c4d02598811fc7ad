import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score

from keras_mscam.evaluation.bootstrap import bootstrap_auroc, bootstrap_ratio
from keras_mscam.evaluation.paired import compare_auroc, compare_ratio


def draw_study(seed, patients=80, better=0.0, pathologies=1):
    """Two systems on images that share patient and difficulty; the first is better."""
    rng = np.random.default_rng(seed)
    index = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    shape = (len(index), pathologies)
    labels = (rng.random((patients, pathologies)) < 0.35)[index].astype(float)
    shared = rng.normal(size=(patients, pathologies))[index]
    first, second = (
        labels * (1 + gain) + shared + rng.normal(size=shape) for gain in (better, 0)
    )
    return labels, first, second, index


class TestRatio:
    def test_by_hand(self):
        # Each of four patients has one box; the first system finds all, the other one.
        ones, hits = np.ones(4), np.array([1, 0, 0, 0])
        (row,), mean = compare_ratio((ones, ones), (hits, ones), ["a", "b", "c", "d"])
        assert (row.first, row.second, row.difference) == (1, 0.25, 0.75)
        # b, c and d are exchanged all or none: 2 of 8.
        assert row.p_value == 0.25
        assert mean == row

    def test_values_are_those_of_each_system(self):
        rng = np.random.default_rng(0)
        tops, wholes = rng.integers(0, 3, (2, 50, 2)), rng.integers(3, 5, (2, 50, 2))
        patients = rng.integers(0, 20, 50)
        rows, _ = compare_ratio(
            (tops[0], wholes[0]), (tops[1], wholes[1]), patients, permutations=99
        )
        for system, name in enumerate(["first", "second"]):
            intervals, _ = bootstrap_ratio(tops[system], wholes[system], patients)
            for row, interval in zip(rows, intervals, strict=True):
                assert getattr(row, name) == interval.value

    def test_the_same_patients_are_drawn_for_both(self):
        # The second is always 0.1 lower: no draw can change that.
        rng = np.random.default_rng(0)
        overlaps, ones = rng.random(40), np.ones(40)
        (row,), _ = compare_ratio(
            (overlaps, ones), (overlaps - 0.1, ones), np.arange(40)
        )
        assert (row.low, row.high) == pytest.approx((0.1, 0.1))

    def test_identical_systems(self):
        rng = np.random.default_rng(1)
        hits, ones = rng.integers(0, 2, (30, 2)), np.ones((30, 2))
        rows, mean = compare_ratio((hits, ones), (hits, ones), rng.integers(0, 9, 30))
        for row in [*rows, mean]:
            assert (row.difference, row.low, row.high, row.p_value) == (0, 0, 0, 1)

    def test_images_of_a_patient_say_nothing_new(self):
        rng = np.random.default_rng(2)
        hits, ones = rng.integers(0, 2, (2, 30)), np.ones(30)
        (once,), _ = compare_ratio((hits[0], ones), (hits[1], ones), np.arange(30))
        tenfold, ones = np.repeat(hits, 10, axis=1), np.ones(300)
        (row,), _ = compare_ratio(
            (tenfold[0], ones), (tenfold[1], ones), np.repeat(np.arange(30), 10)
        )
        assert row == once

    def test_mean_is_over_what_both_systems_have(self):
        # All found of the one pathology, none of the other, which the second lacks.
        ones, hits = np.ones((6, 2)), np.tile([1, 0], (6, 1))
        rows, mean = compare_ratio((hits, ones), (0 * hits, hits), range(6))
        assert rows[1].first == 0 and rows[1].second is None
        assert rows[1].difference is None and rows[1].p_value is None
        assert rows[1].reason == "no patient has anything to count"
        assert (mean.first, mean.second, mean.p_value) == (1, 0, rows[0].p_value)

    def test_one_patient(self):
        (row,), mean = compare_ratio(([1, 1], [1, 1]), ([0, 1], [1, 1]), ["a", "a"])
        assert row.difference == 0.5
        assert (row.low, row.high, row.p_value) == (None, None, None)
        assert row.reason == "only one patient has anything to count"
        assert mean.p_value is None

    def test_no_items_and_json(self):
        (row,), mean = compare_ratio(([], []), ([], []), [])
        for item in (row, mean):
            stored = json.loads(json.dumps(asdict(item), allow_nan=False))
            assert stored["difference"] is None and stored["reason"]


class TestRanking:
    def test_values(self):
        labels, first, second, patients = draw_study(0, pathologies=2)
        rows, mean = compare_auroc(labels, first, second, patients, 50)
        for column, row in enumerate(rows):
            truth = labels[:, column]
            assert row.first == pytest.approx(roc_auc_score(truth, first[:, column]))
            assert row.second == pytest.approx(roc_auc_score(truth, second[:, column]))
            assert row.difference == row.first - row.second
        assert mean.difference == pytest.approx(np.mean([r.difference for r in rows]))
        assert mean.low <= mean.difference <= mean.high

    def test_identical_systems(self):
        labels, first, _, patients = draw_study(1)
        # Another scale, the same order.
        (row,), _ = compare_auroc(labels, first, np.exp(first), patients)
        assert (row.difference, row.low, row.high, row.p_value) == (0, 0, 0, 1)

    def test_exchanging_the_systems_turns_the_sign(self):
        labels, first, second, patients = draw_study(2, better=0.3)
        (row,), _ = compare_auroc(labels, first, second, patients)
        (turned,), _ = compare_auroc(labels, second, first, patients)
        assert turned.difference == -row.difference
        assert (turned.low, turned.high) == pytest.approx((-row.high, -row.low))
        assert turned.p_value == row.p_value

    def test_p_value_and_interval_agree(self):
        for seed in range(10):
            labels, first, second, patients = draw_study(seed, better=0.5)
            (row,), _ = compare_auroc(labels, first, second, patients)
            level = 1 - row.p_value
            (wider,), _ = compare_auroc(
                labels, first, second, patients, level=min(level + 0.01, 0.9999)
            )
            (narrower,), _ = compare_auroc(
                labels, first, second, patients, level=max(level - 0.01, 1e-6)
            )
            assert wider.low <= 0
            assert narrower.low > 0 or row.p_value == 1

    def test_unknown_labels_are_left_out(self):
        labels, first, second, patients = draw_study(3)
        unknown = labels.copy()
        unknown[::3] = np.nan
        known = ~np.isnan(unknown[:, 0])
        (row,), _ = compare_auroc(unknown, first, second, patients)
        assert row.first == pytest.approx(roc_auc_score(labels[known], first[known]))

    @pytest.mark.filterwarnings("error")
    def test_undefined(self):
        for labels, patients in (([[0], [0]], "ab"), ([[0], [1]], "aa")):
            (row,), mean = compare_auroc(labels, [[1], [2]], [[2], [1]], list(patients))
            assert row.p_value is None and row.low is None
            assert row.reason and mean.reason
            json.dumps(asdict(row), allow_nan=False)


class TestAgainstTheory:
    def test_spread_is_that_of_delong_for_clustered_data(self):
        """Obuchowski 1997 adds up DeLong's structural components by patient."""
        labels, first, second, patients = draw_study(5, patients=400, better=0.3)
        (row,), _ = compare_auroc(labels, first, second, patients)
        truth = labels[:, 0] == 1
        positives, negatives = truth.sum(), (~truth).sum()
        wins = sum(
            sign * (np.sign(s[truth] - s[~truth].T) + 1) / 2
            for sign, s in ((1, first), (-1, second))
        )
        theta = wins.mean()
        ten, one = np.zeros((2, 400))
        np.add.at(ten, patients[truth], wins.mean(axis=1) - theta)
        np.add.at(one, patients[~truth], wins.mean(axis=0) - theta)
        ten, one = ten / positives, one / negatives
        # Here a patient has either label, so no patient adds to the covariance.
        assert (ten * one == 0).all()
        contributing = [(ten != 0).sum(), (one != 0).sum()]
        factors = [n / (n - 1) for n in contributing]
        variance = factors[0] * (ten**2).sum() + factors[1] * (one**2).sum()
        assert row.difference == pytest.approx(theta)
        width = 2 * 1.96 * np.sqrt(variance)
        assert row.high - row.low == pytest.approx(width, rel=0.1)

    def test_p_values_are_uniform_where_systems_do_not_differ(self):
        p_values = []
        for seed in range(120):
            labels, first, second, patients = draw_study(seed)
            (row,), _ = compare_auroc(labels, first, second, patients, 300)
            p_values.append(row.p_value)
        p_values = np.array(p_values)
        # Of 120, 6 are to be below 0.05, with a deviation of 2.4.
        assert 1 <= (p_values <= 0.05).sum() <= 13
        assert kstest(p_values, "uniform").pvalue > 0.01

    def test_interval_covers_the_true_difference(self):
        # Normal scores, all deviations sqrt 2, classes 1.5 and 1 apart: AUROC is
        # Phi(1.5 / 2) - Phi(1 / 2) = 0.7734 - 0.6915.
        covered = 0
        for seed in range(100):
            labels, first, second, patients = draw_study(seed, better=0.5)
            (row,), _ = compare_auroc(labels, first, second, patients, 300)
            covered += row.low <= 0.0819 <= row.high
        assert 87 <= covered <= 100

    def test_a_real_difference_is_found(self):
        labels, first, second, patients = draw_study(7, patients=300, better=1)
        (row,), _ = compare_auroc(labels, first, second, patients)
        assert row.low > 0
        assert row.p_value == pytest.approx(2 / 1001)
        (alone,), _ = bootstrap_auroc(labels, first, patients)
        assert alone.value == row.first
