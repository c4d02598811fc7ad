"""Do shallow blocks weigh more for small pathologies, as the paper says?

    python experiments/real/relevance.py --runs DIR

`--runs` is the output of `run.py`. `relevance.svg` shows the weight of blocks 2 and 3,
which is one minus that of the last block, against the size of ground-truth boxes, for
every pathology: as training left it; as it is when it is learnt anew on the validation
split with all else fixed, after each head was calibrated by itself; and, where lesions
are planted, as the fused map overlaps best with their boxes. With these last weights,
the network trained on real findings is then measured on real boxes.
"""

from itertools import product
from pathlib import Path

from keras_mscam.configs import PRESETS
from keras_mscam.errors import command
from keras_mscam.evaluation.calibration import fit_calibration
from keras_mscam.evaluation.localize import localize
from keras_mscam.evaluation.split_outputs import (
    Predictions,
    predict_split,
    read_predictions,
)
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_calibration import find_calibration
from keras_mscam.inference.run_folder import load_run
from keras_mscam.localization.boxes import compute_iou
from keras_mscam.localization.fusion import Fusion
from keras_mscam.visualization.style import BLUE, in_own_style, short_words, tidy

import matplotlib
import numpy as np
import tyro
from scipy.optimize import minimize
from scipy.special import expit, softmax
from scipy.stats import spearmanr

matplotlib.use("Agg")
STAGES = {
    "drawn": "Synthetic radiographs",
    "planted": "Lesions planted in real X-rays",
    "real": "Real findings",
}
SERIES = {
    "learnt in training": {"color": BLUE, "marker": "o"},
    "learnt anew on validation": {"color": "#D55E00", "marker": "s"},
    "fitted to planted boxes": {"color": "#009E73", "marker": "^"},
}
PLUS = PRESETS["paper-a-cnn-plus"].localization


def run(runs: Path, seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    """Draw relevance weights against sizes.

    Args:
        runs: Folder that run.py wrote.
        seeds: Of the trainings.
    """
    points, fitted = {}, []
    for stage in STAGES:
        folders = [runs / stage / f"a-cnn-plus-seed{seed}" for seed in seeds]
        weights = {name: [] for name in SERIES}
        sizes = []
        for seed, folder in zip(seeds, folders, strict=True):
            validation = read_newest(folder, "validation")
            weights["learnt in training"].append(validation.relevance_weights)
            weights["learnt anew on validation"].append(learn_weights(validation))
            if stage == "planted":
                records = runs / f"set-planted-seed{seed}" / "records"
                fitted.append(fit_to_boxes(folder, records))
                weights["fitted to planted boxes"].append(fitted[-1])
            sizes.append(measure_sizes(read_newest(folder, "test")))
        points[stage] = (
            np.mean(sizes, axis=0),
            {n: 1 - np.array(w)[:, -1] for n, w in weights.items() if w},
        )
        for name, shallow in points[stage][1].items():
            rho = [
                spearmanr(size, s)[0] for size, s in zip(sizes, shallow, strict=True)
            ]
            print(stage, name, "Spearman", *(f"{value:+.2f}" for value in rho))
    for folder, weights in zip(folders, fitted, strict=True):
        boxed = read_newest(folder, "test")
        deviations = read_deviations(folder)
        equal = np.full(weights.shape, 1 / len(weights))
        print(
            folder.name, "accuracy on real boxes at IoU > 0.3",
            *(f"{name} {measure_accuracy(boxed, w, deviations):.3f}"
              for name, w in (("equal", equal), ("fitted", weights))),
        )  # fmt: skip
    figure = plot(points, validation.pathologies)
    figure.savefig(Path(__file__).with_name("relevance.svg"))


def read_newest(folder: Path, split: str) -> Predictions:
    """Return stored predictions of a split that has boxes, if one has."""
    found = [read_predictions(p) for p in folder.glob(f"predictions/{split}-*")]
    return max(found, key=lambda predictions: len(predictions.box_xyxy))


def measure_sizes(predictions: Predictions) -> np.ndarray:
    """Return the median square root of the area of each pathology's boxes `(C,)`.

    In parts of the square root of the image's area.
    """
    xyxy = predictions.box_xyxy
    areas = np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1)
    sizes = np.sqrt(
        areas / np.prod(predictions.original_sizes[predictions.box_rows], axis=1)
    )
    columns = range(len(predictions.pathologies))
    return np.array([np.median(sizes[predictions.box_columns == c]) for c in columns])


