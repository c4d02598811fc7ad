"""The model of a run, what validation says of it, and what it says of a split."""

from pathlib import Path

import keras

from keras_mscam.calibration import (
    RunCalibration,
    calibrate_run,
    read_calibration,
    write_calibration,
)
from keras_mscam.errors import UserError
from keras_mscam.files import compute_checksum
from keras_mscam.predictions import Predictions, predict
from keras_mscam.run_folder import Run, is_prepared


def load_classifier(run: Run) -> keras.Model:
    """Load the classifier of a run.

    Raises:
        UserError: the run has none yet.
    """
    if not run.model_path.is_file():
        raise UserError(
            f"{run.path} has no model.keras yet; train it on with "
            f"keras_mscam-train --output {run.path} --resume."
        )
    return keras.saving.load_model(run.model_path)


def load_calibration(
    run: Run, classifier: keras.Model, progress: bool = True
) -> RunCalibration:
    """Read the calibration of a run, or make it on its own validation split.

    Raises:
        UserError: there is none of this model, and no records to make it on.
    """
    model = compute_checksum(run.model_path)
    if run.calibration_path.is_file():
        calibration = read_calibration(run.calibration_path)
        if calibration.model == model:
            return calibration
    if not is_prepared(run.records):
        raise UserError(
            f"{run.path} has no calibration.json, and the records that it was trained "
            f"on, {run.records}, are gone; put them back once to calibrate it."
        )
    validation = predict_split(run, classifier, run.records, "validation", progress)
    calibration = calibrate_run(validation, model)
    write_calibration(run.calibration_path, calibration)
    return calibration


def predict_split(
    run: Run, classifier: keras.Model, records: Path, split: str, progress: bool = True
) -> Predictions:
    """Run the classifier over a split, or read what was stored of it in the run.

    Raises:
        UserError: the records aren't prepared, or aren't made for the model.
    """
    if not is_prepared(records):
        raise UserError(
            f"{records} holds no prepared records; make them with "
            f"keras_mscam-prepare SOURCE --output {records}."
        )
    known = compute_checksum(records / "manifest.json")[:8]
    folder = run.predictions / f"{split}-{known}"
    return predict(classifier, run.model_path, records, split, folder, progress)
