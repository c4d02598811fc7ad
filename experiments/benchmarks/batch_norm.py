"""Whether TensorFlow's single operation for batch normalization pays in training.

    python experiments/benchmarks/batch_norm.py

Times are of the processors, all threads together, so that other work on the machine
counts little.
"""

import time

import keras
import numpy as np
import tyro

from keras_mscam.configs.schema import TrainingConfig
from keras_mscam.modeling import build_classifier
from keras_mscam.training.batch_norm import find_batch_norms
from keras_mscam.training.fit import compile_trainer

_NETWORKS = {
    "small_densenet": ((192, 192), 16),
    "resnet50": ((256, 256), 8),
    "densenet121": ((256, 256), 8),
}


def main(rounds: int = 6) -> None:
    """Print the ratio of steps with it and without.

    Args:
        rounds: Steps of each kind, in turns.
    """
    for name, (size, batch) in _NETWORKS.items():
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (batch, *size, 1)).astype("uint8")
        labels = rng.integers(0, 2, (batch, 8)).astype("float32")
        steps = [_make_step(name, size, images, labels, fused) for fused in (1, 0)]
        ratios = []
        for _ in range(rounds):
            fused, composed = (_measure(step) for step in steps)
            ratios.append(fused / composed)
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        print(f"{name}, {size}: {middle:.3f} [{low:.3f}, {high:.3f}]", flush=True)


def _make_step(name, size, images, labels, fused):
    keras.utils.set_random_seed(0)
    classifier = build_classifier(8, size, name)
    trainer = compile_trainer(classifier, (0.9,) * 8, TrainingConfig())
    if not fused:
        for layer in find_batch_norms(classifier):
            del layer.call  # that of its class is left
    targets = dict.fromkeys(trainer.output, labels)

    def step():
        trainer.train_on_batch(images, targets)

    step()
    return step


def _measure(step) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


if __name__ == "__main__":
    tyro.cli(main)
