"""Maps to boxes."""

import cv2
import numpy as np

#: Thresholds of Wang et al. 2017, 60 and 180 out of 255, on the scale 0 to 1.
WANG_THRESHOLDS = (60 / 255, 180 / 255)


def normalize_map(cam: np.ndarray) -> np.ndarray:
    """Scale a raw map to [0, 1] by its own minimum and maximum.

    `normalized = (cam - min) / (max - min)`

    Args:
        cam: `(height, width)`, signed, of any scale.

    Returns:
        `float32` array of the same shape. A map without contrast, or with a value that
        isn't finite, points nowhere: it becomes all zeros, from which no threshold
        above 0 cuts a box.

    Example:
        >>> normalize_map(np.array([[-1.0, 3.0]]))
        array([[0., 1.]], dtype=float32)
    """
    cam = np.asarray(cam, dtype="float64")
    if not cam.size or not np.isfinite(cam).all() or np.ptp(cam) == 0:
        return np.zeros(cam.shape, "float32")
    return ((cam - cam.min()) / np.ptp(cam)).astype("float32")


def find_boxes(heatmap: np.ndarray, cam_threshold: float) -> np.ndarray:
    """Put a rectangle around every isolated region above a threshold.

    A region is an 8-connected component of `heatmap > cam_threshold`.

    Args:
        heatmap: `(height, width)` in [0, 1], see `normalize_map`.
        cam_threshold: float in [0, 1).

    Returns:
        `float64` array `(N, 4)` of half-open boxes, xyxy in pixels of the map; `(0, 4)`
        where nothing is above the threshold.

    Reference:
        Wang et al. 2017 (ChestX-ray8), section 4.2.
    """
    mask = (np.asarray(heatmap) > cam_threshold).astype("uint8")
    if not mask.any():
        return np.zeros((0, 4))
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    x, y, width, height = stats[1:, :4].T.astype("float64")
    return np.stack([x, y, x + width, y + height], axis=1)


def propose_boxes(
    cam: np.ndarray,
    original_size: tuple[int, int],
    cam_thresholds: tuple[float, ...] = WANG_THRESHOLDS,
) -> np.ndarray:
    """Turn one raw map into the boxes that it proposes, at all thresholds together.

    Args:
        cam: `(height, width)`, raw and signed.
        original_size: `(height, width)` of the original image.
        cam_thresholds: floats in [0, 1).

    Returns:
        `(N, 4)`, half-open xyxy in pixels of the original image. A rectangle that two
        thresholds share is given once.

    Reference:
        Wang et al. 2017 (ChestX-ray8), section 4.2.
    """
    heatmap = normalize_map(cam)
    boxes = np.concatenate([find_boxes(heatmap, level) for level in cam_thresholds])
    return scale_boxes(np.unique(boxes, axis=0), heatmap.shape, original_size)


def scale_boxes(
    boxes: np.ndarray, from_size: tuple[int, int], to_size: tuple[int, int]
) -> np.ndarray:
    """Carry boxes from one frame to another of other size.

    Args:
        boxes: `(N, 4)`, half-open xyxy in pixels of the first frame.
        from_size: its `(height, width)`.
        to_size: `(height, width)` of the second.

    Returns:
        `(N, 4)` in pixels of the second.
    """
    factor_y, factor_x = (to / of for to, of in zip(to_size, from_size, strict=True))
    return np.asarray(boxes) * [factor_x, factor_y, factor_x, factor_y]
