"""Whether TensorFlow's single operation for batch normalization pays in training.

    python experiments/benchmarks/batch_norm.py

Times are of the processors, all threads together, so that other work on the machine
counts little.
"""

import time

from keras_mscam.training.batch_norm import find_batch_norms

import tyro
from timing import report
from training_step import make_step

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
        _, fused = make_step(name, size, batch)
        trainer, composed = make_step(name, size, batch)
        for layer in find_batch_norms(trainer):
            del layer.call  # that of its class is left
        report(f"{name}, {size}", fused, composed, rounds, time.process_time)


if __name__ == "__main__":
    tyro.cli(main)
