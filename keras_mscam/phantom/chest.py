"""The chest without bones: body, lungs and their vessels, heart, diaphragm.

Everything is optical density along the ray, in units of the soft tissue of a normal
chest: parts add, air takes away.
"""

from dataclasses import dataclass

import numpy as np

from keras_mscam.phantom.drawing import (
    Frame,
    add_ellipsoid,
    cloud,
    fill,
    smooth_curve,
    stroke,
    thickness,
    window,
)
from keras_mscam.phantom.patients import Anatomy, Visit


def _outline(x: list[int], y: list[int]) -> np.ndarray:
    """Points `(n, 2)` in body units, given in thousandths."""
    return np.stack([x, y], axis=1) / 1000


# One half of the rib cage: apex, lateral wall (indices 0 to 6), costophrenic angle,
# base, mediastinum.
_HALF_CHEST = _outline(
    [120, 198, 262, 308, 334, 344, 346, 230, 110, 40, 30, 40, 62],
    [-345, -310, -215, -80, 70, 185, 300, 320, 300, 220, 0, -170, -300],
)
_BODY = _outline(
    [125, 122, 165, 300, 430, 560, 680, 660, 560, 470, 432, 425, 430, 440],
    [-620, -470, -420, -385, -335, -250, -100, 150, 120, 45, 110, 260, 400, 640],
)
_AXILLA = 8  # index in _BODY where the arm ends and the flank begins
_HEART = _outline(  # in its own box, -1..1
    [-300, -620, -950, -980, -800, -300, 450, 920, 1000, 820, 500, 220, 100],
    [-1000, -620, -50, 380, 800, 1000, 1000, 800, 520, 50, -450, -750, -1000],
)


@dataclass(frozen=True)
class Lung:
    """One lung as a lesion sees it. A real X-ray's lung can be given in this form."""

    side: int  # -1 left in the image (the patient's right), 1 right in the image
    # `(height, width)` float 0..1, the lung that is visible: not behind heart or
    # diaphragm
    mask: np.ndarray
    outline: np.ndarray  # `(n, 2)` pixels, polygon of the half chest
    hilum: np.ndarray  # `(2,)` pixels


@dataclass(frozen=True)
class Chest:
    """What lesions need to know of a chest: lungs, heart, scale."""

    unit: int  # pixels that correspond to 1024 pixels of ChestX-ray14
    lungs: tuple[Lung, Lung]  # the one on the left of the image first
    heart: tuple[float, float, float, float]  # box `(x1, y1, x2, y2)`, pixels

    def lung(self, side: int) -> Lung:
        return self.lungs[0] if side < 0 else self.lungs[1]


