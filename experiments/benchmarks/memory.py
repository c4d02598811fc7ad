"""How much memory a training step needs: XLA's own account of a compiled step.

    KERAS_BACKEND=jax python experiments/benchmarks/memory.py

One image a step, so that a row is what each image of a batch adds. No step is run, and
none of a GPU's memory is used: a GPU's compiler may need more or less.
"""

import jax
import numpy as np
import tyro
from training_step import make_step

from keras_mscam.errors import command


def print_table(
    network: str = "densenet121", sizes: tuple[int, ...] = (256, 512, 1024)
) -> None:
    """Print a Markdown table.

    Args:
        network: Name of the backbone.
        sizes: Height and width of the images.
    """
    print("| size | weights and Adam, GB | features of an image, GB |")
    print("| --- | --- | --- |")
    for size in sizes:
        trainer, _ = make_step(network, (size, size), batch=1)
        state = [
            [variable.value for variable in variables]
            for variables in (
                trainer.trainable_variables,
                trainer.non_trainable_variables,
                trainer.optimizer.variables,
                trainer.metrics_variables,
            )
        ]
        labels = dict.fromkeys(trainer.output, np.zeros((1, 8), "float32"))
        batch = np.zeros((1, size, size, 1), "float32"), labels
        step = jax.jit(trainer.train_step).lower(state, batch).compile()
        memory = step.memory_analysis()
        held = memory.argument_size_in_bytes / 1e9
        print(f"| {size} | {held:.2f} | {memory.temp_size_in_bytes / 1e9:.2f} |")


@command
def main() -> None:
    tyro.cli(print_table)


if __name__ == "__main__":
    main()
