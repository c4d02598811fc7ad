"""Does a large batch reach the validation loss of a small one?

    python experiments/benchmarks/large_batches.py --output DIR

The preset that runs without arguments, at 96x96 with a cosine schedule, on one set of
synthetic radiographs. What is finished is not trained again.
"""

import dataclasses
import json
import math
from pathlib import Path

from keras_mscam.configs import PRESETS
from keras_mscam.data.manifest import Manifest
from keras_mscam.errors import command
from keras_mscam.training.train_run import train

import pandas as pd
import tyro

SIZE = (96, 96)
#: Batch size, batches whose gradients are averaged for an update, and epochs. The first
#: one's rate is the preset's. Batch normalization sees a batch, not all of an update.
TRAININGS = ((32, 1, 16), (128, 1, 16), (512, 1, 16), (512, 1, 24), (32, 16, 24))


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
        "| batch | averaged | learning rate | epochs | updates | validation loss: "
        "lowest | last | AUROC | accuracy at IoU > 0.3 |\n|" + " --- |" * 9
    )
    for batch, averaged, epochs in TRAININGS:
        ratio = batch * averaged / TRAININGS[0][0]
        rate = preset.training.learning_rate * math.sqrt(ratio)
        run = output / f"batch{batch}x{averaged}-epochs{epochs}-seed{seed}"
        config = dataclasses.replace(
            preset,
            data=dataclasses.replace(
                preset.data, path=records, phantoms=images, image_size=SIZE
            ),
            training=dataclasses.replace(
                preset.training,
                batch_size=batch,
                gradient_accumulation_steps=averaged,
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
        updates = epochs * (training_images // batch) // averaged
        metrics = json.loads((run / "metrics.json").read_text())
        means = metrics["localization"]["attention"]["mean_accuracy"]
        accuracy = means["iou"]["0.3"]["value"]
        print(
            f"| {batch} | {averaged} | {rate:.1e} | {epochs} | {updates} | "
            f"{losses.min():.2f} | {losses.iloc[-1]:.2f} | "
            f"{metrics['auroc_mean']['value']:.3f} | {accuracy:.2f} |"
        )


@command
def main() -> None:
    tyro.cli(compare)


if __name__ == "__main__":
    main()
