"""Whether half precision pays: training in a mixed policy and in float32.

    python experiments/benchmarks/precision.py
    KERAS_BACKEND=jax python experiments/benchmarks/precision.py --policy mixed_float16

Two copies of one network take turns, step by step; the median ratio of their times and
its quartiles are printed. On a GPU this is what `--precision auto` is to be judged by.
"""

from typing import Literal

import keras
import numpy as np
import tyro
from timing import report

from keras_mscam.configs.schema import TrainingConfig
from keras_mscam.modeling import build_classifier
from keras_mscam.training.fit import compile_trainer


def main(
    network: Literal["small_densenet", "densenet121"] = "small_densenet",
    size: int = 192,
    batch: int = 16,
    steps: int = 20,
    policy: Literal["mixed_bfloat16", "mixed_float16"] = "mixed_bfloat16",
) -> None:
    """Time both.

    Args:
        network: Backbone.
        size: Height and width of the images.
        batch: Images a step.
        steps: Timed steps of each.
        policy: The mixed one.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size, size, 1)).astype("uint8")
    labels = rng.integers(0, 2, (batch, 8)).astype("float32")
    trainers = [_build(network, size, name) for name in (policy, "float32")]
    targets = dict.fromkeys(trainers[0].output, labels)
    report(
        f"{keras.backend.backend()}, {network}, {size}x{size}, batch {batch}, training "
        f"step, {policy} / float32",
        lambda: trainers[0].train_on_batch(images, targets),
        lambda: trainers[1].train_on_batch(images, targets),
        steps,
    )


def _build(network: str, size: int, policy: str) -> keras.Model:
    keras.config.set_dtype_policy(policy)
    classifier = build_classifier(8, (size, size), network)
    return compile_trainer(classifier, (0.8,) * 8, TrainingConfig(precision=policy))


if __name__ == "__main__":
    tyro.cli(main)
