import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from keras_mscam.errors import UserError
from keras_mscam.evaluation.bootstrap import (
    Ranking,
    bootstrap_auroc,
    bootstrap_ratio,
    resample_auroc,
    sum_by_patient,
)


def draw_images(seed, count=30, pathologies=3):
    """Patients of one to four images, labels with unknown ones, scores with ties."""
    rng = np.random.default_rng(seed)
    patients = np.repeat([f"p{p}" for p in range(count)], rng.integers(1, 5, count))
    shape = (len(patients), pathologies)
    labels = rng.choice([0, 1, np.nan], shape, p=[0.5, 0.4, 0.1])
    scores = rng.integers(0, 9, shape) + 2 * np.nan_to_num(labels)
    return labels, scores, patients


def repeat_images(patients, resamples, seed):
    """Yield the rows of each resample, written out: the definition."""
    names, index = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(seed)
    for sample in rng.integers(0, len(names), (resamples, len(names))):
        yield np.concatenate([np.flatnonzero(index == patient) for patient in sample])


def check(interval, value, samples, level=0.95):
    samples = np.array([sample for sample in samples if sample is not None])
    assert interval.value == pytest.approx(value)
    tail = 50 * (1 - level)
    assert interval.low == pytest.approx(np.percentile(samples, tail))
    assert interval.high == pytest.approx(np.percentile(samples, 100 - tail))


class TestRatio:
    def test_by_hand(self):
        # One patient found both boxes, the other none of two: drawn are a a (1), a b
        # (1/2, half of the resamples) and b b (0), so the quartiles are 0 or 1/2 or 1.
        hits, boxes, patients = [1, 1, 0, 0], [1, 1, 1, 1], ["a", "a", "b", "b"]
        (interval,), mean = bootstrap_ratio(hits, boxes, patients, level=0.2)
        assert (interval.value, interval.low, interval.high) == (0.5, 0.5, 0.5)
        (interval,), mean = bootstrap_ratio(hits, boxes, patients, level=0.9)
        assert (interval.low, interval.high) == (0, 1)
        assert mean == interval

    @pytest.mark.parametrize("level", [0.5, 0.95])
    def test_equals_writing_resamples_out(self, level):
        rng = np.random.default_rng(0)
        patients = rng.integers(0, 9, 40)
        tops, wholes = rng.random((40, 3)), rng.integers(0, 2, (40, 3))
        tops, wholes[:, 2] = tops * wholes, patients < 2  # undefined now and then
        intervals, mean = bootstrap_ratio(tops, wholes, patients, 200, 5, level)
        drawn = [
            [
                tops[rows, m].sum() / wholes[rows, m].sum()
                if wholes[rows, m].any()
                else None
                for m in range(3)
            ]
            for rows in repeat_images(patients, 200, 5)
        ]
        values = tops.sum(0) / wholes.sum(0)
        for m, interval in enumerate(intervals):
            check(interval, values[m], [row[m] for row in drawn], level)
        assert any(row[2] is None for row in drawn)
        means = [None if None in row else np.mean(row) for row in drawn]
        check(mean, values.mean(), means, level)

    def test_images_of_a_patient_say_nothing_new(self):
        # The same image ten times over: were images drawn, intervals would shrink.
        rng = np.random.default_rng(1)
        hits, patients = rng.integers(0, 2, 50), np.arange(50)
        once, _ = bootstrap_ratio(hits, np.ones(50), patients)
        tenfold, _ = bootstrap_ratio(
            np.repeat(hits, 10), np.ones(500), np.repeat(patients, 10)
        )
        assert (tenfold[0].low, tenfold[0].high) == pytest.approx(
            (once[0].low, once[0].high)
        )

    def test_order_of_items_does_not_count(self):
        rng = np.random.default_rng(2)
        hits, patients = rng.integers(0, 2, 60), rng.integers(0, 20, 60)
        order = rng.permutation(60)
        one = bootstrap_ratio(hits, np.ones(60), patients)
        assert bootstrap_ratio(hits[order], np.ones(60), patients[order]) == one

    def test_seed_and_level(self):
        overlaps, patients = np.linspace(0, 1, 90), np.arange(90)
        (one,), _ = bootstrap_ratio(overlaps, np.ones(90), patients)
        assert bootstrap_ratio(overlaps, np.ones(90), patients)[0] == [one]
        (other,), _ = bootstrap_ratio(overlaps, np.ones(90), patients, seed=1)
        assert other != one
        (wider,), _ = bootstrap_ratio(overlaps, np.ones(90), patients, level=0.99)
        assert wider.low < one.low < one.value < one.high < wider.high
        # Uniform on [0, 1]: the mean of 90 has deviation sqrt(1 / 12 / 90) = 0.0304.
        assert one.high - one.low == pytest.approx(2 * 1.96 * 0.0304, rel=0.1)

    def test_one_patient_has_no_interval(self):
        (interval,), mean = bootstrap_ratio([1, 0], [1, 1], ["a", "a"])
        assert (interval.value, interval.low, interval.high) == (0.5, None, None)
        assert interval.reason == "only one patient has anything to count"
        assert mean.low is None and interval.reason in mean.reason

    def test_only_one_of_many_patients_counts(self):
        wholes = [[1, 0], [1, 0], [1, 1]]
        (_, interval), mean = bootstrap_ratio(wholes, wholes, ["a", "b", "c"])
        assert interval.value == 1 and interval.low is None
        assert mean.value == 1 and mean.low is None

    @pytest.mark.filterwarnings("error")
    def test_nothing_to_divide_by(self):
        (one, none), mean = bootstrap_ratio(
            [[1, 0], [0, 0]], [[1, 0], [1, 0]], ["a", "b"]
        )
        assert none.value is None and none.low is None
        assert none.reason == "no patient has anything to count"
        # The mean is that of the metrics that there are.
        assert (mean.value, mean.low, mean.reason) == (one.value, one.low, None)

    @pytest.mark.filterwarnings("error")
    def test_no_items(self):
        (interval,), mean = bootstrap_ratio([], [], [])
        assert interval.value is None and mean.value is None
        assert mean.reason == "none of the metrics is defined"
        assert bootstrap_ratio(np.zeros((0, 0)), np.zeros((0, 0)), [])[0] == []

    @pytest.mark.parametrize(
        "tops, wholes, patients, arguments",
        [
            ([1, 1], [1], ["a", "b"], {}),
            ([1, 1], [1, 1], ["a"], {}),
            ([np.nan, 1], [1, 1], ["a", "b"], {}),
            ([1, 1], [-1, 1], ["a", "b"], {}),
            ([1, 1], [1, 1], ["a", "b"], {"level": 95}),
        ],
    )
    def test_refused(self, tops, wholes, patients, arguments):
        with pytest.raises(ValueError):
            bootstrap_ratio(tops, wholes, patients, **arguments)


