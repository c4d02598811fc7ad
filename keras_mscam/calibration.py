"""What validation says of a run's model: Platt scaling, operating points, map units."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_mscam.classification import (
    Calibration,
    OperatingPoint,
    calibrate,
    choose_operating_points,
    fit_calibration,
)
from keras_mscam.errors import UserError
from keras_mscam.files import write_whole
from keras_mscam.localization.fusion import measure_deviations
from keras_mscam.predictions import Predictions


@dataclass(frozen=True)
class RunCalibration:
    """Contents of `calibration.json`.

    Args:
        model: SHA-256 of the model file that it is of.
        calibrations: by pathology, from logit to probability.
        operating_points: by pathology.
        deviations: `(B, C)` standard deviation of each block's maps.
    """

    model: str
    calibrations: dict[str, Calibration]
    operating_points: dict[str, OperatingPoint]
    deviations: np.ndarray


def calibrate_run(predictions: Predictions, model: str) -> RunCalibration:
    """Calibrate on the stored predictions of the validation split."""
    names = predictions.pathologies
    calibrations = fit_calibration(predictions.labels, predictions.logits, names)
    probabilities = calibrate(calibrations, predictions.logits, names)
    points = choose_operating_points(predictions.labels, probabilities, names)
    deviations = measure_deviations(maps for _, maps in predictions.read_maps())
    return RunCalibration(model, calibrations, points, deviations)


def write_calibration(path: Path, calibration: RunCalibration) -> None:
    """Write `calibration.json`."""
    content = {
        "model": calibration.model,
        "calibrations": {
            name: item.to_dict() for name, item in calibration.calibrations.items()
        },
        "operating_points": {
            name: item.to_dict() for name, item in calibration.operating_points.items()
        },
        "map_deviations": calibration.deviations.tolist(),
    }
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_calibration(path: Path) -> RunCalibration:
    """Read `calibration.json`.

    Raises:
        UserError: it can't be read.
    """
    try:
        content = json.loads(path.read_text())
        return RunCalibration(
            content["model"],
            {n: Calibration.from_dict(v) for n, v in content["calibrations"].items()},
            {
                name: OperatingPoint.from_dict(values)
                for name, values in content["operating_points"].items()
            },
            np.array(content["map_deviations"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} can't be read ({error}); remove it, and keras_mscam-evaluate "
            "makes it again."
        ) from error
