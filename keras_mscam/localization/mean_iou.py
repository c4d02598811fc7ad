"""How well drawn boxes are covered by the best proposed ones."""

from collections.abc import Sequence

import numpy as np

from keras_mscam.localization.metrics import Localization
from keras_mscam.localization.overlaps import compute_iou


def compute_mean_iou(
    localizations: Sequence[Localization], pathologies: tuple[str, ...]
) -> dict[str, dict]:
    """Mean, over drawn boxes, of the best IoU that any proposed box reaches.

    It needs no threshold of overlap, and doesn't punish boxes that find nothing: read
    it beside the AFP.

    Numbers of this name in papers often are something else: the IoU of pixels, of the
    mask of a thresholded map with all drawn boxes or outlines of the image together, a
    mean over images. Don't compare with those.

    Args:
        localizations: one for each image and pathology.
        pathologies: names of the rows.

    Returns:
        For each pathology `mean_iou`, 0 for a box in an image where nothing is
        proposed, `None` for a pathology that no box was drawn of; and `boxes`.

    Reference:
        Saporta et al. 2022, "Benchmarking saliency methods for chest X-ray
        interpretation", has the other kind: of pixels.
    """
    rows = {}
    for pathology in pathologies:
        best = [
            compute_iou(item.proposed, item.truth).max(0, initial=0)
            for item in localizations
            if item.pathology == pathology and len(item.truth)
        ]
        ious = np.concatenate(best) if best else np.zeros(0)
        mean = float(ious.mean()) if len(ious) else None
        rows[pathology] = {"mean_iou": mean, "boxes": len(ious)}
    return rows
