"""Fluid and air in the pleural space: lesions whose shape the lung's wall decides."""

from collections.abc import Callable

import cv2
import numpy as np

from keras_mscam.phantom.drawing import bounding_box, fill, stroke
from keras_mscam.phantom.patients import Finding
from keras_mscam.phantom.thorax import Lung

# density to add, share of the markings that vanishes, visible mask
_Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


def _solve(region: Callable[[float], np.ndarray], target: float) -> float:
    """The amount, 0..1, whose region has a box of the area `target**2`.

    `region` gives a mask that grows with the amount. The largest amount where even
    that is too small.
    """
    low, high = 0.02, 1.0
    for _ in range(7):
        middle = (low + high) / 2
        box = bounding_box(region(middle))
        area = 0 if box is None else (box[2] - box[0]) * (box[3] - box[1])
        low, high = (middle, high) if area < target**2 else (low, middle)
    return high


def draw_effusion(
    finding: Finding, lung: Lung, target: float, rng: np.random.Generator
) -> _Drawn:
    """Fluid at the base: blunted angle, border that rises to the wall (meniscus)."""
    visible = lung.mask > 0.4
    box = bounding_box(visible)
    if box is None:
        return np.zeros_like(lung.mask), np.zeros_like(lung.mask), visible
    x1, y1, x2, y2 = box
    rows, columns = (np.arange(n, dtype=np.float32) + 0.5 for n in lung.mask.shape)
    across = (x2 - columns) if lung.side > 0 else (columns - x1)
    across = np.clip(across / (x2 - x1), 0, 1)  # 0 at the wall, 1 at the heart
    steepness = rng.uniform(1.1, 2.2)
    slenderness = rng.uniform(0.9, 1.6)

    def region(amount: float) -> np.ndarray:
        level = 0.95 * max(0.0, amount - 0.14)
        rise = min(amount, 0.20 + 0.25 * amount)
        width = min(1.0, 0.25 + slenderness * amount)
        meniscus = np.clip(1 - across / width, 0, 1) ** np.float32(steepness)
        depth = (y2 - y1) * (level + rise * meniscus)
        return visible & (rows[:, None] > y2 - depth) & (depth > 0.5)

    mask = region(_solve(region, target))
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.6, target * 0.02))
    soft *= np.minimum(lung.mask * 1.2, 1)
    strength = 0.20 + 0.38 * finding.conspicuity
    return soft * np.float32(strength), 0.6 * soft, mask


def draw_pneumothorax(
    finding: Finding, lung: Lung, target: float, rng: np.random.Generator
) -> _Drawn:
    """Air between wall and lung: no vessels, a thin line where the lung begins.

    The lung's outline falls back towards the hilum, most at the apex, not at all
    below a level that is found by bisection.
    """
    outline = lung.outline
    top, bottom = outline[:, 1].min(), outline[:, 1].max()
    depth = (outline[:, 1] - top) / (bottom - top)
    lateral = (outline[:, 0] - lung.hilum[0]) * lung.side
    lateral = np.clip(lateral / lateral.max() + 0.35, 0, 1)
    collapse = rng.uniform(0.5, 0.8)
    sink = np.array([lung.hilum[0] - 0.1 * lung.side * target, lung.hilum[1]])
    whole = np.zeros(lung.mask.shape, np.uint8)
    fill(whole, outline)

    def retracted(amount: float) -> np.ndarray:
        end = 0.06 + 1.05 * amount
        loose = np.clip(1 - depth / end, 0, 1) ** 0.8 * lateral
        pull = (0.10 + collapse * amount**0.75) * loose
        return outline + pull[:, None] * (sink - outline) * (0.75, 1)

    def free_air(amount: float) -> np.ndarray:
        lung_left = np.zeros_like(whole)
        fill(lung_left, retracted(amount))
        free = cv2.subtract(whole, lung_left).astype(np.float32) / 255
        return free * np.minimum(lung.mask * 1.2, 1)

    amount = _solve(lambda amount: free_air(amount) > 0.5, target)
    free = free_air(amount)
    border = _pleural_line(outline, retracted(amount), lung.mask)
    border *= 0.12 + 0.14 * finding.conspicuity
    return border - (0.15 + 0.20 * finding.conspicuity) * free, free, free > 0.5


def _pleural_line(
    outline: np.ndarray, retracted: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """The lung's edge where it has left the wall, 0..1."""
    unit = min(mask.shape)
    line = np.zeros(mask.shape, np.uint8)
    moved = np.abs(retracted - outline).sum(axis=1) > 1.0
    curve = retracted[moved]
    jumps = np.linalg.norm(np.diff(curve, axis=0), axis=1) > 0.08 * max(mask.shape)
    for piece in np.split(curve, np.flatnonzero(jumps) + 1):
        if len(piece) > 1:
            stroke(line, piece[None], 255, 0.0045 * unit)
    return line.astype(np.float32) / 255 * mask
