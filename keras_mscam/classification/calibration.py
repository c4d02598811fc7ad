"""Logits into probabilities that may be shown to a person."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import numpy as np
import pydantic
from pydantic.dataclasses import dataclass
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from keras_mscam.classification.known import (
    check_tables,
    explain_one_class,
    take_known,
)
from keras_mscam.errors import UserError

_STRICT = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_STRICT)
class Calibration:
    """How the logits of one pathology become its probabilities.

    `probability = sigmoid(slope logit + intercept)`

    Args:
        slope: above 0, so that calibrating keeps the order of images.
        intercept: any finite number.
        images: number with a known label that it was fitted to.
        positives: how many of them show the pathology.
        reason: why it isn't the fit of both numbers; `None` if it is.
    """

    slope: Annotated[float, pydantic.Field(gt=0)] = 1.0
    intercept: float = 0.0
    images: int = 0
    positives: int = 0
    reason: str | None = None

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits of any shape into probabilities, in double precision.

        Example:
            >>> Calibration(slope=2.0, intercept=1.0).apply(np.array([-0.5]))
            array([0.5])
        """
        return expit(self.slope * np.asarray(logits, "float64") + self.intercept)

    def to_dict(self) -> dict:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict) -> "Calibration":
        """Take back what `to_dict` returned.

        Raises:
            UserError: an entry is unknown or of another type, a number isn't finite, or
                the slope isn't positive.
        """
        try:
            return cls(**content)
        except (pydantic.ValidationError, TypeError) as error:
            raise UserError(
                f"This is no stored calibration: {content}; evaluate the run again."
            ) from error


def fit_calibration(
    labels: np.ndarray, logits: np.ndarray, pathologies: tuple[str, ...]
) -> dict[str, Calibration]:
    """Fit slope and intercept of each pathology by maximum likelihood (Platt scaling).

    Both are needed: a balanced loss shifts logits by about the log odds of its weights
    (the intercept), and overfitting makes them too far from 0 (the slope).

    Where that fit doesn't exist, or would turn the order of images around, less is
    fitted and `reason` says why: the intercept alone, such that the mean probability is
    the prevalence; or nothing, with one class only.

    Args:
        labels: `(images, C)`, 1, 0 or NaN (left out), of a split that the model was
            *not* trained on and that nothing is reported of: the validation split.
        logits: `(images, C)`, merged.
        pathologies: C names.

    Returns:
        By pathology.

    Raises:
        UserError: a logit isn't finite.

    Example:
        >>> fit_calibration([[0], [1], [0], [1]], [[0], [1], [2], [3]], ("Mass",))
        {'Mass': Calibration(slope=0.908..., intercept=-1.362..., images=4, ...

    Reference:
        Platt 1999, "Probabilistic outputs for support vector machines", without its
        smoothing of the labels, which would bias the prevalence of a rare pathology.
    """
    labels, logits = check_tables(labels, logits, pathologies)
    return {
        name: _fit(*take_known(labels, logits, column, name)[1:])
        for column, name in enumerate(pathologies)
    }


def calibrate(
    calibrations: Mapping[str, Calibration],
    logits: np.ndarray,
    pathologies: tuple[str, ...],
) -> np.ndarray:
    """Turn a table of logits into calibrated probabilities.

    Args:
        calibrations: by pathology, at least these.
        logits: `(images, C)`.
        pathologies: C names.

    Returns:
        `(images, C)` in [0, 1], float64.
    """
    columns = np.asarray(logits, "float64").T
    return np.stack(
        [
            calibrations[name].apply(column)
            for name, column in zip(pathologies, columns, strict=True)
        ],
        axis=1,
    )


def _fit(truth: np.ndarray, logits: np.ndarray) -> Calibration:
    counts = {"images": len(truth), "positives": int(truth.sum())}
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
