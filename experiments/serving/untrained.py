"""Make a run of the paper's network with random weights, to measure serving with.

    python experiments/serving/untrained.py runs/untrained

What a network says doesn't change how long it takes. In every image five pathologies
are positive, so that boxes cost what they cost a busy reader. Batch normalization has
statistics as if trained: converters drop what adds 0 or multiplies by 1.
"""

from pathlib import Path

from keras_mscam.configs import PRESETS
from keras_mscam.files import compute_checksum
from keras_mscam.inference.run_calibration import (
    Calibration,
    OperatingPoint,
    RunCalibration,
    write_calibration,
)
from keras_mscam.inference.run_folder import create_run
from keras_mscam.modeling import build_classifier
from keras_mscam.pathologies import PATHOLOGIES
from keras_mscam.training.batch_norm import find_batch_norms

import keras
import numpy as np
import tyro

_POSITIVE = 5


def main(run: tyro.conf.Positional[Path]) -> None:
    """Write the run.

    Args:
        run: Folder to make.
    """
    config = PRESETS["paper"]
    made = create_run(run, config)
    keras.utils.set_random_seed(0)
    classifier = build_classifier(len(PATHOLOGIES), config.data.image_size)
    rng = np.random.default_rng(0)
    for layer in find_batch_norms(classifier):
        layer.set_weights(
            [
                values + rng.uniform(-0.2, 0.2, values.shape)
                for values in layer.get_weights()
            ]
        )
    classifier.save(made.model_path)
    points = {
        name: OperatingPoint(probability_threshold=0.0 if place < _POSITIVE else 1.0)
        for place, name in enumerate(PATHOLOGIES)
    }
    deviations = np.ones((len(config.model.blocks), len(PATHOLOGIES)))
    calibrations = {name: Calibration() for name in PATHOLOGIES}
    write_calibration(
        made.calibration_path,
        RunCalibration(
            compute_checksum(made.model_path), calibrations, points, deviations
        ),
    )


if __name__ == "__main__":
    tyro.cli(main)
