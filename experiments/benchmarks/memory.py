"""How much memory a training step needs, with and without gradient checkpointing.

    python experiments/benchmarks/memory.py
    KERAS_BACKEND=jax python experiments/benchmarks/memory.py --sizes 256 512 1024

On TensorFlow, steps are run, each in a process of its own, whose peak memory counts. On
JAX, no step is run: it is XLA's own account of a compiled step of one image. For a CPU,
XLA merges what is computed twice, which undoes gradient checkpointing; a flag keeps it
apart here.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from keras_mscam.configs.schema import TrainingConfig
from keras_mscam.errors import command

import keras
import numpy as np
import tyro


def print_table(
    network: str = "densenet121", sizes: tuple[int, ...] = (256, 512), batch: int = 8
) -> None:
    """Print a Markdown table.

    Args:
        network: Name of the backbone.
        sizes: Height and width of the images.
        batch: Images in a step on TensorFlow.
    """
    on_jax = keras.backend.backend() == "jax"
    measure = plan_step if on_jax else run_step
    print("| size | checkpointing | features of an image, GB | seconds per image |")
    print("| --- | --- | --- | --- |")
    for size in sizes:
        for checkpointing in (False, True):
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                job = pool.submit(measure, network, size, batch, checkpointing)
                memory, seconds = job.result()
            on = "yes" if checkpointing else "no"
            seconds = "" if on_jax else f"{seconds:.3f}"
            print(f"| {size} | {on} | {memory / 1e9:.3f} | {seconds} |", flush=True)


def plan_step(network, size, batch, checkpointing) -> tuple[int, float]:
    """Return the bytes that XLA holds beside weights and images, and no time."""
    keep_apart = "--xla_disable_hlo_passes=cse_barrier_expander"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {keep_apart}"
    import jax
    from training_step import make_step

    config = TrainingConfig(gradient_checkpointing=checkpointing)
    trainer, _ = make_step(network, (size, size), 1, config)
    state = [
        [variable.value for variable in variables]
        for variables in (
            trainer.trainable_variables,
            trainer.non_trainable_variables,
            trainer.optimizer.variables,
            trainer.metrics_variables,
        )
    ]
    labels = np.zeros((1, 8), "float32")
    images = np.zeros((1, size, size, 1), "float32")
    step = jax.jit(trainer.train_step).lower(state, (images, labels)).compile()
    return step.memory_analysis().temp_size_in_bytes, 0.0


def run_step(network, size, batch, checkpointing) -> tuple[float, float]:
    """Return the bytes and seconds that an image of a batch takes.

    A batch of one image is taken off, and with it what does not depend on images.
    """
    from training_step import make_step

    config = TrainingConfig(gradient_checkpointing=checkpointing)
    peaks = []
    for images in (1, batch):
        _, step = make_step(network, (size, size), images, config)
        step()
        peaks.append(read_peak())
    times = []
    for _ in range(5):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return (peaks[1] - peaks[0]) / (batch - 1), np.median(times) / batch


def read_peak() -> int:
    """Return the highest number of bytes that this process has held."""
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@command
def main() -> None:
    tyro.cli(print_table)


if __name__ == "__main__":
    main()
