"""How much boxes have in common."""

import numpy as np

from keras_mscam.errors import UserError


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
    intersection, area_a, area_b = _intersect(a, b)
    return _ratio(intersection, area_a[:, None] + area_b[None, :] - intersection)


def compute_iobb(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over the area of the *predicted* box.

    Args:
        predicted: `(N, 4)`, half-open xyxy.
        truth: `(M, 4)`, in the same frame.

    Returns:
        `(N, M)` in [0, 1], never below the IoU: the union is no smaller than the
        predicted box.

    Reference:
        Wang et al. 2017 (ChestX-ray8), section 4.2.
    """
    intersection, area, _ = _intersect(predicted, truth)
    return _ratio(intersection, np.broadcast_to(area[:, None], intersection.shape))


_OVERLAPS = {"iou": compute_iou, "iobb": compute_iobb}


def compute_overlap(
    predicted: np.ndarray, truth: np.ndarray, overlap: str
) -> np.ndarray:
    """Compute the overlap of that name, see `compute_iou` and `compute_iobb`.

    Args:
        predicted: `(N, 4)`, half-open xyxy.
        truth: `(M, 4)`, in the same frame.
        overlap: `"iou"` or `"iobb"`.

    Returns:
        `(N, M)` in [0, 1].

    Raises:
        UserError: there is no overlap of that name.
    """
    if overlap not in _OVERLAPS:
        raise UserError(f"There is no overlap {overlap!r}; use 'iou' or 'iobb'.")
    return _OVERLAPS[overlap](predicted, truth)


def compute_areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes.

    Args:
        boxes: `(N, 4)`, xyxy.

    Returns:
        `(N,)`; 0 for a box that ends before it begins.
    """
    boxes = np.asarray(boxes, dtype="float64").reshape(-1, 4)
    width, height = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).T
    return width * height


def _intersect(a, b) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the areas of all intersections, of the boxes of a, and of those of b."""
    a = np.asarray(a, dtype="float64").reshape(-1, 4)
    b = np.asarray(b, dtype="float64").reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return sides[..., 0] * sides[..., 1], compute_areas(a), compute_areas(b)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
