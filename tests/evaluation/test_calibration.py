import json
from dataclasses import asdict

import numpy as np
import pydantic
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from keras_mscam.errors import UserError
from keras_mscam.evaluation.calibration import fit_calibration
from keras_mscam.inference.run_calibration import Calibration, calibrate


def draw(images, slope, intercept, seed=0):
    """Logits, and labels drawn with the log odds `slope logit + intercept`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (images, 1))
    labels = (rng.random((images, 1)) < expit(slope * logits + intercept)).astype(float)
    return labels, logits


def fit(labels, logits):
    return fit_calibration(labels, logits, ("Mass",))["Mass"]


class TestFit:
    def test_finds_what_labels_were_drawn_with(self):
        # A balanced loss at 4% prevalence: logits too high by log(0.96 / 0.04) = 3.2.
        calibration = fit(*draw(40000, 0.6, -3.2))
        assert calibration.slope == pytest.approx(0.6, abs=0.03)
        assert calibration.intercept == pytest.approx(-3.2, abs=0.1)
        assert calibration.reason is None
        assert calibration.images == 40000

    @pytest.mark.parametrize(
        "images, scale", [(12, 1), (200, 1), (3000, 1e-9), (99, 1e3)]
    )
    def test_equals_a_general_minimizer(self, images, scale):
        labels, logits = draw(images, 1.5, 0.5, seed=images)

        def loss(numbers):
            odds = numbers[0] * logits + numbers[1]
            return (np.logaddexp(0, odds) - labels * odds).sum()

        slope, intercept = minimize(loss, [1, 0], tol=1e-10).x
        calibration = fit(labels, logits * scale)
        assert calibration.slope * scale == pytest.approx(slope, rel=1e-3)
        assert calibration.intercept == pytest.approx(intercept, rel=1e-3, abs=1e-3)

    @pytest.mark.parametrize("seed", range(5))
    def test_the_score_equations_hold(self, seed):
        # At the maximum residuals have mean 0 and don't go along with the logits.
        labels, logits = draw(300, 0.7, -2, seed)
        residuals = fit(labels, logits).apply(logits) - labels
        assert residuals.mean() == pytest.approx(0, abs=1e-6)
        assert (residuals * logits).mean() == pytest.approx(0, abs=1e-6)

    def test_order_of_images_is_kept(self):
        labels, logits = draw(300, 0.7, -2)
        probabilities = fit(labels, logits).apply(logits)
        before = roc_auc_score(labels, logits)
        assert roc_auc_score(labels, probabilities) == before

    def test_shift_of_logits_changes_nothing(self):
        labels, logits = draw(300, 0.7, -2)
        moved = fit(labels, 3 * logits + 5).apply(3 * logits + 5)
        np.testing.assert_allclose(moved, fit(labels, logits).apply(logits), atol=1e-6)

    def test_unknown_labels_are_left_out(self):
        labels, logits = draw(300, 0.7, -2)
        more = np.concatenate([labels, np.full((50, 1), np.nan)])
        assert fit(more, np.concatenate([logits, logits[:50] + 99])) == fit(
            labels, logits
        )

    def test_classes_that_overlap_in_one_pair_have_a_finite_slope(self):
        logits = np.arange(100.0)[:, None]
        labels = (logits > 50).astype(float)
        labels[[50, 51]] = labels[[51, 50]]
        calibration = fit(labels, logits)
        assert calibration.reason is None
        assert 0 < calibration.slope < 10


class TestFallBack:
    @pytest.mark.parametrize(
        "labels, logits, word",
        [
            ([0, 0, 1], [-1, 0, 4], "parts"),
            ([0, 0, 1, 1], [-1, 2, 2, 4], "parts"),  # apart but for a tie
            ([1, 1, 0], [-1, 0, 4], "parts"),
            ([0, 1, 0, 1], [3, 3, 3, 3], "equal"),
            ([1, 0, 1, 0], [0, 1, 2, 3], "no higher"),
        ],
    )
    def test_intercept_alone_matches_the_prevalence(self, labels, logits, word):
        labels, logits = np.array([labels], float).T, np.array([logits], float).T
        calibration = fit(labels, logits)
        assert calibration.slope == 1
        assert word in calibration.reason
        assert calibration.apply(logits).mean() == pytest.approx(labels.mean())

    @pytest.mark.filterwarnings("error")
    def test_far_logits(self):
        # exp(-1000) is 0 in double precision.
        labels, logits = np.array([[0, 1.0, 1]]).T, np.array([[-1000.0, 1000, 1000]]).T
        calibration = fit(labels, logits)
        assert np.isfinite(calibration.intercept)
        assert calibration.apply(logits).mean() == pytest.approx(2 / 3)

    @pytest.mark.parametrize("label, word", [(0, "none"), (1, "all"), (np.nan, "no ")])
    def test_one_class_is_not_calibrated(self, label, word):
        calibration = fit([[label]] * 3, [[1], [2], [3]])
        assert (calibration.slope, calibration.intercept) == (1, 0)
        assert f"not calibrated: {word}" in calibration.reason

    def test_a_diverged_model_is_refused(self):
        with pytest.raises(UserError, match="diverged"):
            fit([[0], [1]], [[np.nan], [1]])


class TestStoring:
    def test_round_trip(self):
        for calibration in (fit(*draw(50, 1, -1)), fit([[0]], [[1]])):
            stored = json.loads(json.dumps(asdict(calibration), allow_nan=False))
            assert Calibration(**stored) == calibration

    @pytest.mark.parametrize(
        "content",
        [{"slope": 0}, {"slope": -1}, {"slope": np.inf}, {"intercept": np.nan},
         {"slop": 1}, {"slope": "steep"}, {"slope": None}],
    )  # fmt: skip
    def test_damaged(self, content):
        with pytest.raises(pydantic.ValidationError):
            Calibration(**content)


def test_a_table_is_calibrated_column_by_column():
    calibrations = {"Nodule": Calibration(2.0, 1.0), "Mass": Calibration()}
    table = calibrate(calibrations, [[0.0, -0.5], [1.0, 0.0]], ("Mass", "Nodule"))
    np.testing.assert_allclose(table, expit([[0.0, 0.0], [1.0, 1.0]]))
    assert calibrate(calibrations, np.zeros((0, 2)), ("Mass", "Nodule")).shape == (0, 2)
    with pytest.raises(ValueError):
        calibrate(calibrations, [[0.0]], ("Mass", "Nodule"))
