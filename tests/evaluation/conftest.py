"""Untrained runs: what an evaluation says of them is known without training."""

import keras
import numpy as np
import pytest

from keras_mscam.configs.schema import Config, DataConfig, ModelConfig
from keras_mscam.data.manifest import Manifest
from keras_mscam.evaluation.evaluate_run import evaluate
from keras_mscam.inference.run_folder import create_run, write_relevance_weights
from keras_mscam.modeling import build_classifier
from keras_mscam.modeling.classifier import read_relevance_weights

SIZE = (64, 96)


def build(outputs, blocks=(3, 4), seed=0):
    """A classifier whose blocks look at different things, from random weights."""
    keras.utils.set_random_seed(seed)
    classifier = build_classifier(outputs, SIZE, "small_densenet", blocks)
    rng = np.random.default_rng(seed)
    for layer in classifier.layers:
        if layer.name.startswith("head_"):
            layer.kernel.assign(rng.normal(size=layer.kernel.shape))
            layer.bias.assign(rng.normal(size=layer.bias.shape))
    return classifier


def select_outputs(classifier, columns):
    """The same network with some of its outputs, in another order."""
    chosen = build(len(columns))
    for own, other in zip(chosen.layers, classifier.layers, strict=True):
        weights = other.get_weights()
        if own.name.startswith("head_") or own.name == "block_combination":
            weights = [array[..., columns] for array in weights]
        own.set_weights(weights)
    return chosen


def write_untrained(path, classifier, pathologies, records):
    """Write the folder that training leaves, but for calibration and results."""
    model = ModelConfig(backbone="small_densenet", blocks=(3, 4))
    run = create_run(path, Config(DataConfig(path=records, image_size=SIZE), model))
    classifier.save(run.model_path)
    blocks, weights = read_relevance_weights(classifier)
    write_relevance_weights(run, pathologies, blocks, weights)
    return run


@pytest.fixture(scope="session")
def classifier():
    return build(8)


@pytest.fixture(scope="session")
def pathologies(phantom_records):
    return Manifest.read(phantom_records).pathologies


@pytest.fixture(scope="session")
def runs(tmp_path_factory, phantom_records, classifier, pathologies):
    """Two systems on the same records; the first is evaluated."""
    folder = tmp_path_factory.mktemp("runs")
    first = write_untrained(folder / "first", classifier, pathologies, phantom_records)
    # Of the same pathologies without the first, in another order.
    columns = [5, 1, 7, 2, 4, 3, 6]
    second = write_untrained(
        folder / "second",
        select_outputs(classifier, columns),
        [pathologies[column] for column in columns],
        phantom_records,
    )
    return [first.path, second.path]


@pytest.fixture(scope="session")
def evaluation(runs):
    """The first run, evaluated into its folder."""
    return evaluate(runs[0], progress=False)
