"""Whether the highest point of a map lies on a ground-truth box."""

from collections.abc import Sequence

import numpy as np

from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.overlaps import compute_iou

#: Pixels by which Zhang et al. widen what was annotated, in natural photographs.
ZHANG_TOLERANCE = 15


def compute_pointing_game(
    localizations: Sequence[Localization],
    pathologies: tuple[str, ...],
    tolerance: float = 0,
) -> dict[str, dict]:
    """Share of images in which the map's peak lies on a ground-truth box.

    `hit_rate = hits / (hits + misses)`

    Every image with a ground-truth box of the pathology is one hit or one miss. A map
    without a peak is a miss. A peak on an ignored box alone is neither.

    It tells nothing of size, and large boxes are easy to hit: read it beside the mean
    box of other patients, whose centre is the peak to beat.

    Args:
        localizations: one for each image and pathology.
        pathologies: names of the rows.
        tolerance: how far from a box, in pixels of the original image, a peak may lie
            and still hit it. At 0 it must lie inside, half-open like the box.

    Returns:
        For each pathology `hit_rate`, `None` where there is nothing to hit; `hits`, and
        `images`: hits and misses together.

    Example:
        >>> item = Localization("Mass", "7", [[0, 0, 9, 9]], [], peak=(12, 4))
        >>> compute_pointing_game([item], ("Mass",), tolerance=3)
        {'Mass': {'hit_rate': 1.0, 'hits': 1, 'images': 1}}

    Reference:
        Zhang et al. 2018 (Excitation Backprop, IJCV), the pointing game, with a
        tolerance of 15 pixels (`ZHANG_TOLERANCE`) in photographs of about 500 pixels a
        side; the same number is stricter in larger images. Distance is measured to the
        edge of the box, not between centres of pixels: half a pixel less.
    """
    rows = {}
    for pathology in pathologies:
        outcomes = [
            _point(item, tolerance)
            for item in localizations
            if item.pathology == pathology and len(item.truth)
        ]
        hits, images = outcomes.count(True), len(outcomes) - outcomes.count(None)
        rate = hits / images if images else None
        rows[pathology] = {"hit_rate": rate, "hits": hits, "images": images}
    return rows


def _point(item: Localization, tolerance: float) -> bool | None:
    """Return whether the peak hits; None if it hits an ignored box alone."""
    if item.peak is None:
        return False
    if _is_near(item.peak, item.truth, tolerance):
        return True
    return None if _is_near(item.peak, item.ignored, tolerance) else False


def _is_near(point: tuple[float, float], boxes: np.ndarray, tolerance: float) -> bool:
    low, high = boxes[:, :2], boxes[:, 2:]
    inside = ((low <= point) & (np.asarray(point) < high)).all(axis=1)
    if not tolerance:
        return bool(inside.any())
    gap = np.maximum(np.maximum(low - point, point - high), 0)
    return bool((inside | (np.hypot(*gap.T) <= tolerance)).any())


def compute_mean_iou(
    localizations: Sequence[Localization], pathologies: tuple[str, ...]
) -> dict[str, dict]:
    """Mean, over ground-truth boxes, of the best IoU that any predicted box reaches.

    It needs no threshold of overlap, and doesn't punish boxes that find nothing: read
    it beside the AFP.

    Numbers of this name in papers often are something else: the IoU of pixels, of the
    mask of a thresholded map with all ground-truth boxes or outlines of the image
    together, a mean over images. Don't compare with those.

    Args:
        localizations: one for each image and pathology.
        pathologies: names of the rows.

    Returns:
        For each pathology `mean_iou`, 0 for a box in an image where none is
        predicted, `None` for a pathology without a ground-truth box; and `boxes`.

    Reference:
        Saporta et al. 2022, "Benchmarking saliency methods for chest X-ray
        interpretation", has the other kind: of pixels.
    """
    rows = {}
    for pathology in pathologies:
        best = [
            compute_iou(item.predicted, item.truth).max(0, initial=0)
            for item in localizations
            if item.pathology == pathology and len(item.truth)
        ]
        ious = np.concatenate(best) if best else np.zeros(0)
        mean = float(ious.mean()) if len(ious) else None
        rows[pathology] = {"mean_iou": mean, "boxes": len(ious)}
    return rows
