"""What is on an X-ray besides the chest: look-alikes, devices, markers, borders.

All of it is drawn from a seed of its own, before anyone looks at the findings, so
that nothing here tells a label.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from keras_mscam.phantom.chest import Chest
from keras_mscam.phantom.drawing import Frame, add_ellipsoid, smooth_curve, stroke
from keras_mscam.phantom.patients import Anatomy, Visit


@dataclass(frozen=True)
class Extras:
    """Which extras an image has; see `sample_extras`."""

    leads: int
    pacemaker: int  # 0 none, else the side
    port: int
    tube: bool
    marker: str
    corner: int
    portable: bool
    collimated: bool


def sample_extras(visit: Visit) -> Extras:
    """The extras of one exposure; looks at its seed and view only."""
    rng = np.random.default_rng([*visit.seed, 40])
    portable = visit.view == "AP"
    return Extras(
        leads=int(rng.integers(1, 5)) if rng.random() < 0.25 else 0,
        pacemaker=int(rng.choice((-1, 1))) if rng.random() < 0.06 else 0,
        port=int(rng.choice((-1, 1))) if rng.random() < 0.08 else 0,
        tube=bool(rng.random() < 0.08),
        marker=str(rng.choice(("L", "R", "L", "AL", "LB", "R D", ""))),
        corner=int(rng.integers(0, 2)),
        portable=portable and bool(rng.random() < 0.4),
        collimated=bool(rng.random() < 0.45),
    )


def add_lookalikes(
    density: np.ndarray, frame: Frame, anatomy: Anatomy, visit: Visit, chest: Chest
) -> None:
    """Harmless things that resemble findings, on the density, in place."""
    unit = frame.unit
    fixed = np.random.default_rng([*anatomy.seed, 41])
    if fixed.random() < 0.35:  # nipples
        for side in (-1, 1):
            spot = frame.to_pixels(
                (side * (0.19 + fixed.normal(0, 0.02)), 0.12 + fixed.normal(0, 0.02))
            )
            radius = fixed.uniform(0.010, 0.016) * unit
            add_ellipsoid(density, spot, (radius, radius), fixed.uniform(0.04, 0.10))
    for _ in range(fixed.poisson(0.35)):  # granulomas: small and dense
        lung = chest.lungs[fixed.integers(2)]
        pull = fixed.uniform(0.1, 0.8)
        spot = lung.hilum + pull * (lung.outline[fixed.integers(30)] - lung.hilum)
        radius = fixed.uniform(0.006, 0.011) * unit
        add_ellipsoid(density, spot, (radius, radius), fixed.uniform(0.15, 0.35))
    rng = np.random.default_rng([*visit.seed, 42])
    for _ in range(rng.poisson(2)):  # vessels seen end-on, near the hilum
        lung = chest.lungs[rng.integers(2)]
        spot = lung.hilum + rng.normal(0, 0.045, 2) * unit
        radius = rng.uniform(0.007, 0.014) * unit
        add_ellipsoid(density, spot, (radius, radius), rng.uniform(0.05, 0.14))
    canvas = frame.canvas()
    for _ in range(rng.poisson(0.35)):  # skin folds and scars
        x = rng.choice((-1, 1)) * rng.uniform(0.10, 0.30)
        y = rng.uniform(-0.25, 0.15)
        run = rng.normal(0, (0.06, 0.10), (4, 2))
        run = np.sort(run, axis=0) * (1, rng.choice((-1, 1)))
        curve = frame.to_pixels(smooth_curve(np.array((x, y)) + run, closed=False))
        stroke(canvas, curve[None], rng.uniform(90, 200), 0.005 * unit)
    density += 0.10 / 255 * frame.blur(canvas, 0.0015).astype(np.float32)
    for _ in range(rng.poisson(0.7)):  # soft tissue that lies over the lung
        spot = frame.to_pixels(rng.normal((0, 0.05), (0.2, 0.15)))
        radii = rng.uniform(0.06, 0.18, 2) * unit
        add_ellipsoid(
            density, spot, tuple(radii), rng.uniform(0.02, 0.08), rng.uniform(0, 3), 1.5
        )


def add_devices(
    density: np.ndarray, frame: Frame, visit: Visit, extras: Extras
) -> None:
    """Leads, pacemaker, port and tube, on the density, in place."""
    rng = np.random.default_rng([*visit.seed, 43])
    if not (extras.leads or extras.pacemaker or extras.port or extras.tube):
        return
    unit = frame.unit
    canvas = frame.canvas()

    def wire(points: list[tuple[float, float]], value: float, width: float) -> None:
        curve = frame.to_pixels(smooth_curve(np.array(points), closed=False))
        stroke(canvas, curve[None], value, width * unit)

    for lead in range(extras.leads):
        side = -1 if lead % 2 else 1
        end = side * rng.uniform(0.12, 0.33), rng.uniform(-0.3, 0.25)
        edge = side * 0.6, end[1] + rng.normal(0.1, 0.2)
        bend = (end[0] + edge[0]) / 2, (end[1] + edge[1]) / 2 + rng.normal(0, 0.08)
        wire([edge, bend, end], 110, 0.004)
        add_ellipsoid(density, frame.to_pixels(end), (0.013 * unit, 0.013 * unit), 0.5)
    if side := extras.pacemaker:
        can = np.array([side * 0.27, -0.20]) + rng.normal(0, 0.02, 2)
        radii = 0.045 * unit, 0.038 * unit
        add_ellipsoid(density, frame.to_pixels(can), radii, 1.6, 0.4, 0.2)
        lead = [tuple(can), (side * 0.12, -0.28), (-0.03, -0.1), (0.08, 0.17)]
        wire(lead, 255, 0.005)
    if side := extras.port:
        spot = np.array([side * 0.22, -0.17]) + rng.normal(0, 0.02, 2)
        radii = 0.019 * unit, 0.019 * unit
        add_ellipsoid(density, frame.to_pixels(spot), radii, 0.8, 0, 0.3)
        line = [tuple(spot), (side * 0.12, -0.29), (-0.04, -0.2), (-0.04, -0.02)]
        wire(line, 130, 0.005)
    if extras.tube:
        x = rng.normal(0, 0.006)
        wire([(x, -0.6), (x, -0.3), (x - 0.004, -0.17)], 120, 0.006)
        wire([(x + 0.012, -0.6), (0.02, -0.1), (0.02, 0.15), (0.1, 0.27)], 110, 0.005)
    density += 0.7 / 255 * canvas.astype(np.float32)


def stamp(image: np.ndarray, frame: Frame, visit: Visit, extras: Extras) -> None:
    """Side marker, text and collimation on the finished 8-bit image, in place."""
    rng = np.random.default_rng([*visit.seed, 44])
    height, width = image.shape
    unit = frame.unit
    if extras.collimated:
        _collimate(image, rng)
    grey = int(rng.integers(190, 256))
    if extras.marker:
        side = 1 if extras.marker[-1] in "LB" or extras.marker[0] in "AL" else -1
        x = width / 2 + side * rng.uniform(0.36, 0.44) * width
        y = rng.uniform(0.05, 0.2) * height
        scale = rng.uniform(0.035, 0.05) * unit
        _text(image, extras.marker, (x, y), scale, rng.normal(0, 25), grey)
    if extras.portable:
        x = width / 2 + (-1, 1)[extras.corner] * rng.uniform(0.3, 0.4) * width
        place = x, rng.uniform(0.02, 0.06) * height
        _text(image, "PORTABLE", place, 0.02 * unit, rng.normal(0, 3), grey)


def _text(
    image: np.ndarray,
    text: str,
    center: tuple[float, float],
    height: float,
    angle: float,
    grey: int,
) -> None:
    """White capital letters `height` pixels high, turned by `angle` degrees."""
    font = cv2.FONT_HERSHEY_DUPLEX
    (w, h), _ = cv2.getTextSize(text, font, 1.0, 2)
    plate = np.zeros((h + 8, w + 8), np.uint8)
    cv2.putText(plate, text, (4, h + 4), font, 1.0, 255, 2, cv2.LINE_AA)
    middle = plate.shape[1] / 2, plate.shape[0] / 2
    matrix = cv2.getRotationMatrix2D(middle, angle, height / h)
    matrix[:, 2] += np.array(center) - middle
    alpha = cv2.warpAffine(plate, matrix, image.shape[::-1], flags=cv2.INTER_LINEAR)
    np.maximum(image, cv2.convertScaleAbs(alpha, alpha=grey / 255), out=image)


def _collimate(image: np.ndarray, rng: np.random.Generator) -> None:
    """Dark borders where the beam was shut, seldom more than 4% of the image."""
    height, width = image.shape
    grey = int(rng.integers(0, 14))
    tilt = rng.normal(0, 0.008)
    margin = np.minimum(rng.exponential(0.012, 4), 0.045) * (rng.random(4) < 0.6)
    left, top = margin[0] * width, margin[1] * height
    right, bottom = width - margin[2] * width, height - margin[3] * height
    open_field = np.array([
        (left + tilt * height, top), (right + tilt * height, top + tilt * width),
        (right, bottom), (left, bottom - tilt * width),
    ])  # fmt: skip
    shut = np.ones(image.shape, np.uint8)
    cv2.fillConvexPoly(shut, np.rint(open_field).astype(np.int32), 0)
    image[shut.view(bool)] = grey
