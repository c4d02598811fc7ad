"""A run without a training: a small network of random weights, calibrated by hand."""

import keras
import numpy as np
import pytest

from keras_mscam.calibration import RunCalibration, write_calibration
from keras_mscam.classification import Calibration, OperatingPoint
from keras_mscam.config import Config, DataConfig, LocalizationConfig, ModelConfig
from keras_mscam.errors import UserError
from keras_mscam.export import export, export_formats
from keras_mscam.exporting.exportable import read_exportable
from keras_mscam.exporting.formats import check_installed
from keras_mscam.files import compute_checksum
from keras_mscam.modeling import build_classifier
from keras_mscam.run_folder import create_run

SIZE = (64, 96)
NAMES = ("Effusion", "Mass", "Nodule")


def write_run(path, localization=None, precision="float32", **model):
    """Write a run: Effusion is always positive, Mass is half the time, Nodule never."""
    keras.utils.set_random_seed(4)
    model = ModelConfig(backbone="small_densenet", **model)
    config = Config(
        DataConfig(image_size=SIZE, phantoms=100), model,
        localization=localization or LocalizationConfig(),
    )  # fmt: skip
    run = create_run(path, config)
    keras.config.set_dtype_policy(precision)
    try:
        classifier = build_classifier(
            len(NAMES), SIZE, model.backbone, model.blocks, batch_norm_momentum=0.9
        )
    finally:
        keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(4)
    for layer in classifier.layers:
        if layer.name.startswith("head_"):
            layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    classifier.save(run.model_path)
    points = [OperatingPoint(probability_threshold=t) for t in (0.0, 0.5)]
    points.append(OperatingPoint(reason="no threshold is better than chance"))
    calibration = RunCalibration(
        compute_checksum(run.model_path),
        {name: Calibration(0.5, 0.1 * i) for i, name in enumerate(NAMES)},
        dict(zip(NAMES, points, strict=True)),
        rng.uniform(0.5, 2, (len(model.blocks), len(NAMES))),
    )
    write_calibration(run.calibration_path, calibration)
    return run


@pytest.fixture
def make_run(tmp_path):
    return lambda **kwargs: write_run(tmp_path / "run", **kwargs)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def exportable(run):
    return read_exportable(run)


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory):
    """Version 1 of the run in a repository, through all its checks."""
    return export(run.path, tmp_path_factory.mktemp("models"), progress=False)


@pytest.fixture(scope="session")
def converted(run, tmp_path_factory):
    """Give version 1 of the run in a format, made when first asked for."""
    made = {}

    def convert(kind):
        if kind not in made:
            try:
                check_installed(kind)
            except UserError as error:
                pytest.skip(str(error))
            folder = tmp_path_factory.mktemp("formats")
            made[kind] = export_formats(run.path, folder, [kind], progress=False)[kind]
        return made[kind]

    return convert
