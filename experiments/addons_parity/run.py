"""Check an exported model, boxes and label metrics against other implementations.

    python experiments/addons_parity/run.py --run runs/phantom-1

Exports the localizer of a run and stores what this package makes of its images. In an
environment of its own, `reference.py` loads the export in TensorFlow 2.15 and repeats
it with TensorFlow Addons, `other_references.py` with four other packages. Writes
`results.md` and `results.csv` beside this file; exits with 1 if anything is beyond its
tolerance.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path

import keras_mscam.modeling  # noqa: F401  registers what a saved model holds
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import read_examples
from keras_mscam.errors import UserError, command
from keras_mscam.evaluation.calibration import choose_operating_points
from keras_mscam.evaluation.classification import (
    apply_operating_points,
    compute_classification,
)
from keras_mscam.inference.run_calibration import OperatingPoint
from keras_mscam.inference.run_folder import Run, load_run
from keras_mscam.localization import boxes
from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.boxes import compute_iou
from keras_mscam.localization.detection import compute_average_precision
from keras_mscam.modeling import build_localizer

import cv2
import keras
import numpy as np
import pandas as pd
import tyro

HERE = Path(__file__).parent
THRESHOLDS = boxes.WANG_THRESHOLDS
#: By first word. Maps: of their range. Boxes: of the masks and of the boxes.
TOLERANCES = {
    "probabilities": 1e-5, "attention": 1e-5, "cam": 1e-5, "boxes": 0, "confusion": 0,
    "F1": 1e-6, "AUROC": 1e-9, "largest": 1e-9, "IoU": 1e-9, "average": 1e-9,
    "relevance": 1e-6,
}  # fmt: skip
CHAIN = "TensorFlow 2.15 and Addons"  # where rounding may move a pixel
CHAIN_TOLERANCE = 0.01


def run(run: Path, images: int = 200, environment: Path | None = None) -> bool:
    """Compare; return whether everything agrees.

    Args:
        run: Folder that keras_mscam-train made.
        images: Test images to look at; as many of validation choose the thresholds.
        environment: Where the other environment is kept; a temporary one by default.
    """
    opened = load_run(run)
    if images < 1:
        raise UserError(f"--images must be at least 1, but is {images}.")
    if not opened.model_path.is_file():
        raise UserError(f"{run} has no model.keras; wait until its training has ended.")
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), []
        python = make_environment(environment or folder / "environment")
        ours = compute_ours(opened, images, folder / "model")
        np.savez(folder / "ours.npz", **ours)
        for script in ("reference", "other_references"):
            # -E: what is on PYTHONPATH here isn't for that environment.
            call(f"{script}.py failed.", python, "-E", HERE / f"{script}.py", folder)
            with np.load(folder / f"{script}.npz") as theirs:
                for key in theirs:
                    rows += compare(*key.split("|"), theirs[key], ours)
    return write_results(pd.DataFrame(rows), ours, images)


def make_environment(path: Path) -> Path:
    """Make the other environment, unless it is there; return its Python."""
    python, wanted = path / "bin" / "python", HERE / "requirements.txt"
    made = path / "requirements.txt"  # written last: a broken-off one is made anew
    if not made.is_file() or made.read_text() != wanted.read_text():
        base = shutil.which("python3.11")
        if base is None:
            raise UserError("There is no python3.11 on the PATH; install it.")
        message = f"No environment could be made in {path}; see what pip says above."
        call(message, base, "-m", "venv", path)
        call(message, python, "-m", "pip", "install", "-q", "-r", wanted)
        shutil.copy(wanted, made)
    return python


def call(message: str, *words) -> None:
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    words = [str(word) for word in words]
    if subprocess.run(words, env=quiet, stdout=subprocess.DEVNULL).returncode:
        raise UserError(message)


def compute_ours(run: Run, images: int, export: Path) -> dict[str, np.ndarray]:
    """Export the localizer; return inputs, and results by the names of the table."""
    localizer = build_localizer(keras.saving.load_model(run.model_path))
    localizer.export(export, verbose=False)
    seen, outputs = predict(localizer, run, "validation", images)
    validation = np.stack([e.labels for e in seen]), outputs["probabilities"]
    examples, outputs = predict(localizer, run, "test", images)
    labels = np.stack([e.labels for e in examples])
    cams = [cam for maps in outputs["attention"] for cam in np.moveaxis(maps, -1, 0)]
    heatmaps = np.stack([boxes.normalize_map(cam) for cam in cams])
    noise = np.random.default_rng(0).random((100, 48, 64), "float32")
    names = Manifest.read(run.records).pathologies
    return {
        **outputs,
        "pixels": np.stack([e.image for e in examples])[..., None].astype("float32"),
        "labels": labels, "thresholds": np.array(THRESHOLDS), "heatmaps": heatmaps,
        "noise": noise, "validation labels": validation[0],
        "validation probabilities": validation[1],
        **find_both("maps", heatmaps), **find_both("noise", noise),
        **compute_labels(labels, outputs["probabilities"], *validation, names),
        **compute_overlaps(examples, heatmaps, names),
    }  # fmt: skip


def predict(localizer, run: Run, split: str, images: int):
    size = localizer.input.shape[1:3]
    stream = read_examples(run.records, split, image_size=size)
    known = (e for e in stream if not np.isnan(e.labels).any())  # Addons knows no NaN
    examples = list(islice(known, images))
    if not examples:
        raise UserError(f"No image of the {split} split has all its labels.")
    pixels = np.stack([e.image for e in examples])[..., None].astype("float32")
    return examples, localizer.predict(pixels, batch_size=16, verbose=0)


def find_both(name: str, heatmaps) -> dict[str, np.ndarray]:
    """Rows `(mask, left, top, right, bottom)`: ours; OpenCV's of 4 neighbours."""
    ours, four = [], []
    pairs = [(heatmap, threshold) for heatmap in heatmaps for threshold in THRESHOLDS]
    for number, (heatmap, threshold) in enumerate(pairs):
        mask = (heatmap > threshold).astype("uint8")
        stats = cv2.connectedComponentsWithStats(mask, connectivity=4)[2][1:]
        corners = np.hstack([stats[:, :2], stats[:, :2] + stats[:, 2:4]])
        four.append(np.insert(corners, 0, number, axis=1))
        xyxy = boxes.find_boxes(heatmap, threshold).xyxy
        ours.append(np.insert(xyxy, 0, number, axis=1))
    return {
        f"boxes of {name}": np.concatenate(ours),
        f"boxes of {name}, 4 neighbours": np.concatenate(four),
    }


