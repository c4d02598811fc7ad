"""What validation says of a model: Platt scaling, operating points, scales of maps."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import pydantic
from pydantic.dataclasses import dataclass
from scipy.special import expit

from keras_mscam.configs.schema import describe_invalid
from keras_mscam.errors import UserError
from keras_mscam.files import compute_checksum, read_json, write_json
from keras_mscam.inference.run_folder import Run

_Fraction = Annotated[float, pydantic.Field(ge=0, le=1)]
_STRICT = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_STRICT)
class Calibration:
    """How the logits of one pathology become its probabilities.

    `probability = sigmoid(slope logit + intercept)`
    """

    # above 0, so that calibrating keeps the order of images
    slope: Annotated[float, pydantic.Field(gt=0)] = 1.0
    intercept: float = 0.0  # any finite number
    images: int = 0  # number with a known label that it was fitted to
    positives: int = 0  # how many of them show the pathology
    reason: str | None = None  # why it isn't the fit of both numbers; `None` if it is

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits of any shape into probabilities, in double precision."""
        return expit(self.slope * np.asarray(logits, "float64") + self.intercept)


@dataclass(frozen=True, config=_STRICT)
class OperatingPoint:
    """From where on a pathology is positive: `probability >= probability_threshold`."""

    # in [0, 1]; `None`, like the four after it, where none could be chosen
    probability_threshold: _Fraction | None = None
    # on the images that it was chosen on, as are the next three; no estimate of what it
    # will be on others
    sensitivity: _Fraction | None = None
    # fraction of the images without the pathology that are negative
    specificity: _Fraction | None = None
    # fraction of the positive images that show it, at their prevalence
    ppv: _Fraction | None = None
    f1: _Fraction | None = None  # harmonic mean of sensitivity and ppv
    criterion: str = "youden"  # or "published", with the weights of others
    images: int = 0  # number with a known label
    positives: int = 0  # how many of them show the pathology
    reason: str | None = None  # why there is no threshold; `None` if there is


@dataclass(
    frozen=True, eq=False, config=pydantic.ConfigDict(arbitrary_types_allowed=True)
)
class RunCalibration:
    """Contents of `calibration.json`."""

    model: str  # SHA-256 of the model file that it is of
    calibrations: dict[str, Calibration]  # by pathology, from logit to probability
    operating_points: dict[str, OperatingPoint]  # by pathology
    deviations: np.ndarray  # `(B, C)` standard deviation of each block's maps

    @property
    def is_fitted(self) -> bool:
        """Whether it was fitted to images with a known label."""
        return any(point.images for point in self.operating_points.values())


def read_calibration(path: Path) -> RunCalibration:
    """Read `calibration.json`.

    Raises:
        UserError: it can't be read, or an entry is unknown or out of range.
    """
    try:
        content = read_json(path)
        deviations = np.array(content.pop("map_deviations"), "float64")
        calibration = RunCalibration(**content, deviations=deviations)
        names = calibration.calibrations.keys()
        is_whole = names == calibration.operating_points.keys()
        if not is_whole or deviations.shape[1:] != (len(names),):
            raise ValueError("its parts are of different pathologies")
        return calibration
    except (OSError, ValueError, KeyError, TypeError) as error:
        is_out_of_range = isinstance(error, pydantic.ValidationError)
        reason = describe_invalid(error) if is_out_of_range else error
        raise UserError(
            f"{path} can't be read ({reason}); remove it, and keras_mscam-evaluate "
            "makes it again."
        ) from error


def write_calibration(path: Path, calibration: RunCalibration) -> None:
    """Write `calibration.json`."""
    content = asdict(calibration)
    content["map_deviations"] = content.pop("deviations").tolist()
    write_json(path, content)


def load_calibration(run: Run) -> RunCalibration:
    """Read the calibration of a run, which training ends with, or raise an error."""
    calibration = find_calibration(run)
    if calibration is None:
        raise UserError(
            f"{run.path} has no calibration of its model; keras_mscam-evaluate "
            f"{run.path} makes it."
        )
    return calibration


def find_calibration(run: Run) -> RunCalibration | None:
    """Read the calibration of a run's model, `None` if there is none of this model."""
    if not (run.calibration_path.is_file() and run.model_path.is_file()):
        return None
    calibration = read_calibration(run.calibration_path)
    is_of_model = calibration.model == compute_checksum(run.model_path)
    return calibration if is_of_model else None


def select_deviations(
    calibration: RunCalibration,
    pathologies: Sequence[str],
    relevance_weights: np.ndarray,
) -> np.ndarray:
    """Return the deviations of some pathologies, of the shape of the weights `(B, C)`.

    Raises:
        UserError: the calibration is of others, or of other blocks.
    """
    names = list(calibration.calibrations)
    columns = [names.index(name) for name in pathologies if name in names]
    deviations = calibration.deviations[:, columns]
    if deviations.shape != relevance_weights.shape:
        raise UserError(
            f"The run's calibration.json is of {len(deviations)} blocks and of "
            f"{', '.join(names)}, and its model isn't; remove the file, and "
            "keras_mscam-evaluate makes it again."
        )
    return deviations


def calibrate(
    calibrations: Mapping[str, Calibration],
    logits: np.ndarray,
    pathologies: tuple[str, ...],
) -> np.ndarray:
    """Turn logits `(images, C)` of C pathologies into probabilities, float64."""
    columns = zip(pathologies, np.asarray(logits).T, strict=True)
    return np.stack([calibrations[n].apply(column) for n, column in columns], axis=1)