def learn_weights(predictions: Predictions) -> np.ndarray:
    """Return the weights `(B, C)` of the lowest cross entropy on these predictions.

    Heads are calibrated first (Platt), so that none weighs more by its scale alone.
    """
    names, blocks = predictions.pathologies, len(predictions.blocks)
    calibrated = np.empty_like(predictions.block_logits)
    for block in range(blocks):
        logits = predictions.block_logits[:, block]
        fits = fit_calibration(predictions.labels, logits, names)
        for c, name in enumerate(names):
            fit = fits[name]
            calibrated[:, block, c] = fit.slope * logits[:, c] + fit.intercept
    weights = np.empty((blocks, len(names)))
    for c in range(len(names)):
        truth, logits = predictions.labels[:, c], calibrated[:, :, c]

        def cross_entropy(x, truth=truth, logits=logits):
            probabilities = np.clip(expit(logits @ softmax(x)), 1e-7, 1 - 1e-7)
            return -np.mean(
                truth * np.log(probabilities) + (1 - truth) * np.log(1 - probabilities)
            )

        weights[:, c] = softmax(minimize(cross_entropy, np.zeros(blocks)).x)
    return weights


def fit_to_boxes(folder: Path, records: Path) -> np.ndarray:
    """Return the weights `(B, C)` with which the fused map overlaps best with boxes.

    Of the training and validation splits; maps are divided by their standard deviations
    first. Weights are multiples of a quarter, chosen by the mean IoU of the best
    predicted box.
    """
    run = load_run(folder)
    classifier = load_classifier(run)
    splits = [
        predict_split(run, classifier, records, split)
        for split in ("train", "validation")
    ]
    deviations = read_deviations(folder)
    blocks, pathologies = deviations.shape
    candidates = [
        np.array(quarters) / 4
        for quarters in product(range(5), repeat=blocks)
        if sum(quarters) == 4
    ]
    means = []
    for candidate in candidates:
        weights = np.repeat(candidate[:, None], pathologies, axis=1)
        found = [measure_overlaps(split, weights, deviations) for split in splits]
        means.append([np.concatenate(ious).mean() for ious in zip(*found, strict=True)])
    return np.stack([candidates[best] for best in np.argmax(means, axis=0)], axis=1)


def read_deviations(folder: Path) -> np.ndarray:
    """Return the standard deviations of a run's maps on validation, `(B, C)`."""
    return find_calibration(load_run(folder)).deviations


def measure_accuracy(
    boxed: Predictions, weights: np.ndarray, deviations: np.ndarray
) -> float:
    """Return the mean accuracy at IoU > 0.3 over pathologies."""
    found = measure_overlaps(boxed, weights, deviations)
    return float(np.mean([np.mean(ious > 0.3) for ious in found]))


def measure_overlaps(
    predictions: Predictions, weights: np.ndarray, deviations: np.ndarray
) -> list[np.ndarray]:
    """Return, by pathology, the highest IoU of every ground-truth box."""
    fusion = Fusion((weights / deviations).astype("float32"), weights.sum(axis=0))
    nothing = np.zeros(predictions.logits.shape)
    found = {name: [] for name in predictions.pathologies}
    for image in localize(predictions, fusion, PLUS, nothing, negatives=False):
        ious = compute_iou(image.predicted, image.truth)
        found[image.pathology].append(ious.max(axis=0, initial=0))
    return [np.concatenate(ious) for ious in found.values()]


@in_own_style
def plot(points: dict, pathologies: tuple[str, ...]):
    """Plot a panel for each stage: every pathology, and its range over seeds."""
    from keras_mscam.visualization.style import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, len(points), sharey=True)
    for axis, (stage, (sizes, series)) in zip(axes, points.items(), strict=True):
        for shift, (name, shallow) in enumerate(series.items()):
            middle = shallow.mean(axis=0)
            spread = [middle - shallow.min(axis=0), shallow.max(axis=0) - middle]
            axis.errorbar(
                sizes + 0.006 * shift, middle, spread, linestyle="none", markersize=4,
                linewidth=1, label=name, **SERIES[name],
            )  # fmt: skip
        place = 0.0
        for size, name in sorted(zip(sizes, pathologies, strict=True)):
            place = max(size, place + 0.02)  # names side by side
            axis.text(
                place, 1.03, short_words(name), rotation=90, fontsize=8, ha="center"
            )
        axis.set_ylim(0, 1.4)
        axis.set_yticks(np.arange(0, 1.01, 0.2))
        axis.set_xlabel("size of ground-truth boxes, of the image's side")
        axis.set_title(STAGES[stage], fontsize=10)
        tidy(axis)
    axes[0].set_ylabel("relevance weight of blocks 2 and 3")
    handles = axes[1].get_legend_handles_labels()
    figure.legend(*handles, fontsize=9, loc="outside lower center", ncols=3)
    return figure


@command
def main() -> None:
    tyro.cli(run)


if __name__ == "__main__":
    main()
