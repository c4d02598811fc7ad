"""What TensorFlow 2.15 and TensorFlow Addons make of the inputs that `run.py` stored.

Knows nothing of this package. Addons' `connected_components` joins the four neighbours
of a pixel, ours joins eight; `widen` makes one of the other.
"""

import sys
import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")  # Addons warns that it has ended

import tensorflow as tf  # noqa: E402
import tensorflow_addons as tfa  # noqa: E402


def main(folder: Path) -> None:
    ours = np.load(folder / "ours.npz")
    thresholds, labels, calls = ours["thresholds"], ours["labels"], ours["chosen calls"]
    probabilities = ours["probabilities"]
    outputs = run_export(folder / "model", ours["pixels"])
    maps = np.moveaxis(outputs["attention"], -1, 1).reshape(ours["heatmaps"].shape)
    scaled, noise = [scale(cam) for cam in maps], ours["noise"]
    addons = {
        "boxes of maps": find_boxes(ours["heatmaps"], thresholds, widen),
        "boxes of noise": find_boxes(noise, thresholds, widen),
        "boxes of noise, 4 neighbours": find_boxes(noise, thresholds),
        "confusion at 0.5": count(labels, probabilities >= 0.5),
        "confusion at chosen": count(labels, calls),
        "F1 at 0.5": compute_f1(labels, probabilities),
        "F1 at chosen": compute_f1(labels, calls),
    }
    # Each map is scaled, cut and enclosed anew: a rounding error may move a pixel.
    chain = {"boxes of maps": find_boxes(scaled, thresholds, widen)}
    sources = {
        "TensorFlow 2.15": outputs,
        "TensorFlow 2.15 and Addons": chain,
        "TensorFlow Addons": addons,
    }
    results = {
        f"{s}|{key}": v for s, found in sources.items() for key, v in found.items()
    }
    np.savez(folder / "reference.npz", **results)


def run_export(path: Path, pixels: np.ndarray) -> dict[str, np.ndarray]:
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    starts = range(0, len(pixels), 16)
    batches = [serve(tf.constant(pixels[start : start + 16])) for start in starts]
    return {
        name: np.concatenate([b[name] for b in batches]) for name in sorted(batches[0])
    }


def scale(cam: np.ndarray) -> np.ndarray:
    cam = cam.astype("float64")
    return ((cam - cam.min()) / (np.ptp(cam) or 1)).astype("float32")


def widen(mask: np.ndarray) -> np.ndarray:
    """Make of every pixel a 3x3 square, on a grid of two steps a pixel.

    Squares of pixels that are among their eight neighbours overlap; all others have an
    empty row or column between them. So the 4-connected components of the result are
    the 8-connected ones of `mask`.
    """
    height, width = mask.shape
    wide = np.zeros((2 * height + 1, 2 * width + 1), bool)
    for y, x in np.ndindex(3, 3):
        wide[y : y + 2 * height : 2, x : x + 2 * width : 2] |= mask
    return wide


def find_boxes(heatmaps, thresholds, widen=None) -> np.ndarray:
    """Rows `(mask, left, top, right, bottom)` around Addons' components."""
    rows, masks = (
        [],
        (heatmap > threshold for heatmap in heatmaps for threshold in thresholds),
    )
    for number, mask in enumerate(masks):
        image = tf.constant(widen(mask) if widen else mask)
        labels = tfa.image.connected_components(image).numpy()
        labels = labels[1::2, 1::2] * mask if widen else labels
        y, x = np.nonzero(labels)
        _, owner = np.unique(labels[y, x], return_inverse=True)
        corners = np.array(
            [[2**31, 2**31, 0, 0]] * (owner.max(initial=-1) + 1), "int64"
        )
        corners = corners.reshape(-1, 4)
        np.minimum.at(corners[:, :2], owner, np.stack([x, y], 1))
        np.maximum.at(corners[:, 2:], owner, np.stack([x, y], 1) + 1)
        rows.append(np.insert(corners, 0, number, axis=1))
    return np.concatenate(rows)


def count(labels, calls) -> np.ndarray:
    matrix = tfa.metrics.MultiLabelConfusionMatrix(num_classes=labels.shape[1])
    matrix.update_state(labels, calls.astype("float32"))
    return matrix.result().numpy()


def compute_f1(labels, scores) -> np.ndarray:
    f1 = tfa.metrics.F1Score(labels.shape[1], average=None, threshold=0.5)
    f1.update_state(labels, scores.astype("float32"))
    return f1.result().numpy()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
