"""The boxes of an evaluation in COCO's JSON, for other tools to show and measure."""

from collections.abc import Sequence
from pathlib import Path

from keras_mscam.data.coco import Marked, write_coco
from keras_mscam.evaluation.split_outputs import Predictions
from keras_mscam.localization.accuracy import Localization

TRUTH, PREDICTED = "ground_truth.coco.json", "predictions.coco.json"


def write_coco_files(
    folder: Path, predictions: Predictions, localizations: Sequence[Localization]
) -> None:
    """Write the ground-truth boxes of a split, and those of the fused map.

    Both files hold all images of the split under the same numbers. Boxes are predicted
    where it is known whether they are right, see `localize`; so COCO's average
    precision of the two, at one overlap, is that of `compute_average_precision`.
    """
    names = predictions.names.tolist()
    sizes = map(tuple, predictions.original_sizes.tolist())
    images = list(zip(names, sizes, strict=True))
    rows = {name: row for row, name in enumerate(names)}
    known = (
        Marked(row, predictions.pathologies[column], xyxy)
        for row, column, xyxy in zip(
            predictions.box_rows.tolist(), predictions.box_columns.tolist(),
            predictions.box_xyxy.tolist(), strict=True,
        )
    )  # fmt: skip
    found = (
        Marked(rows[item.name], item.pathology, xyxy, score)
        for item in localizations
        for xyxy, score in zip(
            item.predicted.tolist(), item.scores.tolist(), strict=True
        )
    )
    for name, boxes in ((TRUTH, known), (PREDICTED, found)):
        write_coco(folder / name, predictions.pathologies, images, boxes)