def heart_box(anatomy: Anatomy, visit: Visit) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half size of the heart in body units.

    A Cardiomegaly finding gives the size of the box; else it is the patient's own,
    7% wider in AP views, where the heart lies further from the film.
    """
    size = anatomy.heart * (1.07 if visit.view == "AP" else 1.0) / visit.zoom
    for finding in visit.findings:
        if finding.pathology == "Cardiomegaly":
            size = finding.size / visit.zoom
    aspect = anatomy.heart_aspect
    half = np.array([size * aspect**0.5, size / aspect**0.5]) / 2
    center = np.array([0.014 + 0.22 * half[0], 0.262 - half[1]])
    return center, half


def _dome(anatomy: Anatomy, visit: Visit, side: int) -> np.ndarray:
    """The diaphragm as a curve from the lateral wall to the midline, `(n, 2)`."""
    lift = anatomy.dome - 0.022 * visit.inspiration
    top = 0.195 - lift - (anatomy.dome_difference if side < 0 else 0)
    for finding in visit.findings:  # lost volume pulls the diaphragm up
        if finding.pathology == "Atelectasis" and finding.side == side:
            top -= 0.02
    half = anatomy.width
    points = [
        (0.400 * half, top + 0.150), (0.342 * half, top + 0.085),
        (0.290 * half, top + 0.034), (0.190 * half, top),
        (0.090 * half, top + 0.010), (0.000, top + 0.034),
    ]  # fmt: skip
    return smooth_curve(np.array(points) * (side, 1), closed=False)


def half_chest(anatomy: Anatomy, side: int) -> np.ndarray:
    """Outline of a half chest in body units, apex first."""
    outline = _HALF_CHEST * (anatomy.width, 1)
    outline[:6, 1] *= anatomy.height
    return smooth_curve(outline * (side, 1), closed=True)


def build_chest(
    frame: Frame, anatomy: Anatomy, visit: Visit
) -> tuple[Chest, np.ndarray, np.ndarray, np.ndarray]:
    """Soft tissue of a chest.

    The geometry for lesions; the density `(height, width)`; the air in the lungs, 0..1;
    and the body's own thickness, 0..1.
    """
    unit = frame.unit
    body = _body(frame, anatomy)
    center, half = heart_box(anatomy, visit)
    heart_curve = frame.to_pixels(smooth_curve(center + _HEART * half, closed=True))
    canvas = frame.canvas()
    fill(canvas, heart_curve)
    heart = frame.blur(canvas, 0.0035).astype(np.float32) / 255
    middle = _mediastinum(frame, anatomy)
    below = _abdomen(frame, anatomy, visit)
    hidden = np.maximum(np.maximum(heart, middle), below)
    air = np.zeros(frame.size, np.float32)
    lungs = []
    for side in (-1, 1):
        canvas = frame.canvas()
        outline = frame.to_pixels(half_chest(anatomy, side))
        fill(canvas, outline)
        depth = thickness(canvas, 0.085 * unit)
        canvas = frame.blur(canvas, 0.002)
        visible = canvas.astype(np.float32) * (1 / 255) * (1 - hidden)
        hilum = frame.to_pixels((side * 0.085, -0.035))
        lungs.append(Lung(side, visible, outline, hilum))
        air += frame.blur(depth, 0.003)
    air *= (1 - 0.80 * heart) * (1 - 0.94 * below) * (1 - 0.75 * middle)
    # the liver reaches up behind the lungs: its density fades in, the lung's own
    # border is what makes the dome sharp
    belly = frame.blur(below, 0.05)
    central = np.maximum(0.30 * heart, 0.26 * middle)
    density = (0.96 + np.maximum(central, 0.62 * belly) + 0.06 * central) * body
    density -= 0.58 * air
    _stomach(density, frame, anatomy, visit)
    _breasts(density, frame, anatomy)
    (x1, y1), (x2, y2) = heart_curve.min(axis=0), heart_curve.max(axis=0)
    box = float(x1), float(y1), float(x2), float(y2)
    right, left = lungs
    return Chest(unit, (right, left), box), density, air, body


def _body(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    outline = _BODY.copy()
    outline[_AXILLA:, 0] *= anatomy.width
    outline[_AXILLA:, 0] += 0.065 * (anatomy.fat - 0.5)
    outline[_AXILLA : _AXILLA + 2, 1] += 0.10 * (anatomy.arms - 0.3)
    outline[2:6, 1] -= 0.03 * (anatomy.fat - 1)
    curve = smooth_curve(outline, closed=False)
    canvas = frame.canvas()
    fill(canvas, frame.to_pixels(np.concatenate([curve, (curve * (-1, 1))[::-1]])))
    body = thickness(canvas, 0.17 * frame.unit)
    return frame.blur(body, 0.008)


def _mediastinum(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    knob = 0.017 * anatomy.knob
    right = [(-0.052, -0.60), (-0.048, -0.30), (-0.050, -0.12), (-0.055, 0.3)]
    left = [
        (0.050, 0.3), (0.046, 0.02), (0.056, -0.08), (0.050 + knob * 0.7, -0.135),
        (0.050 + knob, -0.17), (0.046 + knob * 0.4, -0.205), (0.040, -0.26),
        (0.050, -0.60),
    ]  # fmt: skip
    curve = smooth_curve(np.array(right + left), closed=True)
    curve[:, 0] += anatomy.spine_bend * np.sin(6 * curve[:, 1])
    canvas = frame.canvas()
    fill(canvas, frame.to_pixels(curve))
    middle = frame.blur(canvas, 0.006).astype(np.float32)
    y = np.linspace(0, 1, frame.size[0], dtype=np.float32)[:, None]
    return middle * (np.clip(0.10 + 3.0 * y, 0.15, 1) / 255)  # thin at the neck


def _abdomen(frame: Frame, anatomy: Anatomy, visit: Visit) -> np.ndarray:
    right, left = (_dome(anatomy, visit, side) for side in (-1, 1))
    floor = np.array([(0.8, 0.34), (0.8, 0.9), (-0.8, 0.9), (-0.8, 0.34)])
    curve = np.concatenate([right, left[::-1], floor])
    canvas = frame.canvas()
    fill(canvas, frame.to_pixels(curve))
    return frame.blur(canvas, 0.003).astype(np.float32) / 255


def _stomach(density: np.ndarray, frame: Frame, anatomy: Anatomy, visit: Visit) -> None:
    """Gas under the left dome and in the bowel, in about half of the images."""
    rng = np.random.default_rng([*visit.seed, 10])
    unit = frame.unit
    if rng.random() < 0.5:
        dome = _dome(anatomy, visit, 1)[:, 1].min()
        radii = rng.uniform(0.03, 0.07) * unit, rng.uniform(0.018, 0.04) * unit
        center = frame.to_pixels(
            (rng.uniform(0.12, 0.2), dome + radii[1] / unit + rng.uniform(0.012, 0.04))
        )
        add_ellipsoid(density, center, radii, -rng.uniform(0.3, 0.8))
    for _ in range(rng.integers(0, 5)):
        center = frame.to_pixels((rng.uniform(-0.25, 0.3), rng.uniform(0.36, 0.5)))
        radius = rng.uniform(0.012, 0.03) * unit
        add_ellipsoid(density, center, (radius * 1.4, radius), -rng.uniform(0.1, 0.4))


def _breasts(density: np.ndarray, frame: Frame, anatomy: Anatomy) -> None:
    if not anatomy.breast:
        return
    rng = np.random.default_rng([*anatomy.seed, 11])
    radius = (0.105 + 0.035 * anatomy.breast) * frame.unit
    for side in (-1, 1):
        place = side * (0.205 + rng.normal(0, 0.01)), 0.115 + 0.035 * anatomy.breast
        where, dx, dy = window(frame.size, frame.to_pixels(place), 1.3 * radius)
        r2 = (dx * dx + np.where(dy < 0, 0.6, 1.1) * dy * dy) / radius**2
        hanging = np.clip(0.5 + 0.6 * dy / radius, 0, 1)  # only the lower fold is sharp
        fold = np.sqrt(np.maximum(1 - r2, 0)) * hanging
        density[where] += (0.16 + 0.20 * anatomy.breast) * fold


_LEVELS, _TRUNKS = 6, 8  # of the vessels' branches, a side


def draw_vessels(frame: Frame, anatomy: Anatomy, air: np.ndarray) -> np.ndarray:
    """Density of the lung's markings, fading where there is no air behind them."""
    rng = np.random.default_rng([*anatomy.seed, 30])
    canvas = frame.canvas()
    layers = [_branches(rng, side) for side in (-1, 1)]
    for level in reversed(range(_LEVELS)):  # thick ones last, on top
        width = 0.0098 * 0.69**level * frame.unit
        value = 255 * 0.80**level
        for side_layers in layers:
            stroke(canvas, frame.to_pixels(side_layers[level]), value, width)
    markings = frame.blur(canvas, 0.0018).astype(np.float32)
    markings *= 0.115 / 255 * anatomy.vessels
    hila = np.zeros(frame.size, np.float32)
    for side in (-1, 1):
        center = frame.to_pixels((side * 0.08, -0.045 + 0.012 * side * -1))
        radii = 0.028 * frame.unit, 0.055 * frame.unit
        add_ellipsoid(hila, center, radii, 0.16 * anatomy.vessels, side * 0.25, 1.0)
    markings += hila
    grain = cloud(rng, frame.size, max(1.5, 0.009 * frame.unit))
    markings += 0.014 * anatomy.vessels * grain
    return markings * np.minimum(1.3 * air + 0.05, 1)


