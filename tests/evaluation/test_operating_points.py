import json
from dataclasses import asdict

import numpy as np
import pydantic
import pytest
from sklearn.metrics import f1_score, roc_curve

from keras_mscam.evaluation.calibration import choose_operating_points
from keras_mscam.evaluation.classification import apply_operating_points
from keras_mscam.inference.run_calibration import OperatingPoint


def choose(labels, values):
    labels, values = np.reshape(labels, (-1, 1)), np.reshape(values, (-1, 1))
    return choose_operating_points(labels, values, ("Mass",))["Mass"]


def draw(seed, levels=13, images=50):
    rng = np.random.default_rng(seed)
    labels = (rng.random(images) < 0.4).astype(float)
    labels[:2] = 0, 1
    return labels, np.clip(rng.integers(0, levels, images) + 2 * labels, 0, 14) / 14


class TestChoice:
    def test_youden_by_hand(self):
        # From 0.6 on: both positives, one of three negatives: J = 1 + 2/3 - 1.
        point = choose([1, 0, 1, 0, 0], [0.9, 0.7, 0.6, 0.4, 0.2])
        assert point.probability_threshold == pytest.approx(0.5)
        assert point.sensitivity == 1
        assert point.specificity == pytest.approx(2 / 3)
        assert point.ppv == pytest.approx(2 / 3)
        assert point.f1 == pytest.approx(0.8)
        assert (point.images, point.positives, point.reason) == (5, 2, None)

    @pytest.mark.parametrize("seed", range(20))
    def test_equals_trying_every_threshold(self, seed):
        labels, values = draw(seed)

        def judge(threshold):
            called = values >= threshold
            return called[labels == 1].mean() - called[labels == 0].mean()

        thresholds = np.unique(values)
        judged = np.array([judge(threshold) for threshold in thresholds])
        point = choose(labels, values)
        best = thresholds[np.isclose(judged, judged.max(), atol=1e-12)].max()
        called = values >= point.probability_threshold
        np.testing.assert_array_equal(called, values >= best)
        assert point.sensitivity == called[labels == 1].mean()
        assert point.specificity == pytest.approx(1 - called[labels == 0].mean())
        assert point.ppv == labels[called].mean()
        assert point.f1 == pytest.approx(f1_score(labels, called))

    def test_youden_equals_scikit_learn_without_ties(self):
        rng = np.random.default_rng(0)
        labels = (rng.random(999) < 0.2).astype(float)
        values = 1 / (1 + np.exp(-rng.normal(size=999) - labels))
        false_rate, true_rate, _ = roc_curve(labels, values)
        point = choose(labels, values)
        youden = point.sensitivity + point.specificity - 1
        assert youden == pytest.approx((true_rate - false_rate).max())

    def test_of_equally_good_thresholds_the_highest(self):
        # J is 1/2 from 0.8 on (1 of 2 positives) and from 0.4 on (1 of 2 others too).
        point = choose([1, 0, 1, 0], [0.8, 0.6, 0.4, 0.2])
        assert point.probability_threshold == pytest.approx(0.7)
        assert (point.sensitivity, point.specificity) == (0.5, 1)

    def test_unknown_labels_are_left_out(self):
        labels, values = draw(3)
        more = choose([*labels, np.nan], [*values, 0.5])
        assert more == choose(labels, values)

    def test_neighbouring_floats(self):
        low = 0.5
        point = choose([0, 1], [low, np.nextafter(low, 1)])
        assert low < point.probability_threshold <= np.nextafter(low, 1)
        assert (point.sensitivity, point.specificity) == (1, 1)

    @pytest.mark.parametrize("values", [[0.3] * 4, [0.1, 0.2, 0.8, 0.9]])
    def test_no_better_than_chance(self, values):
        point = choose([1, 1, 0, 0], values)
        assert point.probability_threshold is None
        assert point.reason == "no threshold is better than chance"

    @pytest.mark.parametrize("label", [0, 1, np.nan])
    def test_one_class(self, label):
        point = choose([label] * 3, [0.1, 0.2, 0.3])
        assert point.probability_threshold is None and point.sensitivity is None
        assert "known label" in point.reason

    def test_refused(self):
        with pytest.raises(ValueError):
            choose([0, 1], [0.1, 2.0])


class TestApplying:
    def test_on_the_images_they_were_chosen_on(self):
        labels, values = (column[:, None] for column in draw(4))
        points = choose_operating_points(labels, values, ("Mass",))
        row = apply_operating_points(points, labels, values, ("Mass",))["Mass"]
        assert row["sensitivity"] == points["Mass"].sensitivity
        assert row["specificity"] == points["Mass"].specificity
        assert row["ppv"] == points["Mass"].ppv
        assert row["tp"] + row["fp"] + row["fn"] + row["tn"] == len(labels)

    def test_without_threshold(self):
        points = {"Mass": OperatingPoint(0.5), "Hernia": OperatingPoint(reason="none")}
        rows = apply_operating_points(
            points, [[0, 1], [1, 0]], [[0.5, 0.9], [0.7, 0.1]], ("Mass", "Hernia")
        )
        assert rows["Mass"]["fp"] == rows["Mass"]["tp"] == 1
        assert rows["Hernia"].pop("reason") == "none"
        assert set(rows["Hernia"].values()) == {None}
        assert list(rows["Hernia"]) == [k for k in rows["Mass"] if k != "reason"]


class TestStoring:
    def test_round_trip(self):
        for point in (choose(*draw(0)), choose([0], [0.1])):
            stored = json.loads(json.dumps(asdict(point), allow_nan=False))
            assert OperatingPoint(**stored) == point

    @pytest.mark.parametrize(
        "content",
        [
            {"probability_threshold": 2},
            {"ppv": -1},
            {"f1": np.nan},
            {"threshold": 0.5},
        ],
    )
    def test_damaged(self, content):
        with pytest.raises(pydantic.ValidationError):
            OperatingPoint(**content)
