"""Whether half precision pays, and whether it trains to the same losses.

    python experiments/benchmarks/precision.py time
    python experiments/benchmarks/precision.py time --policy mixed_float16
    python experiments/benchmarks/precision.py losses --output DIR

`time`: two copies of one network take turns, step by step; the median ratio of their
times and its quartiles are printed. On a GPU this is what `--precision auto` is to be
judged by. `losses`: the built-in set at 96x96 is trained on with several seeds in both.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from keras_mscam.configs import PRESETS
from keras_mscam.configs.schema import TrainingConfig
from keras_mscam.training.train_run import train

import keras
import pandas as pd
import tyro
from timing import report
from training_step import make_step

Policy = Literal["mixed_bfloat16", "mixed_float16"]


def compare_times(
    network: Literal["small_densenet", "densenet121"] = "small_densenet",
    size: int = 192,
    batch: int = 16,
    steps: int = 20,
    policy: Policy = "mixed_bfloat16",
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


def compare_losses(
    output: Path,
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: int = 8,
    policy: Policy = "mixed_bfloat16",
) -> None:
    """Train with every seed in both, and print validation losses by epoch.

    Args:
        output: Folder of the runs; what is finished is not trained again.
        seeds: Of weights and order; the images are the same.
        epochs: Of each.
        policy: The mixed one.
    """
    preset = PRESETS["phantom-a-cnn-plus"]
    records, losses = None, {}
    for precision in ("float32", policy):
        for seed in seeds:
            run = output / f"{precision}-seed{seed}"
            config = dataclasses.replace(
                preset,
                data=dataclasses.replace(
                    preset.data, path=records, image_size=(96, 96)
                ),
                training=dataclasses.replace(
                    preset.training, precision=precision, seed=seed, epochs=epochs,
                    schedule="cosine", warmup_epochs=1, batch_norm_images=512,
                ),
            )  # fmt: skip
            if not (run / "report.html").is_file():
                train(config, run, resume=run.exists())
            records = records or run / "records"
            history = pd.read_csv(run / "history.csv").set_index("epoch")
            losses[precision, seed] = history["val_loss"]
    table = pd.DataFrame(losses).T.groupby(level=0).agg(["mean", "min", "max"])
    print("| epoch | " + " | ".join(table.index) + " |")
    print("| --- |" + " --- |" * len(table))
    for epoch in range(1, epochs + 1):
        cells = [
            f"{row['mean']:.3f} [{row['min']:.3f}, {row['max']:.3f}]"
            for _, row in table[epoch].iterrows()
        ]
        print(f"| {epoch} | {' | '.join(cells)} |")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(
        {"time": compare_times, "losses": compare_losses}, prog="precision.py"
    )