def _branches(rng: np.random.Generator, side: int) -> list[np.ndarray]:
    """Per level, `(branches, points, 2)` in body units."""
    x = side * (0.07 + rng.normal(0, 0.006, _TRUNKS))
    at = np.stack([x, -0.045 + rng.normal(0, 0.022, _TRUNKS)], axis=1)
    heading = np.linspace(-1.35, 1.45, _TRUNKS) + rng.normal(0, 0.14, _TRUNKS)
    length = rng.uniform(0.055, 0.085, _TRUNKS)
    t = np.linspace(0, 1, 5)[None, :, None]
    layers = []
    for _ in range(_LEVELS):
        bend = rng.normal(0, 0.35, len(heading))
        ahead = np.stack([side * np.cos(heading), np.sin(heading)], axis=1)
        across = np.stack([side * -np.sin(heading), np.cos(heading)], axis=1)
        run = length[:, None, None]
        curve = at[:, None] + run * (
            t * ahead[:, None] + (bend[:, None, None] * t**2) * across[:, None]
        )
        layers.append(curve)
        at = np.repeat(curve[:, -1], 2, axis=0)
        fork = np.where(np.arange(2 * len(heading)) % 2, 0.42, -0.42)
        heading = np.repeat(heading + bend, 2) + fork
        heading += rng.normal(0, 0.22, len(heading))
        length = np.repeat(length, 2) * rng.uniform(0.6, 1.0, len(heading))
    return layers
