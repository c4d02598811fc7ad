"""The eight boxed pathologies, drawn on any chest whose lungs are known.

A lesion is a density to add, so the same code serves the phantom and, through the
film's grey scale, a real X-ray whose `Chest` is given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from keras_mscam.phantom.chest import Chest, Lung
from keras_mscam.phantom.drawing import bounding_box, cloud, fill, stroke, window
from keras_mscam.phantom.patients import Finding

VISIBLE = 0.3  # a pixel belongs to a lesion above this fraction of its peak


@dataclass(frozen=True)
class Lesion:
    """What one finding does to an image."""

    pathology: str  # its name
    # `(height, width)` float32 density to add; negative for air. `None` where the
    # anatomy itself is the finding (Cardiomegaly)
    added: np.ndarray | None
    # `(height, width)` float32 0..1, the share of the lung's markings that vanishes, or
    # `None`
    erased: np.ndarray | None
    # half-open `(x1, y1, x2, y2)` pixels, tight around what is visible
    box: tuple[float, float, float, float]


def draw_lesion(
    finding: Finding, chest: Chest, size: tuple[int, int], rng: np.random.Generator
) -> Lesion | None:
    """Draw one finding on a chest, in an image of `(height, width)`.

    `rng` decides place and shape. `None` is returned where the lung leaves no room.
    """
    name = finding.pathology
    if name == "Cardiomegaly":
        x1, y1, x2, y2 = chest.heart
        box = max(0.0, x1), max(0.0, y1), min(1.0 * size[1], x2), min(1.0 * size[0], y2)
        return Lesion(name, None, None, box)
    lung = chest.lung(finding.side)
    target = finding.size * chest.unit
    if name == "Effusion":
        added, erased, visible = _draw_effusion(finding, lung, target, rng)
    elif name == "Pneumothorax":
        added, erased, visible = _draw_pneumothorax(finding, lung, target, rng)
    else:
        added, visible = _fit(finding, chest, lung, target, size, rng)
        erased = None
    box = bounding_box(visible)
    return None if box is None else Lesion(name, added, erased, box)


# pathology: (aspect width/height: median, spread), weakest and strongest density,
# centre between these heights of the lung (0 apex, 1 base)
_LOOKS = {
    "Atelectasis": ((1.7, 0.35), (0.16, 0.45), (0.50, 0.95)),
    "Infiltration": ((0.92, 0.25), (0.20, 0.45), (0.25, 0.85)),
    "Mass": ((0.93, 0.16), (0.40, 0.75), (0.12, 0.85)),
    "Nodule": ((1.0, 0.10), (0.50, 0.90), (0.10, 0.88)),
    "Pneumonia": ((0.90, 0.28), (0.20, 0.45), (0.30, 0.88)),
}


def _fit(
    finding: Finding,
    chest: Chest,
    lung: Lung,
    target: float,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an opacity whose visible box has about the area `target**2`.

    Heart and diaphragm hide a part of it, so it is drawn, measured and redrawn.
    """
    (median, spread), (weak, strong), heights = _LOOKS[finding.pathology]
    aspect = median * np.exp(rng.normal(0, spread))
    center = _place(lung, target, heights, rng)
    seed = rng.integers(2**32)
    shape = _SHAPES[finding.pathology]
    reach = np.array([target * aspect**0.5, target / aspect**0.5]) / 2
    allowed = np.minimum(lung.mask * 1.25, 1)
    for _ in range(3):
        values = np.zeros(size, np.float32)
        where, dx, dy = window(size, center, 1.5 * reach.max())
        detail = np.random.default_rng(seed)
        patch = shape(dx / reach[0], dy / reach[1], chest.unit, detail, finding.side)
        values[where] = patch * allowed[where]
        visible = values > VISIBLE * max(float(values.max()), 1e-6)
        box = bounding_box(visible)
        if box is None:
            break
        extent = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        if abs(extent / target - 1) < 0.06:
            break
        reach = reach * np.clip(target / extent, 0.7, 1.5)
    strength = weak + (strong - weak) * finding.conspicuity
    return values * np.float32(strength), visible


