"""Average precision of boxes."""

from collections.abc import Sequence

import numpy as np

from keras_mscam.localization.metrics import Localization
from keras_mscam.localization.overlaps import compute_iou

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

    Each image's boxes are taken by falling score. Each takes, of the drawn boxes that
    none before it has taken, the one of highest IoU, if that is >= `threshold`. So a
    second box on the same drawn one is false, other than in `compute_localization` and
    `compute_froc`. Only a box that can take no drawn one can take an ignored one: it is
    then neither right nor wrong, like an excused box that takes none.

    Args:
        localizations: images with a drawn box, and those labelled negative, without
            any; see `compute_froc`.
        pathologies: names of the rows.
        threshold: IoU that a hit must at least reach (COCO, VOC), where Wang et al.
            have it exceeded.

    Returns:
        For each pathology `average_precision`, 0 where nothing is proposed, `None`
        without a drawn box; `boxes` drawn, and `images`.

    Example:
        >>> item = Localization("Mass", "7", [[0, 0, 9, 9]], [[0, 0, 9, 8]], [0.4])
        >>> compute_average_precision([item], ("Mass",))
        {'Mass': {'average_precision': 1.0, 'boxes': 1, 'images': 1}}

    Reference:
        Lin et al. 2014 (COCO), `COCOeval` of pycocotools. Deviations: no limit of 100
        boxes an image; and precision is read where boxes of one score are all in, so
        that the order of images doesn't matter. PASCAL VOC differs: a box takes the
        drawn one of highest IoU, free or not, and precision is averaged at 11 recalls
        (2007) or over all of them (from 2010).
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
    """Match proposed boxes to drawn ones, each to one at most, by falling score.

    Args:
        item: one image and pathology.
        threshold: IoU that a match must at least reach.

    Returns:
        `(N,)` in the order of `item.proposed`: 1 right, -1 false, 0 neither. Of boxes
        of one score the first given goes first.
    """
    outcomes = np.where(item.excused, _NEITHER, _FALSE)
    kinds = [
        (compute_iou(item.proposed, boxes), outcome)
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