class TestRanking:
    @pytest.mark.parametrize("count", [4, 30])
    def test_equals_writing_resamples_out(self, count):
        labels, scores, patients = draw_images(count, count)
        intervals, mean = bootstrap_auroc(labels, scores, patients, 100, 3)

        def judge(rows, column):
            known = rows[~np.isnan(labels[rows, column])]
            truth = labels[known, column]
            if len(np.unique(truth)) < 2:
                return None
            return roc_auc_score(truth, scores[known, column])

        everyone = np.arange(len(patients))
        values = [judge(everyone, column) for column in range(3)]
        drawn = [
            [judge(rows, column) for column in range(3)]
            for rows in repeat_images(patients, 100, 3)
        ]
        for column, interval in enumerate(intervals):
            check(interval, values[column], [row[column] for row in drawn])
        means = [None if None in row else np.mean(row) for row in drawn]
        check(mean, np.mean(values), means)

    def test_resamples_without_a_class_are_left_out(self):
        # Positives in 2 of 20 patients: none of them in (18/20)^20 = 12% of resamples.
        labels = np.zeros((20, 1))
        labels[:2] = 1
        given = labels, np.arange(20)[:, None], np.arange(20)
        samples = resample_auroc(*given, resamples=1000, seed=0).samples
        assert np.isnan(samples).mean() == pytest.approx(0.12, abs=0.03)
        (interval,), _ = bootstrap_auroc(*given)
        assert interval.reason is None

    @pytest.mark.parametrize("label, word", [(0, "none"), (1, "all"), (np.nan, "no ")])
    def test_one_class(self, label, word):
        labels = np.column_stack([np.full(6, label), [0, 1, 0, 1, 0, 1]])
        scores = np.arange(12).reshape(6, 2)
        (undefined, other), mean = bootstrap_auroc(labels, scores, np.arange(6))
        assert (undefined.value, undefined.low, undefined.high) == (None, None, None)
        assert undefined.reason.startswith(word)
        assert mean.value == other.value

    @pytest.mark.parametrize("flip", [0, 1])
    def test_a_class_of_one_patient_has_no_interval(self, flip):
        labels = np.abs(np.array([[1], [1], [0], [0]]) - flip)
        scores, patients = [[3], [2], [1], [0]], ["a", "a", "b", "c"]
        (interval,), _ = bootstrap_auroc(labels, scores, patients)
        assert interval.value == 1 - flip
        assert interval.low is None
        assert "only one patient" in interval.reason

    def test_constant_scores(self):
        labels = np.array([[0, 1] * 10]).T
        (interval,), _ = bootstrap_auroc(labels, np.ones((20, 1)), np.arange(20))
        assert (interval.value, interval.low, interval.high) == (0.5, 0.5, 0.5)

    def test_refused(self):
        with pytest.raises(ValueError, match="1 patients for 2 images"):
            bootstrap_auroc([[0], [1]], [[0], [1]], ["a"])
        with pytest.raises(UserError, match="diverged"):
            bootstrap_auroc([[0], [1]], [[0], [np.inf]], ["a", "b"])


