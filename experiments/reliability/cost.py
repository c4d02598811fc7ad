"""Measure what `--deterministic` and `--skip-batches` cost a step of training.

    keras_mscam-train --output drawn --phantoms 1000 --epochs 1
    python experiments/reliability/cost.py drawn/records

Each way trains in a process of its own, since TensorFlow can't be made indeterministic
again, and in turns with the others, since a shared machine has moods.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from keras_mscam.configs import PRESETS
from keras_mscam.configs.schema import merge_config

import numpy as np
import tyro

_WAYS = {
    "plain": {},
    "deterministic": {"deterministic": True},
    "skip-batches 1": {"skip_batches": 1},
}
_WARM = 5  # steps, of which the first traces


def main(
    records: tyro.conf.Positional[Path],
    preset: str = "phantom-a-cnn-plus",
    rounds: int = 3,
    steps: int = 30,
    way: str | None = None,
) -> None:
    """Measure.

    Args:
        records: Prepared records.
        preset: Network, batch and size.
        rounds: Processes of each way.
        steps: Steps of each process.
        way: Only this one, in this process.
    """
    if way is not None:
        print(json.dumps(_measure(records, preset, steps, _WAYS[way])))
        return
    found = {name: [] for name in _WAYS}
    for _ in range(rounds):
        for name, times in found.items():
            command = [sys.executable, __file__, str(records), "--preset", preset]
            command += ["--steps", str(steps), "--way", name]
            output = subprocess.check_output(command, text=True)
            times.append(json.loads(output.splitlines()[-1]))
    for name, times in found.items():
        clock, processors = np.median(times, axis=0)
        base = np.median(found["plain"], axis=0)
        print(
            f"{name}: {clock:.0f} ms a step ({clock / base[0]:.3f} of plain), "
            f"{processors:.0f} ms of processors ({processors / base[1]:.3f}); "
            f"rounds {[round(wall) for wall, _ in times]}"
        )


def _measure(records: Path, preset: str, steps: int, changes: dict) -> list[float]:
    """Return the median milliseconds of a step, and the mean ones of processors."""
    from keras_mscam.data.manifest import Manifest
    from keras_mscam.data.pipeline import make_training_dataset
    from keras_mscam.modeling import build_classifier
    from keras_mscam.training.fit import compile_trainer, counting_callbacks, fit
    from keras_mscam.training.precision import make_deterministic

    import keras

    config = merge_config(PRESETS[preset], {"training": changes}, "cost.py")
    training, size = config.training, config.data.image_size
    if training.deterministic:
        make_deterministic()
    manifest = Manifest.read(records)
    model = {"backbone": config.model.backbone, "blocks": config.model.blocks}
    classifier = build_classifier(len(manifest.pathologies), size, **model)
    beta = tuple(manifest.beta.values())
    trainer = compile_trainer(classifier, beta, training, steps)
    batches = make_training_dataset(
        records, batch_size=training.batch_size, seed=0, epochs=999, image_size=size
    )
    clock, processors = [], []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            clock.append(time.perf_counter())
            processors.append(time.process_time())

    # An epoch without validation: a batch of it, at the end, is behind the clock.
    fit(trainer, batches, batches.take(1), steps=_WARM + steps, epochs=1,
        callbacks=[*counting_callbacks(training), Clock()])  # fmt: skip
    wall, busy = np.diff(clock)[_WARM:], np.diff(processors)[_WARM:]
    return [1000 * float(np.median(wall)), 1000 * float(np.mean(busy))]


if __name__ == "__main__":
    tyro.cli(main)
