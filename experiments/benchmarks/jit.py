"""Whether XLA pays on a CPU: training the built-in set's network with and without.

    python experiments/benchmarks/jit.py

Two copies of one network take turns, step by step; the median ratio of their times and
its quartiles are printed.
"""

import keras
import numpy as np
import tyro
from timing import measure, report

from keras_mscam.configs import PRESETS
from keras_mscam.modeling import build_classifier
from keras_mscam.training.fit import compile_trainer


def main(steps: int = 40, batch: int = 16) -> None:
    """Time both.

    Args:
        steps: Timed steps of each.
        batch: Images a step.
    """
    config = PRESETS["phantom"]
    size = config.data.image_size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, *size, 1)).astype("uint8")
    labels = rng.integers(0, 2, (batch, 8)).astype("float32")
    trainers = [_build(config, jit) for jit in (True, False)]
    targets = dict.fromkeys(trainers[0].output, labels)
    for trainer, name in zip(trainers, ("with XLA", "without"), strict=True):
        seconds = measure(trainer.train_on_batch, images, targets)
        print(f"first step {name}: {seconds:.0f} s")
    print(f"small_densenet, {size[0]}x{size[1]}, batch {batch}, {steps} steps each")
    report(
        "training step, XLA / without",
        lambda: trainers[0].train_on_batch(images, targets),
        lambda: trainers[1].train_on_batch(images, targets),
        steps,
    )


def _build(config, jit: bool) -> keras.Model:
    classifier = build_classifier(8, config.data.image_size, "small_densenet")
    trainer = compile_trainer(classifier, (0.8,) * 8, config.training)
    trainer.jit_compile = jit  # read when the first step is traced
    return trainer


if __name__ == "__main__":
    tyro.cli(main)
