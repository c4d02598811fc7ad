"""Measure one model beside the SavedModel, in a process of its own.

    python experiments/formats/speed.py MODEL SAVED_MODEL

Threads of one library that wait busily would slow another one down, so no two of those
that are compared share a process; the SavedModel takes turns with each.
"""

import json
import statistics
import time
from pathlib import Path

from keras_mscam.exporting.formats import tfjs
from keras_mscam.inference.runtimes import load_runtime

import numpy as np
import tyro

_BATCHES = {1: 40, 32: 4}  # images at a time, and how often


def main(
    model: tyro.conf.Positional[Path], saved_model: tyro.conf.Positional[Path]
) -> None:
    """Print `load` in seconds; and by batch `seconds` and `ratio`, as JSON.

    Args:
        model: File or folder of a model.
        saved_model: Folder of the SavedModel.
    """
    reference = load_runtime(saved_model)
    size = reference.contract.image_size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (max(_BATCHES), *size)).astype("uint8")
    reference.run(images[:1])  # what TensorFlow does once is not the model's
    in_node = model.name == "model.json"
    if in_node:
        found = _measure_in_node(model, reference, images)
    else:
        start = time.perf_counter()
        run = load_runtime(model).run
        run(images[:1])
        found = {"load": time.perf_counter() - start}
        for count, rounds in _BATCHES.items():
            runs = {"reference": reference.run, "own": run}
            seconds = measure_latencies(runs, images[:count], rounds)
            found[str(count)] = {
                "seconds": seconds["own"] / count,
                "ratio": seconds["own"] / seconds["reference"],
            }
    print(json.dumps(found))


def _measure_in_node(model: Path, reference, images) -> dict:
    """Node measures itself, before the SavedModel: it is another process anyway."""
    seconds = statistics.median(tfjs.run_in_node(model, images[:1], _BATCHES[1])[1])
    expected = measure_latencies({"reference": reference.run}, images[:1], _BATCHES[1])
    return {"1": {"seconds": seconds, "ratio": seconds / expected["reference"]}}


def measure_latencies(runs: dict, images: np.ndarray, rounds: int) -> dict[str, float]:
    """Return the median seconds of a call, by name.

    All take turns, so that whatever else the machine does meets them alike.
    """
    for run in runs.values():
        for _ in range(3):
            run(images)
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(images)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    tyro.cli(main)