def _place(
    lung: Lung, target: float, heights: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """A centre in the visible lung, with room around it where there is any."""
    step = 4
    inside = lung.mask[step // 2 :: step, step // 2 :: step] > 0.6
    rows, columns = np.nonzero(inside)
    if not len(rows):
        return lung.hilum
    top, bottom = rows.min(), rows.max()
    depth = (rows - top) / max(bottom - top, 1)
    room = (depth >= heights[0]) & (depth <= heights[1])
    reach = 0.38 * target / step
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        y = np.clip(np.rint(rows + dy * reach).astype(int), 0, inside.shape[0] - 1)
        x = np.clip(np.rint(columns + dx * reach).astype(int), 0, inside.shape[1] - 1)
        room = room & inside[y, x] if (room & inside[y, x]).any() else room
    pool = np.flatnonzero(room) if room.any() else np.arange(len(rows))
    pick = rng.choice(pool)
    return np.array([columns[pick], rows[pick]]) * step + rng.uniform(0, step, 2)


# Fluid and air in the pleural space, whose shape the lung's wall decides.

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


def _draw_effusion(
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


def _draw_pneumothorax(
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


# Shapes: x and y in half extents of the box wanted, -1..1; values 0..1.


def _soft_edge(r: np.ndarray, softness: float) -> np.ndarray:
    """1 inside the radius 1, 0 outside, over a margin of `softness`."""
    return np.clip((1 - r) / softness + 0.5, 0, 1)


def _wavy_radius(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, waves: float
) -> np.ndarray:
    """Distance from the centre relative to a lobulated outline."""
    angle = np.arctan2(y, x)
    edge = np.float32(1.0)
    for k in (2, 3, 5):
        edge = edge + np.float32(rng.normal(0, waves / k)) * np.cos(
            k * angle + np.float32(rng.uniform(0, 2 * np.pi))
        )
    return np.sqrt(x * x + y * y) / edge


def _ball(
    waves: float,
    power: float,
    x: np.ndarray,
    y: np.ndarray,
    unit: int,
    rng: np.random.Generator,
    side: int,
) -> np.ndarray:
    r = _wavy_radius(x, y, rng, waves)
    return np.maximum(1 - r * r, 0) ** np.float32(power)


def _infiltration(
    x: np.ndarray, y: np.ndarray, unit: int, rng: np.random.Generator, side: int
) -> np.ndarray:
    r = _wavy_radius(x, y, rng, 0.35)
    patches = cloud(rng, r.shape, 0.05 * unit)
    fine = cloud(rng, r.shape, 0.014 * unit)
    haze = np.clip(0.55 + 0.38 * patches + 0.16 * fine, 0.1, 1.2)
    return _soft_edge(r, 0.75) * haze


def _pneumonia(
    x: np.ndarray, y: np.ndarray, unit: int, rng: np.random.Generator, side: int
) -> np.ndarray:
    r = _wavy_radius(x, y, rng, 0.28)
    fissure = (
        y - np.float32(rng.uniform(-0.95, -0.6)) + np.float32(rng.normal(0, 0.15)) * x
    )
    value = _soft_edge(r, 0.45) * np.clip(fissure / 0.10, 0, 1)
    value = value * np.clip(0.92 + 0.10 * cloud(rng, r.shape, 0.03 * unit), 0.5, 1.2)
    for _ in range(3):  # air bronchograms: dark twigs that run outwards
        angle = rng.uniform(-0.7, 0.9)
        off = rng.uniform(-0.4, 0.4)
        across = -np.sin(angle) * x * side + np.cos(angle) * y - off
        across = across + 0.12 * np.sin(3 * x + 6 * off)
        twig = np.exp(-((across / np.float32(0.045)) ** 2)) * (np.abs(x) < 0.8)
        value = value * (1 - 0.38 * twig)
    return value


def _atelectasis(
    x: np.ndarray, y: np.ndarray, unit: int, rng: np.random.Generator, side: int
) -> np.ndarray:
    if rng.random() < 0.55:  # a plate, or two
        value = _plate(x, y, rng.normal(0, 0.35), 0.22, 0.0)
        if rng.random() < 0.5:
            value = np.maximum(value, 0.8 * _plate(x, y, rng.normal(0, 0.3), 0.15, 0.6))
        return value
    # a wedge: tip at the hilum's side, base at the diaphragm, sharp upper border
    lean = x * side
    upper = -0.85 + 0.9 * np.clip((lean + 1) / 2, 0, 1)
    value = np.clip((y - upper) / 0.14, 0, 1) * _soft_edge(np.abs(lean), 0.25)
    return value * _soft_edge(np.abs(y), 0.3) * (0.85 - 0.15 * lean)


def _plate(
    x: np.ndarray, y: np.ndarray, slope: float, half: float, offset: float
) -> np.ndarray:
    middle = y - np.float32(slope) * x - np.float32(offset) + 0.25 * x * x
    band = np.clip(1.6 - np.abs(middle) / np.float32(half), 0, 1)
    return band * _soft_edge(np.abs(x), 0.3)


_SHAPES = {
    "Atelectasis": _atelectasis,
    "Infiltration": _infiltration,
    "Mass": partial(_ball, 0.34, 0.38),
    "Nodule": partial(_ball, 0.10, 0.42),
    "Pneumonia": _pneumonia,
}
