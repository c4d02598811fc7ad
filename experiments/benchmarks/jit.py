"""Whether XLA pays on a CPU: training the built-in set's network with and without.

    python experiments/benchmarks/jit.py

Two copies of one network take turns, step by step; the median ratio of their times and
its quartiles are printed.
"""

from keras_mscam.configs import PRESETS

import tyro
from timing import measure, report
from training_step import make_step


def main(steps: int = 40, batch: int = 16) -> None:
    """Time both.

    Args:
        steps: Timed steps of each.
        batch: Images a step.
    """
    config = PRESETS["phantom"]
    size = config.data.image_size
    both = []
    for jit, name in ((True, "with XLA"), (False, "without")):
        trainer, step = make_step("small_densenet", size, batch, config.training)
        trainer.jit_compile = jit  # read when the first step is traced
        print(f"first step {name}: {measure(step):.0f} s")
        both.append(step)
    print(f"small_densenet, {size[0]}x{size[1]}, batch {batch}, {steps} steps each")
    report("training step, XLA / without", *both, steps)


if __name__ == "__main__":
    tyro.cli(main)
