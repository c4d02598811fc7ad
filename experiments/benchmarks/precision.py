"""Whether half precision pays: training in a mixed policy and in float32.

    python experiments/benchmarks/precision.py
    KERAS_BACKEND=jax python experiments/benchmarks/precision.py --policy mixed_float16

Two copies of one network take turns, step by step; the median ratio of their times and
its quartiles are printed. On a GPU this is what `--precision auto` is to be judged by.
"""

from typing import Literal

import keras
import tyro
from timing import report
from training_step import make_step

from keras_mscam.configs.schema import TrainingConfig


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
    both = []
    for name in (policy, "float32"):
        keras.config.set_dtype_policy(name)
        config = TrainingConfig(precision=name)
        both.append(make_step(network, (size, size), batch, config)[1])
    report(
        f"{keras.backend.backend()}, {network}, {size}x{size}, batch {batch}, training "
        f"step, {policy} / float32",
        *both,
        steps,
    )


if __name__ == "__main__":
    tyro.cli(main)