def compute_labels(labels, probabilities, known, seen, names) -> dict[str, np.ndarray]:
    points = choose_operating_points(known, seen, names).values()
    # A pathology without operating point is thresholded at 0.5.
    chosen = [0.5 if p.reason else p.probability_threshold for p in points]
    js = [np.nan if p.reason else p.sensitivity + p.specificity - 1 for p in points]
    rows = compute_classification(labels, probabilities, names).values()
    result = {
        "chosen calls": probabilities >= np.array(chosen),
        "largest J on validation": np.array(js),
        "AUROC": np.array([row["auroc"] for row in rows], "float64"),
    }
    for at, thresholds in (("0.5", [0.5] * len(names)), ("chosen", chosen)):
        given = {
            name: OperatingPoint(probability_threshold=threshold)
            for name, threshold in zip(names, thresholds, strict=True)
        }
        rows = apply_operating_points(given, labels, probabilities, names).values()
        result[f"confusion at {at}"] = np.array(
            [[[row["tn"], row["fp"]], [row["fn"], row["tp"]]] for row in rows]
        )
        result[f"F1 at {at}"] = np.array([row["f1"] for row in rows], "float64")
    return result


def compute_overlaps(examples, heatmaps, names) -> dict[str, np.ndarray]:
    """Rows `(item, pathology, left, top, right, bottom, score)`; IoU of all; AP."""
    items, predicted, truths, heatmaps = [], [], [], iter(heatmaps)
    for example in examples:
        for column, name in enumerate(names):
            found = boxes.extract_boxes(next(heatmaps), example.original_size)
            truth = [box.xyxy for box in example.boxes if box.pathology == name]
            if not truth and example.labels[column]:
                continue  # labelled positive, but without a box
            start = [len(items), column]
            scored = zip(found.xyxy, found.scores, strict=True)
            predicted += [[*start, *b, s] for b, s in scored]
            truths += [[*start, *b, 0] for b in truth]
            items.append(
                Localization(name, example.patient, truth, found.xyxy, found.scores)
            )
    predicted, truths = (np.reshape(rows, (-1, 7)) for rows in (predicted, truths))
    rows = compute_average_precision(items, names, 0.3).values()
    precision = np.array([row["average_precision"] for row in rows], "float64")
    return {
        "predicted": predicted, "truths": truths,
        "IoU": compute_iou(predicted[:, 2:6], truths[:, 2:6]),
        "average precision at IoU 0.3": precision,
    }  # fmt: skip


