"""Multiscale heads on a frozen network that was trained with its last block alone.

    python experiments/weights/run.py --output DIR

For every seed, the built-in set is drawn and DN-CAM is trained on it; then its backbone
is frozen and A-CNN+'s heads are trained on its features (the preset
`multiscale-probe`); and A-CNN+ is trained as a whole, to compare. What is finished is
not done again.
"""

import dataclasses
import json
import time
from pathlib import Path

from keras_mscam.configs import PRESETS
from keras_mscam.errors import command
from keras_mscam.training.train_run import train

import numpy as np
import pandas as pd
import tyro

HERE = Path(__file__).parent
SYSTEMS = ("dn-cam", "probe", "a-cnn-plus")
TITLES = {
    "dn-cam": "DN-CAM, whose backbone is taken",
    "probe": "heads on its frozen backbone",
    "a-cnn-plus": "A-CNN+, trained as a whole",
}


def run(output: Path, seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    """Train what is missing, write `results.csv`, and print the table of the README.

    Args:
        output: Folder of the runs.
        seeds: Of the synthetic radiographs, the weights and the order.
    """
    for seed in seeds:
        for system in SYSTEMS:
            path = output / f"{system}-seed{seed}"
            if not (path / "seconds.json").is_file():
                start = time.monotonic()
                resume = (path / "config.json").is_file()
                train(configure(system, seed, output), path, resume=resume)
                seconds = time.monotonic() - start
                (path / "seconds.json").write_text(json.dumps(seconds))
    rows = [
        {"system": system, "seed": seed, **read(output / f"{system}-seed{seed}")}
        for system in SYSTEMS
        for seed in seeds
    ]
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "results.csv", index=False, float_format="%.4f")
    print(summarize(table))


def configure(system: str, seed: int, output: Path):
    """Return the configuration of a run; all runs of a seed share its records."""
    whole = PRESETS["phantom-a-cnn-plus"]
    first = f"dn-cam-seed{seed}"
    data = dataclasses.replace(whole.data, split_seed=seed)
    config = {
        "dn-cam": PRESETS["phantom-dn-cam"],
        "probe": dataclasses.replace(
            PRESETS["multiscale-probe"],
            model=dataclasses.replace(whole.model, weights=str(output / first)),
        ),
        "a-cnn-plus": whole,
    }[system]
    if system != "dn-cam":
        data = dataclasses.replace(data, path=output / first / "records")
    return dataclasses.replace(
        config,
        data=data,
        training=dataclasses.replace(config.training, seed=seed),
        localization=whole.localization,
    )


def read(run: Path) -> dict[str, float]:
    """Return the numbers of a run: accuracies of the fused map at IoU > 0.3."""
    table = pd.read_csv(run / "localization.csv")
    chosen = table.query("map == 'attention' and overlap == 'iou' and threshold == 0.3")
    accuracy = chosen.set_index("pathology")["accuracy"]
    metrics = json.loads((run / "metrics.json").read_text())
    return {
        "accuracy": accuracy.mean(),
        "nodules": accuracy["Nodule"],
        "auroc": np.mean(
            [row["auroc"]["value"] for row in metrics["classification"].values()]
        ),
        "seconds": json.loads((run / "seconds.json").read_text()),
    }


def summarize(table: pd.DataFrame) -> str:
    """Return Markdown: the mean over seeds, and in brackets the lowest and highest."""
    names = {
        "accuracy": "accuracy", "nodules": "nodules", "auroc": "AUROC",
        "seconds": "seconds",
    }  # fmt: skip
    lines = [
        "| system | " + " | ".join(names.values()) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    for system, part in table.groupby("system", sort=False):
        cells = []
        for name in names:
            digits = 0 if name == "seconds" else 2
            mean, low, high = part[name].mean(), part[name].min(), part[name].max()
            cells.append(f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]")
        lines.append(f"| {TITLES[system]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    command(tyro.cli)(run)
