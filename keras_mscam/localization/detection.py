"""Boxes judged by their scores: average precision and FROC."""

from collections.abc import Sequence

import numpy as np

from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.overlaps import compute_iou, compute_overlap

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

    Example:
        >>> item = Localization("Mass", "7", [[0, 0, 9, 9]], [[0, 0, 9, 8]], [0.4])
        >>> compute_average_precision([item], ("Mass",))
        {'Mass': {'average_precision': 1.0, 'boxes': 1, 'images': 1}}

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

    Args:
        item: one image and pathology.
        threshold: IoU that a match must at least reach.

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
        localizations: images with a ground-truth box, *and* those labelled negative,
            without any: a false box there counts like one elsewhere. Leave out images
            that are labelled positive without a ground-truth box: nobody knows what is
            false there.
        pathologies: names of the rows.
        threshold: overlap that a hit must exceed.
        overlap: `"iou"` or `"iobb"`.

    Returns:
        For each pathology:

        - `score_thresholds`, `false_positives`, `sensitivity`: the curve, lists of one
          length, from (0, 0), whose threshold is `None`, to all boxes. Points within a
          straight run to the right or upwards are left out: the curve is the same
          without them.
        - `sensitivity_at`: for each of `LUNA16_RATES`, by linear interpolation. A curve
          that ends before a rate keeps its last sensitivity.
        - `mean_sensitivity`: of these seven, the score of LUNA16.
        - `boxes` of the ground truth, and `images`.

        The curve is `None`, as is all that is read from it, without a ground-truth box.

    Raises:
        UserError: there is no such overlap.

    Example:
        >>> items = [
        ...     Localization("Mass", "7", [[0, 0, 9, 9]], [[0, 0, 9, 8]], [0.4]),
        ...     Localization("Mass", "8", [], [[0, 0, 9, 9]], [0.7]),
        ... ]
        >>> row = compute_froc(items, ("Mass",))["Mass"]
        >>> row["false_positives"], row["sensitivity"]
        ([0.0, 0.5, 0.5], [0.0, 0.0, 1.0])

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
        "score_thresholds": [
            None if k == 0 else float(thresholds[k - 1]) for k in kept
        ],
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
