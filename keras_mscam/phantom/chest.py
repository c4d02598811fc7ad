"""The chest without bones and vessels: body, lungs, heart, diaphragm, soft tissue.

Everything is optical density along the ray, in units of the soft tissue of a normal
chest: parts add, air takes away.
"""

import numpy as np

from keras_mscam.phantom.drawing import (
    Frame,
    add_ellipsoid,
    fill,
    smooth_curve,
    thickness,
    window,
)
from keras_mscam.phantom.patients import Anatomy, Visit
from keras_mscam.phantom.thorax import Chest, Lung

# Outline of one half of the rib cage, |x| and y in body units: apex, lateral wall
# (indices 0 to 6), costophrenic angle, base, mediastinum.
_HALF_CHEST = np.array(
    [
        (0.120, -0.345),
        (0.198, -0.310),
        (0.262, -0.215),
        (0.308, -0.080),
        (0.334, 0.070),
        (0.344, 0.185),
        (0.346, 0.300),
        (0.230, 0.320),
        (0.110, 0.300),
        (0.040, 0.220),
        (0.030, 0.000),
        (0.040, -0.170),
        (0.062, -0.300),
    ]
)
_BODY = np.array(
    [
        (0.125, -0.62),
        (0.122, -0.47),
        (0.165, -0.420),
        (0.300, -0.385),
        (0.430, -0.335),
        (0.560, -0.250),
        (0.680, -0.100),
        (0.660, 0.150),
        (0.560, 0.120),
        (0.470, 0.045),
        (0.432, 0.110),
        (0.425, 0.260),
        (0.430, 0.400),
        (0.440, 0.640),
    ]
)
_AXILLA = 8  # index in _BODY where the arm ends and the flank begins
_HEART = np.array(  # in its own box, -1..1
    [
        (-0.30, -1.00),
        (-0.62, -0.62),
        (-0.95, -0.05),
        (-0.98, 0.38),
        (-0.80, 0.80),
        (-0.30, 1.00),
        (0.45, 1.00),
        (0.92, 0.80),
        (1.00, 0.52),
        (0.82, 0.05),
        (0.50, -0.45),
        (0.22, -0.75),
        (0.10, -1.00),
    ]
)


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
        (0.400 * half, top + 0.150),
        (0.342 * half, top + 0.085),
        (0.290 * half, top + 0.034),
        (0.190 * half, top),
        (0.090 * half, top + 0.010),
        (0.000, top + 0.034),
    ]
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

    Returns:
        The geometry for lesions; the density `(height, width)`; the air in the lungs,
        0..1; and the body's own thickness, 0..1.
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
        lungs.append(
            Lung(
                side,
                canvas.astype(np.float32) * (1 / 255) * (1 - hidden),
                outline,
                frame.to_pixels((side * 0.085, -0.035)),
            )
        )
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
    box = (*heart_curve.min(axis=0), *heart_curve.max(axis=0))
    return Chest(unit, tuple(lungs), tuple(float(v) for v in box)), density, air, body


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
        (0.050, 0.3),
        (0.046, 0.02),
        (0.056, -0.08),
        (0.050 + knob * 0.7, -0.135),
        (0.050 + knob, -0.17),
        (0.046 + knob * 0.4, -0.205),
        (0.040, -0.26),
        (0.050, -0.60),
    ]
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
