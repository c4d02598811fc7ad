"""Which boxes a person is shown: how the threshold was chosen, and what it changed.

    python experiments/shown_boxes/run.py choose --runs RUN ... --output DIR
    python experiments/shown_boxes/run.py measure --runs RUN ... --data RECORDS

The first looks for the thresholds of `SHOWN_THRESHOLDS` on synthetic radiographs that
it draws for that alone; no real X-ray is looked at. The second compares what was shown
before (all thresholds of the evaluation protocol at once) with what is shown now.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from keras_mscam.configs.schema import WANG_THRESHOLDS, MapConfig, ShownConfig
from keras_mscam.data.preparation import prepare
from keras_mscam.errors import command
from keras_mscam.evaluation.calibration import calibrate_run
from keras_mscam.evaluation.localize import FusedMap, group_boxes, map_fused
from keras_mscam.evaluation.split_outputs import Predictions, predict_split
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import is_prepared, load_run
from keras_mscam.localization.boxes import (
    compute_iobb,
    compute_iou,
    extract_boxes,
    select_shown,
)
from keras_mscam.localization.fusion import Fusion, build_fusion
from keras_mscam.localization.protocol import SHOWN_THRESHOLDS
from keras_mscam.phantom import write_phantoms

import numpy as np
import pandas as pd
import tyro

#: Of the synthetic radiographs that the threshold is chosen on; no run is trained on
#: them, and no table is made of them.
SEED, IMAGES = 2018, 2400
GRID = tuple(step / 20 for step in range(2, 20))
#: Of a hit, IoU or IoBB.
HIT = 0.3
RULE = ShownConfig()


def run(
    what: Annotated[Literal["choose", "measure"], tyro.conf.Positional],
    runs: tuple[Path, ...],
    output: Path = Path("shown_boxes"),
    data: Path | None = None,
) -> None:
    """Print a table of means over the pathologies that have ground-truth boxes.

    Args:
        what: To choose the threshold, or to measure what is shown.
        runs: Folders of trained runs.
        output: For the synthetic set, and for predictions of runs that are read only.
        data: Prepared records to measure on; those of each run by default.
    """
    if what == "choose":
        data = draw_set(output, load_run(runs[0]).config.data.image_size)
    tables = []
    for path in runs:
        loaded = load_run(path)
        maps = loaded.config.localization
        predictions, fusion, positive = load(path, data or loaded.records, output)
        look = try_thresholds if what == "choose" else compare_rules
        table = look(predictions, fusion, maps, positive)
        table.insert(0, "normalization", maps.normalization)
        table.insert(0, "run", path.name)
        tables.append(table)
    table = pd.concat(tables)
    if what == "choose":
        by = ["normalization", "threshold"]
        table = table.drop(columns="run").groupby(by).mean().reset_index()
    print(table.to_markdown(index=False, floatfmt=".4f"))


def draw_set(output: Path, image_size: tuple[int, int]) -> Path:
    """Draw and prepare the set that thresholds are chosen on."""
    records = output / "records"
    if not is_prepared(records):
        write_phantoms(output / "radiographs", IMAGES, SEED, image_size)
        prepare(output / "radiographs", records, image_size=image_size)
    return records


def load(path: Path, records: Path, output: Path):
    """Return predictions of the test split, the fusion, and what is positive."""
    loaded = load_run(path)
    classifier = load_classifier(loaded)
    calibration = calibrate_run(loaded, classifier, False, output)
    predictions = predict_split(loaded, classifier, records, "test", output=output)
    fusion = build_fusion(
        loaded.config.localization.fusion,
        predictions.relevance_weights,
        calibration.deviations,
    )
    positive = np.zeros(predictions.logits.shape, bool)
    for column, name in enumerate(predictions.pathologies):
        probabilities = calibration.calibrations[name].apply(
            predictions.logits[:, column]
        )
        threshold = calibration.operating_points[name].probability_threshold
        positive[:, column] = probabilities >= (2 if threshold is None else threshold)
    return predictions, fusion, positive


def try_thresholds(
    predictions: Predictions, fusion: Fusion, maps: MapConfig, positive: np.ndarray
) -> pd.DataFrame:
    """Measure the boxes of every threshold where there is a ground-truth box."""

    def cut(threshold: float) -> Callable:
        return lambda heatmap, size: _show(heatmap, size, threshold)

    rules = {threshold: cut(threshold) for threshold in GRID}
    wanted = group_boxes(predictions)
    rows = look_at(predictions, fusion, maps, rules, list(wanted))
    table = rows.groupby(["rule", "pathology"])[_OF_TRUTH].mean()
    return table.groupby("rule").mean().rename_axis("threshold").reset_index()


def compare_rules(
    predictions: Predictions, fusion: Fusion, maps: MapConfig, positive: np.ndarray
) -> pd.DataFrame:
    """Compare what was shown with what is shown, where pathologies are positive."""
    threshold = SHOWN_THRESHOLDS[maps.normalization]
    rules = {
        "before": lambda heatmap, size: (
            extract_boxes(heatmap, size, WANG_THRESHOLDS, max_boxes=10).xyxy
        ),
        "now": lambda heatmap, size: _show(heatmap, size, threshold),
    }
    boxed = group_boxes(predictions)
    wanted = {*map(tuple, np.argwhere(positive).tolist()), *boxed}
    rows = look_at(predictions, fusion, maps, rules, wanted)
    rows["positive"] = positive[rows["row"], rows["column"]]
    lines = []
    for rule, group in rows.groupby("rule", sort=False):
        shown = group[group["positive"]]
        truth = group[group["truths"] > 0]
        found = truth.groupby("pathology")[["iou", "hit", "iobb_hit"]].mean().mean()
        seen = truth.assign(hit=truth["hit"] * truth["positive"])
        lines.append(
            {
                "rule": rule,
                "boxes per image": shown["boxes"].sum() / len(predictions.names),
                "boxes per positive": shown["boxes"].mean(),
                "most": shown["boxes"].max(),
                "without a box": (shown["boxes"] == 0).mean(),
                "with nested boxes": (shown["nested"] > 0).mean(),
                "image covered": shown["covered"].mean(),
                "over half covered": (shown["covered"] > 0.5).mean(),
                "mean IoU": found["iou"],
                "hit, IoU": found["hit"],
                "hit, IoBB": found["iobb_hit"],
                "hit and positive": seen.groupby("pathology")["hit"].mean().mean(),
                "boxes that hit": truth["hits"].sum() / truth["boxes"].sum(),
            }
        )
    return pd.DataFrame(lines)


_OF_TRUTH = ["boxes", "iou", "hit", "iobb_hit", "nested", "covered"]


def look_at(predictions, fusion, maps, rules: dict, wanted) -> pd.DataFrame:
    """Return a row for every rule and every wanted image and pathology."""
    truth = group_boxes(predictions)

    def look(fused: FusedMap) -> list[dict]:
        size = tuple(predictions.original_sizes[fused.row].tolist())
        true = truth.get((fused.row, fused.column), np.zeros((0, 4)))
        same = {
            "row": fused.row,
            "column": fused.column,
            "pathology": predictions.pathologies[fused.column],
            "truths": len(true),
        }
        return [
            {"rule": rule, **same, **measure(show(fused.heatmap, size), true, size)}
            for rule, show in rules.items()
        ]

    found = map_fused(look, predictions, fusion, maps, wanted)
    return pd.DataFrame([row for rows in found for row in rows])


def _show(heatmap: np.ndarray, size: tuple[int, int], threshold: float) -> np.ndarray:
    found = extract_boxes(heatmap, size, (threshold,), RULE.shown_min_area)
    limits = RULE.shown_max_area, RULE.shown_max_boxes
    return select_shown(found, size, *limits).xyxy


def measure(boxes: np.ndarray, true: np.ndarray, size: tuple[int, int]) -> dict:
    """Measure the boxes of one image and pathology."""
    iou, iobb = compute_iou(boxes, true), compute_iobb(boxes, true)
    inside = (boxes[:, None, :2] >= boxes[None, :, :2]).all(-1)
    inside &= (boxes[:, None, 2:] <= boxes[None, :, 2:]).all(-1)
    covered = np.zeros(size, bool)
    for left, top, right, bottom in np.rint(boxes).astype(int):
        covered[top:bottom, left:right] = True
    return {
        "boxes": len(boxes),
        "nested": int((inside.sum(axis=1) > 1).sum()),  # each lies in itself
        "covered": covered.mean(),
        "iou": iou.max(axis=0, initial=0).mean() if len(true) else 0.0,
        "hit": (iou > HIT).any(axis=0).mean() if len(true) else 0.0,
        "iobb_hit": (iobb > HIT).any(axis=0).mean() if len(true) else 0.0,
        "hits": int((iou > HIT).any(axis=1).sum()),
    }


@command
def main() -> None:
    tyro.cli(run)


if __name__ == "__main__":
    main()
