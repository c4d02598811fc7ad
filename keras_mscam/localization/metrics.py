"""How well proposed boxes fit the drawn ones."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Localization:
    """What was proposed, and what was drawn, for one image and pathology.

    Args:
        pathology: name.
        patient: identifier.
        truth: `(M, 4)` drawn boxes, half-open xyxy.
        proposed: `(N, 4)` boxes in the same frame; N may be 0.
    """

    pathology: str
    patient: str
    truth: np.ndarray
    proposed: np.ndarray


def compute_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of one set with every box of another.

    Args:
        a: `(N, 4)`, half-open xyxy.
        b: `(M, 4)`, in the same frame.

    Returns:
        `(N, M)` in [0, 1]; 0 where both boxes have no area.

    Example:
        >>> compute_iou([[0, 0, 2, 2]], [[1, 0, 3, 2]])  # 2 / (4 + 4 - 2)
        array([[0.33333333]])
    """
    intersection, area_a, area_b = _overlap(a, b)
    return _ratio(intersection, area_a[:, None] + area_b[None, :] - intersection)


def compute_iobb(proposed: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over the area of the *proposed* box.

    Args:
        proposed: `(N, 4)`, half-open xyxy.
        truth: `(M, 4)`, in the same frame.

    Returns:
        `(N, M)` in [0, 1], never below the IoU: the union is no smaller than the
        proposed box.

    Reference:
        Wang et al. 2017 (ChestX-ray8), section 4.2.
    """
    intersection, area, _ = _overlap(proposed, truth)
    return _ratio(intersection, np.broadcast_to(area[:, None], intersection.shape))


_OVERLAPS = {"iou": compute_iou, "iobb": compute_iobb}


def compute_localization(
    localizations: list[Localization],
    pathologies: tuple[str, ...],
    threshold: float,
    overlap: str = "iou",
) -> dict[str, dict]:
    """Localization accuracy and average false positives of every pathology.

    `accuracy = drawn boxes with a proposed box of overlap > threshold / drawn boxes`
    `afp = proposed boxes without such a drawn box / drawn boxes of all pathologies`

    The denominator of the AFP is that of Wang et al., whose printed values are
    multiples of 1/984, the number of boxes in the whole file. What exactly they count
    as a false positive isn't spelled out; here it is every proposed box, of an image
    that has a drawn box of that pathology, that overlaps none of them enough.

    Args:
        localizations: one for each image and pathology with a drawn box.
        pathologies: names of the rows.
        threshold: overlap that a hit must exceed, T(IoU) or T(IoBB).
        overlap: `"iou"` or `"iobb"`.

    Returns:
        For each pathology `accuracy`, `afp`, `boxes` (drawn ones) and `images`. Both
        numbers are `None` for a pathology that no box was drawn of.

    Reference:
        Wang et al. 2017 (ChestX-ray8), section 4.2 and Table 3; Sedai et al. 2018,
        Table 1.
    """
    total = sum(len(item.truth) for item in localizations)
    rows = {}
    for pathology in pathologies:
        items = [item for item in localizations if item.pathology == pathology]
        boxes = sum(len(item.truth) for item in items)
        hits = [
            _OVERLAPS[overlap](item.proposed, item.truth) > threshold for item in items
        ]
        found = sum(int(hit.any(axis=0).sum()) for hit in hits)
        false = sum(int((~hit.any(axis=1)).sum()) for hit in hits)
        rows[pathology] = {
            "accuracy": found / boxes if boxes else None,
            "afp": false / total if boxes else None,
            "boxes": boxes,
            "images": len(items),
        }
    return rows


def _overlap(a, b) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the areas of all intersections, of the boxes of a, and of those of b."""
    a = np.asarray(a, dtype="float64").reshape(-1, 4)
    b = np.asarray(b, dtype="float64").reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.prod(np.maximum(high - low, 0), axis=-1)
    return intersection, _area(a), _area(b)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=-1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