def compare(against: str, what: str, theirs: np.ndarray, ours: dict) -> list[dict]:
    """Make the rows of one result: one, or of masks and of boxes."""
    mine, tolerance = ours[what], TOLERANCES[re.match("[A-Za-z0-9]+", what)[0]]
    row = {"against": against, "what": what, "tolerance": tolerance}
    if not what.startswith("boxes"):
        # A number a pathology may be undefined; Addons' F1 is 0 there.
        known = ~np.isnan(mine) if mine.ndim == 1 else np.ones(mine.shape, bool)
        scale = np.ptp(mine) if what.startswith(("attention", "cam")) else 1
        gaps = np.abs(np.asarray(theirs, "float64") - mine)[known] / scale
        worst = float(gaps.max(initial=0))
        counts = {"compared": gaps.size, "equal": int((gaps == 0).sum())}
        return [{**row, **counts, "difference": worst}]
    theirs, mine = (Counter(map(tuple, rows.tolist())) for rows in (theirs, mine))
    masks = len(THRESHOLDS) * len(ours["noise" if "noise" in what else "heatmaps"])
    other = len({box[0] for box in (theirs - mine) + (mine - theirs)})
    union, both = (theirs | mine).total(), (theirs & mine).total()
    share = CHAIN_TOLERANCE if against == CHAIN else tolerance
    counts = (("masks", masks, masks - other), ("boxes", union, both))
    return [
        {**row, "what": f"{what}: {unit}", "compared": count, "equal": equal,
         "difference": count - equal, "tolerance": int(share * count)}
        for unit, count, equal in counts
    ]  # fmt: skip


def count_changed(name: str, ours: dict) -> int:
    """Masks that have other boxes by four neighbours than by eight."""
    eight, four = f"boxes of {name}", f"boxes of {name}, 4 neighbours"
    return compare("", eight, ours[four], ours)[0]["difference"]


def write_results(table: pd.DataFrame, ours: dict, images: int) -> bool:
    """Write `results.md` and `results.csv`; return whether all is within tolerance."""
    table["agrees"] = table.difference <= table.tolerance
    table.to_csv(HERE / "results.csv", index=False)
    pins = re.findall(r"^(\S+)==(\S+)", (HERE / "requirements.txt").read_text(), re.M)
    lines = [
        "# Against TensorFlow Addons and others\n",
        f"    python experiments/addons_parity/run.py --run RUN --images {images}\n",
        f"Ours: Python {platform.python_version()}, Keras {keras.__version__} on "
        f"{keras.backend.backend()}, NumPy {np.__version__}, OpenCV {cv2.__version__}. "
        f"Theirs: Python 3.11, {', '.join(map(' '.join, pins))}. {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} CPU cores.\n",
        f"{len(ours['labels'])} test images. Maps: differences are fractions of "
        "their range. Boxes: differences are counts. Four neighbours instead of eight "
        f"would change the boxes of {count_changed('maps', ours)} masks of maps and of "
        f"{count_changed('noise', ours)} masks of noise.\n",
        "| against | what | compared | exactly equal | difference | tolerance |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in table.itertuples():
        lines.append(
            f"| {row.against} | {row.what} | {row.compared} | {row.equal} | "
            f"{row.difference:.3g} | {row.tolerance:.3g} |"
        )
    (HERE / "results.md").write_text("\n".join(lines) + "\n")
    for row in table[~table.agrees].itertuples():
        print(f"beyond its tolerance: {row.against}, {row.what}", file=sys.stderr)
    return bool(table.agrees.all())


@command
def main() -> None:
    if not tyro.cli(run):
        sys.exit(1)


if __name__ == "__main__":
    main()
