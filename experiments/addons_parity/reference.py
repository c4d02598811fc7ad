"""The other side of `run.py`, for TensorFlow 2.15 and TensorFlow Addons.

Knows nothing of this package: it loads the export and computes boxes and label metrics
by TensorFlow Addons. Its `connected_components` joins the four neighbours of a pixel;
ours joins eight. Two 4-connected components are one 8-connected component exactly if
they touch at a corner, so theirs are joined here where they do, by a plain loop.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")  # Addons warns that it has ended

import tensorflow as tf  # noqa: E402
import tensorflow_addons as tfa  # noqa: E402


def main(folder: Path) -> None:
    ours = np.load(folder / "ours.npz")
    model = tf.saved_model.load(str(folder / "model"))
    serve = model.signatures["serving_default"]
    parts = [
        serve(tf.constant(ours["pixels"][start : start + 16]))
        for start in range(0, len(ours["pixels"]), 16)
    ]
    probabilities = np.concatenate([part["probabilities"] for part in parts])
    attention = np.concatenate([part["attention"] for part in parts])
    spread = float(np.ptp(ours["attention"]))
    rows = [
        compare("probabilities", probabilities, ours["probabilities"], 1e-5),
        compare("fused maps, of their range", attention / spread,
                ours["attention"] / spread, 1e-4),
        compare_boxes(ours),
        *compare_labels(ours),
    ]  # fmt: skip
    results = {
        "tensorflow": tf.__version__, "addons": tfa.__version__, "rows": rows,
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))


def compare(what: str, theirs, ours, tolerance: float) -> dict:
    difference = float(np.abs(np.asarray(theirs) - np.asarray(ours)).max())
    count = f"{np.size(ours)} numbers"
    return {"what": what, "compared": count, "difference": difference,
            "tolerance": tolerance}  # fmt: skip


def compare_boxes(ours) -> dict:
    """Count the maps and levels whose boxes are not the same."""
    ends = np.cumsum(ours["counts"])
    place, different, boxes = 0, 0, 0
    for heatmap in ours["heatmaps"]:
        for level in ours["levels"]:
            theirs = find_boxes(heatmap > level)
            mine = ours["boxes"][ends[place] - ours["counts"][place] : ends[place]]
            different += sorted(theirs) != sorted(map(tuple, mine.astype(int).tolist()))
            boxes += len(theirs)
            place += 1
    return {"what": "maps and levels with other boxes", "tolerance": 0,
            "compared": f"{place} maps and levels, {boxes} boxes",
            "difference": different}  # fmt: skip


def find_boxes(mask: np.ndarray) -> list:
    """Boxes of the 8-connected components, from Addons' 4-connected ones."""
    labels = tfa.image.connected_components(tf.constant(mask)).numpy()
    parent = list(range(labels.max() + 1))

    def find(label: int) -> int:
        while parent[label] != label:
            label = parent[label]
        return label

    corners = np.concatenate(
        [
            np.stack([labels[:-1, :-1], labels[1:, 1:]], -1).reshape(-1, 2),
            np.stack([labels[:-1, 1:], labels[1:, :-1]], -1).reshape(-1, 2),
        ]
    )
    for first, second in np.unique(corners[(corners > 0).all(1)], axis=0):
        parent[find(first)] = find(second)
    joined = np.array([find(label) for label in parent])[labels]
    boxes = []
    for label in set(joined[mask].tolist()):
        y, x = np.nonzero(joined == label)
        boxes.append((int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1))
    return boxes


def compare_labels(ours) -> list:
    classes = ours["labels"].shape[1]
    called = (ours["probabilities"] >= 0.5).astype("float32")
    matrix = tfa.metrics.MultiLabelConfusionMatrix(num_classes=classes)
    matrix.update_state(ours["labels"], called)
    f1 = tfa.metrics.F1Score(num_classes=classes, average=None, threshold=0.5)
    f1.update_state(ours["labels"], ours["probabilities"])
    defined = ~np.isnan(ours["f1"])
    return [
        compare("confusion matrices", matrix.result(), ours["confusion"], 0),
        compare("F1 where defined", f1.result().numpy()[defined], ours["f1"][defined],
                1e-6),
    ]  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
