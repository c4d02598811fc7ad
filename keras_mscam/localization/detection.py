"""Measures beside accuracy: average precision, FROC, pointing game and mean IoU."""

from collections.abc import Sequence

import numpy as np

from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.boxes import compute_iou, compute_overlap

_RECALLS = np.linspace(0, 1, 101)
_FALSE, _NEITHER, _TRUE = -1, 0, 1


def compute_average_precision(
    localizations: Sequence[Localization],
    pathologies: tuple[str, ...],
    threshold: float = 0.5,
) -> dict[str, dict]:
    """Average precision of the boxes of every pathology, as in COCO.

    `average_precision = mean over r in 0, 0.01, ..., 1 of p(r)`, where `p(r)` is the
    highest precision at a recall of r or more, and 0 where that recall isn't reached.

    Each image's boxes are taken by falling score. Each takes, of the ground-truth boxes
    that none before it has taken, the one of highest IoU, if that is >= `threshold`. So
    a second box on the same ground-truth box is false, other than in
    `compute_localization` and `compute_froc`. Only a box that can take no ground-truth
    box can take an ignored one: it is then neither right nor wrong, like an excused box
    that takes none.

    Args:
        localizations: images with a ground-truth box, and those labelled negative,
            without any; see `compute_froc`.
        pathologies: names of the rows.
        threshold: IoU that a hit must at least reach (COCO, VOC), where Wang et al.
            have it exceeded.

    Returns:
        For each pathology `average_precision`, 0 where no box is predicted, `None`
        without a ground-truth box; `boxes` of the ground truth, and `images`.

    Reference:
        Lin et al. 2014 (COCO), `COCOeval` of pycocotools. Deviations: no limit of 100
        boxes per image; and precision is read where boxes of one score are all in, so
        that the order of images doesn't matter. PASCAL VOC differs: a box takes the
        ground-truth box of highest IoU, free or not, and precision is averaged at 11
        recalls (2007) or over all of them (from 2010).
    """
    rows = {}
    for pathology in pathologies:
        items = [item for item in localizations if item.pathology == pathology]
        boxes = sum(len(item.truth) for item in items)
        rows[pathology] = {
            "average_precision": _average(items, boxes, threshold) if boxes else None,
            "boxes": boxes,
            "images": len(items),
        }
    return rows


def _average(items: list[Localization], boxes: int, threshold: float) -> float:
    outcomes = np.concatenate([match_greedily(item, threshold) for item in items])
    scores = np.concatenate([item.scores for item in items])[outcomes != _NEITHER]
    outcomes = outcomes[outcomes != _NEITHER]
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # of equal scores
    right = np.cumsum(outcomes[order] == _TRUE)[last]
    precision, recall = right / (last + 1), right / boxes
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    positions = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(envelope, 0.0)[positions].mean())


def match_greedily(item: Localization, threshold: float) -> np.ndarray:
    """Match predicted to ground-truth boxes, each to one at most, by falling score.

    Returns:
        `(N,)` in the order of `item.predicted`: 1 right, -1 false, 0 neither. Of boxes
        of one score the first given goes first.
    """
    outcomes = np.where(item.excused, _NEITHER, _FALSE)
    kinds = [
        (compute_iou(item.predicted, boxes), outcome)
        for boxes, outcome in ((item.truth, _TRUE), (item.ignored, _NEITHER))
        if len(boxes)
    ]
    for row in np.argsort(-item.scores, kind="stable") if kinds else ():
        for ious, outcome in kinds:
            best = ious.shape[1] - 1 - ious[row, ::-1].argmax()  # the last, as in COCO
            if ious[row, best] >= threshold:
                ious[:, best] = -np.inf  # taken
                outcomes[row] = outcome
                break
    return outcomes


#: False positives per image, at which LUNA16 reads the sensitivity.
LUNA16_RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)


def compute_froc(
    localizations: Sequence[Localization],
    pathologies: tuple[str, ...],
    threshold: float = 0.3,
    overlap: str = "iou",
) -> dict[str, dict]:
    """Sensitivity against false positives per image, as the score threshold falls.

    `sensitivity[k] = ground-truth boxes hit at score >= threshold[k] / all of them`
    `false_positives[k] = boxes of score >= threshold[k] that hit nothing / images`

    A hit is an overlap > `threshold`. A box that hits only an ignored one, and an
    excused box that hits none, aren't false; a second box on the same ground-truth box
    isn't either. Boxes of one score come in together, so the order of images doesn't
    matter.

    Args:
        localizations: images with a ground-truth box, *and* those labelled negative.
            Leave out those labelled positive without a box: nobody knows what is false
            there.
        pathologies: names of the rows.
        threshold: overlap that a hit must exceed.
        overlap: `"iou"` or `"iobb"`.

    Returns:
        For each pathology:

        - `score_thresholds`, `false_positives`, `sensitivity`: the curve, lists of one
          length, from (0, 0), whose threshold is `None`, to all boxes, without points
          within a straight run to the right or upwards.
        - `sensitivity_at`: for each of `LUNA16_RATES`, by linear interpolation. A curve
          that ends before a rate keeps its last sensitivity.
        - `mean_sensitivity` of these seven, the score of LUNA16; `boxes`; `images`.

        The curve is `None`, as is all that is read from it, without a ground-truth box.

    Raises:
        UserError: there is no such overlap.

    Reference:
        Setio et al. 2017 (LUNA16), whose script interpolates and ends the curve in the
        same way. There a hit is a point within the nodule's radius.
    """
    return {
        pathology: _draw_curve(
            [item for item in localizations if item.pathology == pathology],
            threshold,
            overlap,
        )
        for pathology in pathologies
    }


