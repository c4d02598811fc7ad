"""Check boxes and label metrics against TensorFlow Addons, on an exported model.

    python experiments/addons_parity/run.py --run runs/phantom-1

Exports the localizer of a run, stores what this package makes of some test images, and
has `reference.py` load the export in TensorFlow 2.15, in an environment of its own, and
repeat it with TensorFlow Addons. Writes `results.md` beside this file; exits with 1 if
anything is further apart than is stated there.
"""

import json
import platform
import subprocess
import sys
import tempfile
import venv
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import tyro

import keras_mscam.modeling  # noqa: F401  registers what a saved model holds
from keras_mscam.classification import compute_confusion, compute_f1
from keras_mscam.data.pipeline import read_examples
from keras_mscam.errors import UserError, command
from keras_mscam.localization.boxes import find_boxes, normalize_map
from keras_mscam.modeling import build_localizer
from keras_mscam.run_folder import read_run

HERE = Path(__file__).parent
LEVELS = (60 / 255, 180 / 255)


def run(run: Path, images: int = 200, environment: Path | None = None) -> bool:
    """Compare; return whether everything agrees.

    Args:
        run: Folder that keras_mscam-train made.
        images: Test images to look at.
        environment: Where the other environment is kept; a temporary one by default.
    """
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        python = make_environment(environment or folder / "environment")
        store_ours(Path(run), images, folder)
        command = [python, HERE / "reference.py", folder]
        subprocess.run([str(part) for part in command], check=True)
        results = json.loads((folder / "results.json").read_text())
    return write_results(results)


def make_environment(path: Path) -> Path:
    """Make the other environment, unless it is there; return its Python."""
    python = path / "bin" / "python"
    if not python.exists():
        venv.create(path, with_pip=True)
        install = [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "-r",
            HERE / "requirements.txt",
        ]
        done = subprocess.run([str(part) for part in install])
        if done.returncode:
            raise UserError(
                f"The environment in {path} could not be made; it needs Python 3.11 "
                f"(this is {platform.python_version()}) and pip's index."
            )
    return python


def store_ours(run: Path, images: int, folder: Path) -> None:
    """Export the localizer; store images, labels, and what we make of them."""
    opened = read_run(run)
    localizer = build_localizer(keras.saving.load_model(opened.model_path))
    localizer.export(folder / "model", verbose=False)
    size = localizer.input.shape[1:3]
    examples = list(
        islice(read_examples(opened.records, "test", image_size=size), images)
    )
    pixels = np.stack([e.image for e in examples])[..., None].astype("float32")
    outputs = localizer.predict(pixels, batch_size=16, verbose=0)
    labels = np.stack([example.labels for example in examples])
    thresholds = np.full(labels.shape[1], 0.5)
    confusion = compute_confusion(labels, outputs["probabilities"], thresholds)
    heatmaps = [
        normalize_map(outputs["attention"][row, ..., column])
        for row in range(len(examples))
        for column in np.flatnonzero(labels[row] == 1)
    ]
    boxes = [
        find_boxes(heatmap, level).xyxy for heatmap in heatmaps for level in LEVELS
    ]
    np.savez(
        folder / "ours.npz",
        pixels=pixels,
        labels=labels,
        probabilities=outputs["probabilities"],
        attention=outputs["attention"],
        heatmaps=np.stack(heatmaps),
        levels=LEVELS,
        boxes=np.concatenate(boxes),
        counts=[len(found) for found in boxes],
        confusion=confusion,
        f1=compute_f1(confusion),
    )


def write_results(results: dict) -> bool:
    """Write `results.md`; return whether every row is within its tolerance."""
    lines = [
        "# Against TensorFlow Addons\n",
        f"TensorFlow {results['tensorflow']}, TensorFlow Addons {results['addons']}, "
        f"loading a model exported by Keras {keras.__version__}; CPU, "
        f"{platform.machine()}.\n",
        "| what | compared | largest difference | tolerance |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['what']} | {row['compared']} | {row['difference']:.2g} | "
        f"{row['tolerance']:.2g} |"
        for row in results["rows"]
    ]
    (HERE / "results.md").write_text("\n".join(lines) + "\n")
    return all(row["difference"] <= row["tolerance"] for row in results["rows"])


@command
def main() -> None:
    if not tyro.cli(run):
        sys.exit(1)


if __name__ == "__main__":
    main()
