"""What validation decides: from logits to probabilities, and operating points."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from keras_mscam.errors import DiskError, UserError
from keras_mscam.evaluation.classification import compute_rates
from keras_mscam.evaluation.known_labels import (
    check_probabilities,
    explain_one_class,
    take_known,
)
from keras_mscam.evaluation.split_outputs import Predictions, predict_split
from keras_mscam.files import compute_checksum
from keras_mscam.inference.run_calibration import (
    Calibration,
    OperatingPoint,
    RunCalibration,
    calibrate,
    find_calibration,
    write_calibration,
)
from keras_mscam.inference.run_folder import Run, is_prepared
from keras_mscam.localization.fusion import measure_deviations


def fit_calibration(
    labels: np.ndarray, logits: np.ndarray, pathologies: tuple[str, ...]
) -> dict[str, Calibration]:
    """Fit slope and intercept of each pathology by maximum likelihood (Platt scaling).

    Both are needed: a balanced loss shifts logits by about the log odds of its weights
    (the intercept), and overfitting makes them too far from 0 (the slope). Where that
    fit doesn't exist, or would turn the order of images around, less is fitted and
    `reason` says why: the intercept alone, such that the mean probability is the
    prevalence; or nothing, with one class only.

    Args:
        labels: `(images, C)`, 1, 0 or NaN (left out), of a split that the model was
            *not* trained on and that nothing is reported of: the validation split.
        logits: `(images, C)`, merged.
        pathologies: C names.

    Raises:
        UserError: a logit isn't finite.

    Reference:
        Platt 1999, "Probabilistic outputs for support vector machines", without its
        smoothing of the labels, which would bias the prevalence of a rare pathology.
    """
    return {
        name: _fit(truth, values)
        for name, _, truth, values in take_known(labels, logits, pathologies)
    }


def _fit(truth: np.ndarray, logits: np.ndarray) -> Calibration:
    counts: dict[str, Any] = {"images": len(truth), "positives": int(truth.sum())}
    one_class = explain_one_class(truth)
    if one_class:
        return Calibration(**counts, reason=f"not calibrated: {one_class}")
    problem = _explain_no_maximum(truth, logits)
    if problem is None:
        slope, intercept, converged = _maximize_likelihood(truth, logits)
        if converged and np.isfinite([slope, intercept]).all() and slope > 0:
            return Calibration(slope, intercept, **counts)
        problem = (
            "images that show it have no higher logits than others"
            if converged
            else "the fit did not converge"
        )
    return Calibration(
        intercept=_match_prevalence(truth, logits),
        **counts,
        reason=f"only the intercept was fitted: {problem}",
    )


def _explain_no_maximum(truth: np.ndarray, logits: np.ndarray) -> str | None:
    """Say why no finite slope is the likeliest.

    With one predictor there is one exactly where the classes overlap both ways (Albert
    & Anderson 1984, "On the existence of maximum likelihood estimates").
    """
    positives, negatives = logits[truth], logits[~truth]
    if np.ptp(logits) == 0:
        return "all logits are equal"
    if positives.min() >= negatives.max() or negatives.min() >= positives.max():
        return "one logit parts the images that show it from all others"
    return None


def _maximize_likelihood(
    truth: np.ndarray, logits: np.ndarray
) -> tuple[float, float, bool]:
    # Standardized, since the solver's tolerance is absolute.
    mean, deviation = logits.mean(), logits.std()
    model = LogisticRegression(
        C=np.inf, solver="newton-cholesky", tol=1e-8, max_iter=200
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(((logits - mean) / deviation)[:, None], truth)
    converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
    slope = float(model.coef_[0, 0] / deviation)
    return slope, float(model.intercept_[0] - slope * mean), converged


def _match_prevalence(truth: np.ndarray, logits: np.ndarray) -> float:
    """Find the intercept, at slope 1, whose mean probability is the prevalence."""
    prevalence = truth.mean()
    middle = logit(prevalence)
    # At the lower end no image is likelier than the prevalence, at the upper none less.
    low, high = middle - logits.max() - 1, middle - logits.min() + 1
    return float(brentq(lambda b: expit(logits + b).mean() - prevalence, low, high))


def choose_operating_points(
    labels: np.ndarray, probabilities: np.ndarray, pathologies: tuple[str, ...]
) -> dict[str, OperatingPoint]:
    """Choose the threshold with the largest `J = sensitivity + specificity - 1`.

    None is chosen where only one class is there, or where no threshold has J above 0,
    what chance has. Of thresholds that are equally good the highest is taken, with the
    fewest positives. It lies half way between the lowest probability above it and the
    next below, so that a rounding error of another runtime changes no decision.

    Args:
        labels: `(images, C)` of the validation split, 1, 0 or NaN (left out).
        probabilities: `(images, C)` in [0, 1].
        pathologies: C names.

    Reference:
        Youden 1950, "Index for rating diagnostic tests".
    """
    result = {}
    for name, _, truth, values in take_known(labels, probabilities, pathologies):
        check_probabilities(values)
        result[name] = _choose(truth, values)
    return result


def _choose(truth: np.ndarray, values: np.ndarray) -> OperatingPoint:
    positives = int(truth.sum())
    negatives = len(truth) - positives
    counts: dict[str, Any] = {"images": len(truth), "positives": positives}
    one_class = explain_one_class(truth)
    if one_class:
        return OperatingPoint(**counts, reason=one_class)
    fp, tp, scores = roc_curve(truth, values, drop_intermediate=False)
    scores = scores[1:]  # the first is infinite: no image is positive
    tp = np.rint(tp[1:] * positives).astype("int64")
    fp = np.rint(fp[1:] * negatives).astype("int64")
    # In whole numbers, so that ties are ties.
    youden = tp * negatives - fp * positives
    best = int(np.argmax(youden))
    if youden[best] <= 0:
        return OperatingPoint(**counts, reason="no threshold is better than chance")
    confusion = [negatives - fp[best], fp[best]], [positives - tp[best], tp[best]]
    rates = compute_rates(np.array(confusion))
    counts |= {
        name: rates[name] for name in ("sensitivity", "specificity", "ppv", "f1")
    }
    # There is one below: from the lowest on all are positive, and J is 0. Between two
    # neighbouring floats there is none: their middle is one of them.
    above, below = scores[best], scores[best + 1]
    middle = (above + below) / 2
    threshold = float(middle if middle > below else above)
    return OperatingPoint(probability_threshold=threshold, **counts)


def calibrate_on(splits: Sequence[Predictions], model: str) -> RunCalibration:
    """Calibrate on stored predictions: of the validation split, as a rule."""
    names = splits[0].pathologies
    labels = np.concatenate([split.labels for split in splits])
    logits = np.concatenate([split.logits for split in splits])
    calibrations = fit_calibration(labels, logits, names)
    probabilities = calibrate(calibrations, logits, names)
    points = choose_operating_points(labels, probabilities, names)
    deviations = measure_deviations(
        maps for split in splits for _, maps in split.read_maps()
    )
    return RunCalibration(model, calibrations, points, deviations)


def calibrate_run(
    run: Run, classifier: keras.Model, progress: bool = True, output: Path | None = None
) -> RunCalibration:
    """Read the calibration of a run, or make it on its own validation split.

    `calibration.json` is then written into the run, where that is possible; `output` is
    as of `predict_split`.

    Raises:
        UserError: there is none of this model, and no records to make it on.
        DiskError: the run can't be written to, and there is no other folder.
    """
    calibration = find_calibration(run)
    if calibration is not None:
        return calibration
    if not is_prepared(run.records):
        raise UserError(
            f"{run.path} has no calibration.json, and the records that it was trained "
            f"on, {run.records}, are gone; put them back once to calibrate it."
        )
    validation = predict_split(
        run, classifier, run.records, "validation", progress, output
    )
    calibration = calibrate_on([validation], compute_checksum(run.model_path))
    try:
        write_calibration(run.calibration_path, calibration)
    except DiskError:
        if output is None:
            raise
    return calibration
