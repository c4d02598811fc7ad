"""The training step that several of the benchmarks time, on images of noise."""

from collections.abc import Callable

from keras_mscam.configs.schema import TrainingConfig
from keras_mscam.modeling import build_classifier
from keras_mscam.training.fit import compile_trainer

import keras
import numpy as np

_DEFAULTS = TrainingConfig()


def make_step(
    network: str,
    size: tuple[int, int],
    batch: int,
    config: TrainingConfig = _DEFAULTS,
) -> tuple[keras.Model, Callable[[], None]]:
    """Return a trainer of 8 pathologies, and a step of it, which traces when called."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, *size, 1)).astype("uint8")
    labels = rng.integers(0, 2, (batch, 8)).astype("float32")
    classifier = build_classifier(8, size, network)
    trainer = compile_trainer(classifier, (0.9,) * 8, config)

    def step() -> None:
        trainer.train_on_batch(images, labels)

    return trainer, step