def _draw_curve(items: list[Localization], threshold: float, overlap: str) -> dict:
    boxes, images = sum(len(item.truth) for item in items), len(items)
    names = "score_thresholds", "false_positives", "sensitivity", "sensitivity_at"
    row = dict.fromkeys((*names, "mean_sensitivity"))
    row.update(boxes=boxes, images=images)
    if not boxes:
        return row
    pairs = [_score_boxes(item, threshold, overlap) for item in items]
    found = np.concatenate([scores for scores, _ in pairs])
    false = np.concatenate([scores for _, scores in pairs])
    thresholds = np.unique(np.concatenate([found, false]))[::-1]
    x = np.insert(_count_from(false, thresholds) / images, 0, 0.0)
    y = np.insert(_count_from(found, thresholds) / boxes, 0, 0.0)
    at_rates = np.interp(LUNA16_RATES, x, y)
    kept = _find_corners(x, y)
    return {
        **row,
        "score_thresholds": [float(thresholds[k - 1]) if k else None for k in kept],
        "false_positives": x[kept].tolist(),
        "sensitivity": y[kept].tolist(),
        "sensitivity_at": at_rates.tolist(),
        "mean_sensitivity": float(at_rates.mean()),
    }


def _score_boxes(
    item: Localization, threshold: float, overlap: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores at which ground-truth boxes are found, and the false ones."""
    if not len(item.truth) and not len(item.ignored):
        return np.zeros(0), item.scores[~item.excused]
    hits = compute_overlap(item.predicted, item.truth, overlap) > threshold
    near = compute_overlap(item.predicted, item.ignored, overlap) > threshold
    best = np.where(hits, item.scores[:, None], -np.inf).max(0, initial=-np.inf)
    false = ~hits.any(1) & ~near.any(1) & ~item.excused
    return best[hits.any(0)], item.scores[false]


def _count_from(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Count the scores that are no lower than each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")


def _find_corners(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the ends of the curve, and where it doesn't just go on right or up."""
    right, up = np.diff(x) > 0, np.diff(y) > 0
    same = (right[1:] == right[:-1]) & (up[1:] == up[:-1]) & ~(right[1:] & up[1:])
    return np.flatnonzero(np.concatenate([[True], ~same, [True]])[: len(x)])


def compute_pointing_game(
    localizations: Sequence[Localization],
    pathologies: tuple[str, ...],
    tolerance: float = 0,
) -> dict[str, dict]:
    """Share of images in which the map's peak lies on a ground-truth box.

    `hit_rate = hits / (hits + misses)`

    Every image with a ground-truth box of the pathology is one hit or one miss. A map
    without a peak is a miss. A peak on an ignored box alone is neither. Large boxes are
    easy to hit: read it beside the mean box of other patients.

    Args:
        localizations, pathologies: images, and names of the rows.
        tolerance: how far from a box, in pixels of the original image, a peak may lie
            and still hit it. At 0 it must lie inside, half-open like the box.

    Returns:
        For each pathology `hit_rate`, `None` where there is nothing to hit; `hits`, and
        `images`: hits and misses together.

    Reference:
        Zhang et al. 2018 (Excitation Backprop, IJCV), with a tolerance of 15 pixels in
        photographs of about 500 pixels a side. Distance is measured to the edge of the
        box, not between centres of pixels: half a pixel less.
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
    gap = np.maximum(np.maximum(low - point, point - high), 0)
    near = (np.hypot(*gap.T) <= tolerance) & (tolerance > 0)  # at 0 a box is half-open
    return bool((inside | near).any())


def compute_mean_iou(
    localizations: Sequence[Localization], pathologies: tuple[str, ...]
) -> dict[str, dict]:
    """Mean, over ground-truth boxes, of the best IoU that any predicted box reaches.

    It needs no threshold of overlap, and doesn't punish boxes that find nothing: read
    it beside the AFP. Numbers of this name in papers often are something else: the IoU
    of pixels, of the mask of a thresholded map with all ground-truth boxes or outlines
    of the image together, a mean over images.

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
