"""Free-response ROC: drawn boxes found against false boxes in all images."""

from collections.abc import Sequence

import numpy as np

from keras_mscam.localization.metrics import Localization
from keras_mscam.localization.overlaps import compute_overlap

#: False positives an image, at which LUNA16 reads the sensitivity.
LUNA16_RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)


def compute_froc(
    localizations: Sequence[Localization],
    pathologies: tuple[str, ...],
    threshold: float = 0.3,
    overlap: str = "iou",
) -> dict[str, dict]:
    """Sensitivity against false positives an image, as the cut of the score falls.

    `sensitivity[k] = drawn boxes hit by a box of score >= cut[k] / drawn boxes`
    `false_positives[k] = boxes of score >= cut[k] that hit nothing / images`

    A hit is an overlap > `threshold`. A box that hits only an ignored one, and an
    excused box that hits none, aren't false; a second box on the same drawn one isn't
    either. Boxes of one score come in together, so the order of images doesn't matter.

    Args:
        localizations: images with a drawn box, *and* those labelled negative, without
            any: a false box there counts like one elsewhere. Leave out images that are
            labelled positive without a drawn box: nobody knows what is false there.
        pathologies: names of the rows.
        threshold: overlap that a hit must exceed.
        overlap: `"iou"` or `"iobb"`.

    Returns:
        For each pathology:

        - `cuts`, `false_positives`, `sensitivity`: the curve, lists of one length, from
          (0, 0), whose cut is `None`, to all boxes. Points within a straight run to the
          right or upwards are left out: the curve is the same without them.
        - `sensitivity_at`: for each of `LUNA16_RATES`, by linear interpolation. A curve
          that ends before a rate keeps its last sensitivity.
        - `mean_sensitivity`: of these seven, the score of LUNA16.
        - `boxes` drawn, and `images`.

        The curve is `None`, as is all that is read from it, without a drawn box.

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
    names = "cuts", "false_positives", "sensitivity", "sensitivity_at"
    row = dict.fromkeys((*names, "mean_sensitivity"))
    row.update(boxes=boxes, images=images)
    if not boxes:
        return row
    pairs = [_score_boxes(item, threshold, overlap) for item in items]
    found = np.concatenate([scores for scores, _ in pairs])
    false = np.concatenate([scores for _, scores in pairs])
    cuts = np.unique(np.concatenate([found, false]))[::-1]
    x = np.insert(_count_from(false, cuts) / images, 0, 0.0)
    y = np.insert(_count_from(found, cuts) / boxes, 0, 0.0)
    at_rates = np.interp(LUNA16_RATES, x, y)
    kept = _find_corners(x, y)
    return {
        **row,
        "cuts": [None if k == 0 else float(cuts[k - 1]) for k in kept],
        "false_positives": x[kept].tolist(),
        "sensitivity": y[kept].tolist(),
        "sensitivity_at": at_rates.tolist(),
        "mean_sensitivity": float(at_rates.mean()),
    }


def _score_boxes(
    item: Localization, threshold: float, overlap: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the score at which each drawn box is found, if it is, and false scores."""
    if not len(item.truth) and not len(item.ignored):
        return np.zeros(0), item.scores[~item.excused]
    hits = compute_overlap(item.proposed, item.truth, overlap) > threshold
    near = compute_overlap(item.proposed, item.ignored, overlap) > threshold
    best = np.where(hits, item.scores[:, None], -np.inf).max(0, initial=-np.inf)
    false = ~hits.any(1) & ~near.any(1) & ~item.excused
    return best[hits.any(0)], item.scores[false]


def _count_from(scores: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Count the scores that are no lower than each cut."""
    return len(scores) - np.searchsorted(np.sort(scores), cuts, side="left")


def _find_corners(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the ends of the curve, and where it doesn't just go on right or up."""
    right, up = np.diff(x) > 0, np.diff(y) > 0
    same = (right[1:] == right[:-1]) & (up[1:] == up[:-1]) & ~(right[1:] & up[1:])
    return np.flatnonzero(np.concatenate([[True], ~same, [True]])[: len(x)])