class TestCoverage:
    """How many of many simulated studies have the truth in their 95% interval.

    Of 100 studies 95% are 95, with a deviation of 2.2; percentile intervals of few
    patients are known to be a little narrow.
    """

    def simulate_hits(self, rng):
        # Images of a patient are much alike: nearly all hits or nearly none.
        patients = np.repeat(np.arange(60), rng.integers(1, 9, 60))
        chance = rng.beta(0.25, 0.25, 60)  # mean 1/2
        return rng.random(len(patients)) < chance[patients], patients

    def test_ratio(self):
        covered = covered_by_images = 0
        for seed in range(100):
            hits, patients = self.simulate_hits(np.random.default_rng(seed))
            ones = np.ones(len(hits))
            (interval,), _ = bootstrap_ratio(hits, ones, patients, 300)
            covered += interval.low <= 0.5 <= interval.high
            (naive,), _ = bootstrap_ratio(hits, ones, np.arange(len(hits)), 300)
            covered_by_images += naive.low <= 0.5 <= naive.high
        assert 88 <= covered <= 100
        # Drawing images instead of patients claims to know too much.
        # 5 images of a patient count as 5 / (1 + 2/3 (5 - 1)) = 1.4, not as 5, and
        # larger patients count for more: the interval is half as wide as it should be.
        assert covered_by_images < 75

    def test_auroc(self):
        # Normal scores one deviation apart: AUROC = Phi(1 / sqrt 2) = 0.760.
        covered = 0
        for seed in range(100):
            rng = np.random.default_rng(seed)
            patients = np.repeat(np.arange(100), 2)
            labels = (rng.random(100) < 0.3)[patients, None]
            own = rng.normal(size=(100, 1))[patients]
            noise = (own + rng.normal(size=(200, 1))) / np.sqrt(2)
            (interval,), _ = bootstrap_auroc(labels, labels + noise, patients, 300)
            covered += interval.low <= 0.7602 <= interval.high
        assert 87 <= covered <= 100


class TestRankingOfWeights:
    @pytest.mark.parametrize("steps", [1, 2, 5, 10**6])
    @pytest.mark.parametrize("prevalence", [0.1, 0.5, 0.9])
    def test_equals_scikit_learn_with_weights(self, steps, prevalence):
        rng = np.random.default_rng(steps)
        truth = rng.random(80) < prevalence
        truth[:2] = False, True
        scores = rng.integers(0, steps, 80) + rng.integers(0, 2, 80) * truth
        index = rng.integers(0, 30, 80)
        index[:2] = 0, 1
        weights = rng.integers(0, 4, (30, 40)).astype(float)
        weights[:2] = 1  # both classes in every weighting
        auroc = Ranking(truth, scores, index, 30).compute_auroc(weights)
        for column in range(40):
            of_images = weights[index, column]
            expected = roc_auc_score(truth, scores, sample_weight=of_images)
            assert auroc[column] == pytest.approx(expected, abs=1e-12)

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("truth", [[False, False], [True, True], []])
    def test_one_class_is_undefined(self, truth):
        count = len(truth)
        ranking = Ranking(np.array(truth, bool), np.arange(count), np.arange(count), 2)
        assert np.isnan(ranking.compute_auroc(np.ones((2, 3)))).all()

    def test_equal_rankings_are_exactly_equal(self):
        rng = np.random.default_rng(0)
        truth, scores = rng.random(500) < 0.1, rng.normal(size=500)
        weights = rng.integers(0, 5, (500, 50)).astype(float)
        one, other = (
            Ranking(truth, values, np.arange(500), 500).compute_auroc(weights)
            for values in (scores, np.exp(scores))
        )
        np.testing.assert_array_equal(one, other)


class TestPatients:
    def test_sums_do_not_depend_on_the_order_of_items(self):
        tops, wholes = np.array([1.0, 2, 3, 4]), np.ones(4)
        patients = np.array(["b", "a", "c", "a"])
        sums = sum_by_patient(tops, wholes, patients)
        assert [table.ravel().tolist() for table in sums] == [[6, 1, 3], [2, 1, 1]]
        order = [3, 2, 0, 1]
        turned = sum_by_patient(tops[order], wholes, patients[order])
        np.testing.assert_array_equal(turned, sums)

    def test_samples_do_not_depend_on_batches(self, monkeypatch):
        labels, scores, patients = draw_images(3)
        whole = bootstrap_auroc(labels, scores, patients, 50)
        monkeypatch.setattr("keras_mscam.evaluation.bootstrap.CELLS", 7 * len(labels))
        assert bootstrap_auroc(labels, scores, patients, 50) == whole
