"""Does a large batch reach the validation loss of a small one?

    python experiments/benchmarks/large_batches.py --output DIR

The preset that runs without arguments, at 96x96 with a cosine schedule, on one set of
synthetic radiographs. What is finished is not trained again.
"""

import dataclasses
import math
from pathlib import Path

import pandas as pd
import tyro

from keras_mscam.configs import PRESETS
from keras_mscam.data.manifest import Manifest
from keras_mscam.errors import command
from keras_mscam.training.train_run import train

SIZE = (96, 96)
#: Batch size and epochs of each training; the first one's rate is the preset's.
TRAININGS = ((32, 16), (128, 16), (512, 16), (512, 48))


def compare(output: Path, images: int = 8000, seed: int = 0) -> None:
    """Train with every batch size and print a Markdown table.

    Args:
        output: Folder of the runs.
        images: Synthetic radiographs, of which the split makes most training images.
        seed: Of weights and order.
    """
    preset = PRESETS["phantom-a-cnn-plus"]
    records = None
    print(
        "| batch | learning rate | epochs | updates | validation loss: lowest | last |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for batch, epochs in TRAININGS:
        rate = preset.training.learning_rate * math.sqrt(batch / TRAININGS[0][0])
        run = output / f"batch{batch}-epochs{epochs}-seed{seed}"
        config = dataclasses.replace(
            preset,
            data=dataclasses.replace(
                preset.data, path=records, phantoms=images, image_size=SIZE
            ),
            training=dataclasses.replace(
                preset.training,
                batch_size=batch,
                learning_rate=rate,
                epochs=epochs,
                schedule="cosine",
                warmup_epochs=epochs / 16,
                batch_norm_images=512,
                seed=seed,
            ),
        )
        if not (run / "report.html").is_file():
            train(config, run, resume=run.exists())
        if records is None:
            records = run / "records"
        losses = pd.read_csv(run / "history.csv")["val_loss"]
        training_images = Manifest.read(records).splits["train"].images
        updates = epochs * (training_images // batch)
        print(
            f"| {batch} | {rate:.1e} | {epochs} | {updates} | {losses.min():.2f} | "
            f"{losses.iloc[-1]:.2f} |"
        )


@command
def main() -> None:
    tyro.cli(compare)


if __name__ == "__main__":
    main()
