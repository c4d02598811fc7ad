"""Boxes: out of maps, from one frame to another, and what two have in common."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from keras_mscam.configs.schema import WANG_THRESHOLDS
from keras_mscam.errors import UserError


@dataclass(frozen=True)
class PredictedBoxes:
    """Boxes around the regions of a map.

    Args:
        xyxy: `(N, 4)`, half-open; N may be 0.
        scores: `(N,)` mean heat, in [0, 1], of the region in each box.
    """

    xyxy: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))


def normalize_map(
    cam: np.ndarray, normalization: str = "min_max", scale: float | None = None
) -> np.ndarray:
    """Scale a raw map to [0, 1].

    `"min_max"`: `normalized = (cam - min) / (max - min)`
    `"exponential"`: `normalized = exp((cam - max) / scale)`

    The first stretches every map to the same range, a clear finding and noise alike.
    The second measures how far below its peak a position is in a scale that does not
    depend on the image: a broad peak gives a large region above a threshold.

    Args:
        cam: `(height, width)`, signed, of any scale.
        normalization: `"min_max"` or `"exponential"`.
        scale: of the exponential, see `Fusion`; the map's own standard deviation by
            default.

    Returns:
        `float32` array of the same shape. A map without contrast, or with a value that
        isn't finite, points nowhere: it becomes all zeros, in which no threshold
        above 0 leaves a region.

    Reference:
        Wang et al. 2017 (ChestX-ray8), section 4.2 (`"min_max"`).
    """
    cam = np.asarray(cam, dtype="float64")
    if not cam.size or not np.isfinite(cam).all() or np.ptp(cam) == 0:
        return np.zeros(cam.shape, "float32")
    if normalization == "min_max":
        return ((cam - cam.min()) / np.ptp(cam)).astype("float32")
    scale = cam.std() if scale is None else scale
    if not scale > 0:
        return np.zeros(cam.shape, "float32")
    return np.exp((cam - cam.max()) / scale).astype("float32")


def find_boxes(
    heatmap: np.ndarray, cam_threshold: float, min_area: float = 0.0
) -> PredictedBoxes:
    """Put a rectangle around every isolated region above a threshold.

    A region is an 8-connected component of `heatmap > cam_threshold`.

    Args:
        heatmap: `(height, width)` in [0, 1], see `normalize_map`.
        cam_threshold: float in [0, 1).
        min_area: fraction of the map that a region must cover at least.

    Returns:
        Boxes in pixels of the map, none where nothing is above the threshold.

    Reference:
        Wang et al. 2017 (ChestX-ray8), section 4.2.
    """
    heatmap = np.asarray(heatmap)
    mask = (heatmap > cam_threshold).astype("uint8")
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return PredictedBoxes()
    # Only the part that holds regions is looked at: most maps are low nearly all over.
    part = np.s_[top : top + height, left : left + width]
    count, regions, stats, _ = cv2.connectedComponentsWithStats(
        mask[part], connectivity=8
    )
    heat = np.bincount(regions.ravel(), heatmap[part].ravel(), minlength=count)
    areas = stats[1:, cv2.CC_STAT_AREA]
    x, y, width, height = stats[1:, :4].T.astype("float64")
    large = areas >= min_area * heatmap.size
    x, y = x + left, y + top
    xyxy = np.stack([x, y, x + width, y + height], axis=1)
    return PredictedBoxes(xyxy[large], (heat[1:] / areas)[large])


def extract_boxes(
    heatmap: np.ndarray,
    original_size: tuple[int, int],
    cam_thresholds: tuple[float, ...] = WANG_THRESHOLDS,
    min_area: float = 0.0,
    max_boxes: int | None = None,
) -> PredictedBoxes:
    """Turn one map into boxes, at all thresholds together.

    Args:
        heatmap: `(height, width)` in [0, 1], see `normalize_map`.
        original_size: `(height, width)` of the original image.
        cam_thresholds: floats in [0, 1).
        min_area: fraction of the map that a region must cover at least.
        max_boxes: how many of the highest scores are kept; all by default.

    Returns:
        Boxes in pixels of the original image, by falling score; scores that are equal
        in float32, by top, left, bottom and right. A rectangle that two thresholds
        share is given once, with the higher of its scores.

    Reference:
        Wang et al. 2017 (ChestX-ray8), section 4.2.
    """
    found = [find_boxes(heatmap, threshold, min_area) for threshold in cam_thresholds]
    scores = np.concatenate([item.scores for item in found])
    xyxy = np.concatenate([item.xyxy for item in found])
    left, top, right, bottom = xyxy.T
    # The last key weighs most. float32, as the exported model's: else the same boxes
    # could be in another order there.
    order = np.lexsort((-scores, right, bottom, left, top, -scores.astype("float32")))
    xyxy = xyxy[order]
    _, first = np.unique(xyxy, axis=0, return_index=True)
    kept = np.sort(first)[:max_boxes]
    boxes = scale_boxes(xyxy[kept], heatmap.shape, original_size)
    return PredictedBoxes(boxes, scores[order][kept])


def find_shown(
    heatmap: np.ndarray, original_size: tuple[int, int], rule: Any
) -> PredictedBoxes:
    """Find the boxes of a map that a person is shown, in pixels of the original image.

    Args:
        heatmap: `(height, width)` in [0, 1], see `normalize_map`.
        original_size: `(height, width)` of the original image.
        rule: a `ShownConfig` with a threshold, or a contract, which has its fields.
    """
    size = heatmap.shape
    boxes = extract_boxes(heatmap, size, (rule.shown_threshold,), rule.shown_min_area)
    shown = select_shown(boxes, size, rule.shown_max_area, rule.shown_max_boxes)
    return PredictedBoxes(scale_boxes(shown.xyxy, size, original_size), shown.scores)


def select_shown(
    boxes: PredictedBoxes, size: tuple[int, int], max_area: float, max_boxes: int
) -> PredictedBoxes:
    """Select the boxes that a person is shown, out of all of a map.

    None where one covers most of the map, which then points nowhere; else those of the
    highest scores, without those that lie in, or around, one of a higher score.

    Args:
        boxes: by falling score.
        size: `(height, width)` of the frame that they are in.
        max_area: fraction of it that a box may cover.
        max_boxes: how many of the highest scores are looked at.

    Example:
        >>> boxes = PredictedBoxes(np.array([[1, 1, 2, 2], [0, 0, 3, 3]]), np.ones(2))
        >>> select_shown(boxes, (4, 4), 1.0, 3).xyxy
        array([[1, 1, 2, 2]])
    """
    if compute_areas(boxes.xyxy).max(initial=0) > max_area * size[0] * size[1]:
        return PredictedBoxes()
    xyxy, scores = boxes.xyxy[:max_boxes], boxes.scores[:max_boxes]
    starts, ends = xyxy[:, :2], xyxy[:, 2:]
    inside = (starts[:, None] >= starts).all(-1) & (ends[:, None] <= ends).all(-1)
    nested = np.tril(inside | inside.T, -1).any(axis=1)
    return PredictedBoxes(xyxy[~nested], scores[~nested])


def find_peak(
    cam: np.ndarray, original_size: tuple[int, int]
) -> tuple[float, float] | None:
    """Return where a map is highest.

    Args:
        cam: `(height, width)`, raw and signed.
        original_size: `(height, width)` of the original image.

    Returns:
        `(x, y)` in pixels of the original image: the centre of the map's pixel, of
        several the first in reading order. `None` for a map without contrast, or with a
        value that isn't finite.
    """
    cam = np.asarray(cam)
    if not cam.size or not np.isfinite(cam).all() or cam.max() == cam.min():
        return None
    row, column = np.unravel_index(cam.argmax(), cam.shape)
    pixel = np.array([[column, row, column, row]]) + 0.5
    x, y = scale_boxes(pixel, cam.shape, original_size)[0, :2]
    return float(x), float(y)


def scale_boxes(
    boxes: np.ndarray, from_size: tuple[int, int], to_size: tuple[int, int]
) -> np.ndarray:
    """Carry boxes, `(N, 4)` xyxy, from a frame of `(height, width)` to another."""
    factor_y, factor_x = (to / of for to, of in zip(to_size, from_size, strict=True))
    return np.asarray(boxes) * [factor_x, factor_y, factor_x, factor_y]


def compute_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of one set with every box of another.

    Args:
        a: `(N, 4)`, half-open xyxy.
        b: `(M, 4)`, in the same frame.

    Returns:
        `(N, M)` in [0, 1]; 0 where both boxes have no area.
    """
    intersection, area_a, area_b = _intersect(a, b)
    return _ratio(intersection, area_a[:, None] + area_b[None, :] - intersection)


def compute_iobb(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over the area of the *predicted* box, never below the IoU.

    Arguments and result are those of `compute_iou`.

    Reference:
        Wang et al. 2017 (ChestX-ray8), section 4.2.
    """
    intersection, area, _ = _intersect(predicted, truth)
    return _ratio(intersection, np.broadcast_to(area[:, None], intersection.shape))


_OVERLAPS = {"iou": compute_iou, "iobb": compute_iobb}


def compute_overlap(
    predicted: np.ndarray, truth: np.ndarray, overlap: str
) -> np.ndarray:
    """Compute `"iou"` or `"iobb"`, `(N, M)`.

    Raises:
        UserError: there is no overlap of that name.
    """
    if overlap not in _OVERLAPS:
        raise UserError(f"There is no overlap {overlap!r}; use 'iou' or 'iobb'.")
    return _OVERLAPS[overlap](predicted, truth)


def compute_areas(boxes: np.ndarray) -> np.ndarray:
    """Areas, `(N,)`, of boxes `(N, 4)` xyxy; 0 for one that ends before it begins."""
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
