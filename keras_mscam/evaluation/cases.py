"""Single images to look at: which ones, and all that is to be seen of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.data.pipeline import read_examples
from keras_mscam.errors import UserError
from keras_mscam.evaluation.localize import map_fused
from keras_mscam.evaluation.measure import HIT
from keras_mscam.evaluation.split_outputs import Predictions
from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.boxes import compute_iou, scale_boxes
from keras_mscam.localization.fusion import Fusion
from keras_mscam.visualization.case_figures import Case


def choose_cases(
    localizations: Sequence[Localization], pathologies: Sequence[str]
) -> list[tuple[Localization, str]]:
    """Choose a typical hit and a confident miss of each pathology.

    The hit is the one of median IoU among those above 0.3, not the best; the miss is
    the one of the highest probability among the others.

    Returns:
        Pairs of a localization and what it is a case of.
    """
    cases = []
    for pathology in pathologies:
        mine = [item for item in localizations if _shows(item, pathology)]
        hits = sorted((i for i in mine if best_iou(i) > HIT), key=best_iou)
        misses = [item for item in mine if best_iou(item) <= HIT]
        if hits:
            cases.append((hits[len(hits) // 2], "typical hit"))
        if misses:
            surest = max(misses, key=lambda item: item.probability)
            cases.append((surest, "most confident miss"))
    return cases


def choose_sheet(
    localizations: Sequence[Localization], pathology: str, most: int = 24
) -> list[tuple[Localization, str]]:
    """Choose images of one pathology, evenly spread from the best hit to the worst."""
    mine = [item for item in localizations if _shows(item, pathology)]
    mine.sort(key=best_iou, reverse=True)
    places = np.unique(np.linspace(0, len(mine) - 1, min(most, len(mine))).astype(int))
    return [(mine[p], "hit" if best_iou(mine[p]) > HIT else "miss") for p in places]


def find_chosen(
    localizations: Sequence[Localization], names: Sequence[str]
) -> list[tuple[Localization, str]]:
    """Find the images that a user has named, with every pathology that has a box.

    Raises:
        UserError: an image has no ground-truth box, or isn't in the split.
    """
    chosen = []
    for name in names:
        mine = [item for item in localizations if item.name == name and len(item.truth)]
        if not mine:
            raise UserError(
                f"There is no image {name} with a ground-truth box in the split."
            )
        chosen += [(item, "chosen") for item in mine]
    return chosen


def load_cases(
    chosen: Sequence[tuple[Localization, str]],
    predictions: Predictions,
    fusion: Fusion,
    protocol: LocalizationConfig,
    records: Path,
    split: str,
) -> list[Case]:
    """Read the images and maps of chosen localizations.

    Args:
        chosen: pairs of a localization and what it is a case of.
        predictions: stored ones that hold their maps.
        fusion: of the maps.
        protocol: normalizes them.
        records: prepared records that hold the images.
        split: of the predictions.
    """
    rows = {name: row for row, name in enumerate(predictions.names.tolist())}
    columns = {name: column for column, name in enumerate(predictions.pathologies)}
    keys = [(rows[item.name], columns[item.pathology]) for item, _ in chosen]
    images = _read_images(records, split, predictions, {row for row, _ in keys})
    fused = {
        (item.row, item.column): item
        for item in map_fused(lambda f: f, predictions, fusion, protocol, set(keys))
    }
    size = predictions.image_size
    blocks = [f"block{block}" for block in predictions.blocks]
    return [
        Case(
            name=item.name,
            pathology=item.pathology,
            kind=kind,
            image=images[key[0]],
            cams=dict(zip(blocks, fused[key].cams, strict=True)),
            attention=fused[key].cam,
            heatmap=fused[key].heatmap,
            relevance_weights=predictions.relevance_weights[:, key[1]],
            truth=scale_boxes(item.truth, item.original_size, size),
            predicted=scale_boxes(item.predicted, item.original_size, size),
            probability=item.probability,
            iou=best_iou(item),
        )
        for (item, kind), key in zip(chosen, keys, strict=True)
    ]


def best_iou(item: Localization) -> float:
    """Return the highest IoU of any predicted with any ground-truth box."""
    return float(compute_iou(item.predicted, item.truth).max(initial=0.0))


def _shows(item: Localization, pathology: str) -> bool:
    return item.pathology == pathology and len(item.truth) > 0


def _read_images(records, split, predictions, rows: set[int]) -> dict[int, np.ndarray]:
    images = {}
    if rows:
        first = min(rows)
        stream = read_examples(
            records, split, image_size=predictions.image_size, first=first
        )
        for row, example in zip(range(first, max(rows) + 1), stream, strict=False):
            if row in rows:
                images[row] = example.image
    return images
