import json
import zipfile

import keras
import numpy as np
import pytest

from keras_mscam.configs.schema import TrainingConfig
from keras_mscam.modeling import build_classifier, build_localizer
from keras_mscam.training.fit import compile_trainer

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 1)).astype("uint8")


def build(pooling="gap", backbone="small_densenet"):
    classifier = build_classifier(3, (64, 96), backbone, pooling=pooling)
    classifier.get_layer("block_combination").relevance_weights.assign(
        [[0.2, 1.0, 0.0], [0.3, 0.0, 0.5], [0.5, 0.0, 0.5]]
    )
    return classifier


def assert_equal_outputs(one, other):
    one, other = one(IMAGE), other(IMAGE)
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(one[name]),
            keras.ops.convert_to_numpy(other[name]),
        )


@pytest.mark.parametrize("pooling", ["gap", "lse", "pcam"])
def test_a_loaded_classifier_gives_equal_outputs(tmp_path, pooling):
    classifier = build(pooling)
    classifier.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert_equal_outputs(classifier, loaded)
    assert_equal_outputs(build_localizer(classifier), build_localizer(loaded))


@pytest.mark.slow
def test_densenet121_too(tmp_path):
    classifier = build(backbone="densenet121")
    classifier.save(tmp_path / "model.keras")
    assert_equal_outputs(
        classifier, keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    )


def test_a_localizer_can_be_saved_itself(tmp_path):
    localizer = build_localizer(build())
    localizer.save(tmp_path / "model.keras")
    assert_equal_outputs(
        localizer, keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    )


def test_a_loaded_trainer_steps_as_the_saved_one(tmp_path):
    config = TrainingConfig(auxiliary_loss=0.3, relevance_learning_rate=5.0)
    trainer = compile_trainer(build(), (0.9, 0.8, 0.7), config)
    labels = np.eye(3)[:2].astype("float32")
    trainer.train_on_batch(IMAGE, labels)
    trainer.save(tmp_path / "last.keras")
    loaded = keras.saving.load_model(tmp_path / "last.keras", safe_mode=True)
    one, other = (model.train_on_batch(IMAGE, labels) for model in (trainer, loaded))
    np.testing.assert_allclose(one, other, rtol=1e-5)
    for a, b in zip(trainer.get_weights(), loaded.get_weights(), strict=True):
        # An update is up to 1e-3, and 1e-3 off for some of the weights: where a
        # gradient is nearly 0, Adam divides rounding by rounding.
        differences = np.abs(a - b)
        assert np.median(differences) < 1e-5 and differences.max() < 2.1e-3


def test_no_lambda_is_saved(tmp_path):
    build().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    assert "Lambda" not in json.dumps(config)
