"""Do shallow blocks weigh more for small pathologies, as the paper says?

    python experiments/real/relevance.py --runs DIR

`--runs` is the output of `run.py`. `relevance.svg` shows the weight of blocks 2 and 3,
which is one minus that of the last block, against the size of ground-truth boxes, for
every pathology, twice: as training left it, and as it is when it is learnt anew
on the validation split with all else fixed, after each head was calibrated by itself.
"""

from pathlib import Path

import matplotlib
import numpy as np
import tyro
from scipy.optimize import minimize
from scipy.special import expit, softmax
from scipy.stats import spearmanr

from keras_mscam.errors import command
from keras_mscam.evaluation.calibration import fit_calibration
from keras_mscam.evaluation.split_outputs import Predictions, read_predictions
from keras_mscam.visualization.style import BLUE, in_own_style, short_words, tidy

matplotlib.use("Agg")
STAGES = {
    "drawn": "Synthetic radiographs",
    "planted": "Lesions planted in real X-rays",
    "real": "Real findings",
}
SERIES = {
    "learnt in training": {"color": BLUE, "marker": "o"},
    "learnt anew on validation": {"color": "#D55E00", "marker": "s"},
}


def run(runs: Path, seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    """Draw relevance weights against sizes.

    Args:
        runs: Folder that run.py wrote.
        seeds: Of the trainings.
    """
    points = {}
    for stage in STAGES:
        folders = [runs / stage / f"a-cnn-plus-seed{seed}" for seed in seeds]
        weights = {name: [] for name in SERIES}
        sizes = []
        for folder in folders:
            validation = read_newest(folder, "validation")
            weights["learnt in training"].append(validation.relevance_weights)
            weights["learnt anew on validation"].append(learn_weights(validation))
            sizes.append(measure_sizes(read_newest(folder, "test")))
        points[stage] = (
            np.mean(sizes, axis=0),
            {name: 1 - np.array(values)[:, -1] for name, values in weights.items()},
        )
        for name, shallow in points[stage][1].items():
            rho = [
                spearmanr(size, s)[0] for size, s in zip(sizes, shallow, strict=True)
            ]
            print(stage, name, "Spearman", *(f"{value:+.2f}" for value in rho))
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
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, fontsize=9, loc="outside lower center", ncols=2)
    return figure


@command
def main() -> None:
    tyro.cli(run)


if __name__ == "__main__":
    main()
