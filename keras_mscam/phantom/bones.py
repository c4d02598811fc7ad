"""Ribs, clavicles, spine, shoulders and airways as densities."""

import numpy as np

from keras_mscam.phantom.chest import half_chest
from keras_mscam.phantom.drawing import (
    Frame,
    add_ellipsoid,
    fill,
    smooth_curve,
    strip,
    stroke,
)
from keras_mscam.phantom.patients import Anatomy


def draw_bones(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    """Density of all bones and of the windpipe's air, `(height, width)` float32."""
    rng = np.random.default_rng([*anatomy.seed, 20])
    density = _ribs(frame, anatomy, rng)
    density += _clavicles(frame, anatomy, rng)
    density += _spine(frame, anatomy)
    density += _shoulders(frame, rng)
    density -= _airways(frame, anatomy)
    return density


def rib_curves(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Ribs of one side as tilted rings, `(ribs, angles, 2)` in body units.

    A rib leaves the spine at angle 0, turns at the lateral wall at 90 degrees and
    comes forward: its shadow is half an ellipse that sinks from back to front.
    """
    outline = half_chest(anatomy, 1)
    wall = outline[np.argsort(outline[:, 1])]
    wall = wall[wall[:, 0] > 0.11]
    angle = np.linspace(0.05, np.pi * 0.86, 40)
    index = np.arange(10)
    start = -0.335 + (index + 0.25 * anatomy.rib_phase) * 0.057 * anatomy.rib_spacing
    drop = np.linspace(0.09, 0.25, 10) + rng.normal(0, 0.004, 10)
    reach = np.interp(start + 0.5 * drop, wall[:, 1], wall[:, 0]) + 0.006
    reach[0] = 0.62 * reach[0]
    reach[1] = 0.9 * reach[1]
    x = 0.02 + (reach[:, None] - 0.02) * np.sin(angle)
    y = start[:, None] + drop[:, None] * (1 - np.cos(angle)) / 2
    y -= 0.006 * np.sin(2 * angle)
    return np.stack([x, y], axis=-1)


def _ribs(frame: Frame, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    back, front, edge = frame.canvas(), frame.canvas(), frame.canvas()
    turn = 24  # of the 40 angles: behind this point a rib is seen from the back
    line = 0.003 * frame.unit
    curves = rib_curves(anatomy, rng)
    width = rng.uniform(0.0095, 0.0115)
    for side in (-1, 1):
        lean = rng.normal(0, 0.004, (len(curves), 1))
        for curve, shift in zip(curves, lean, strict=True):
            curve = np.array((0, shift[0])) + curve
            curve = curve * (side, 1)
            half = width * np.linspace(0.8, 1.25, len(curve))
            outline = strip(curve, half)
            posterior = strip(curve[:turn], half[:turn])
            anterior = strip(curve[turn - 2 :], half[turn - 2 :])
            fill(back, frame.to_pixels(posterior), 190)
            fill(front, frame.to_pixels(anterior), 150)
            pixels = frame.to_pixels(outline)
            count = len(curve)
            stroke(edge, pixels[None, :turn], 200, line)
            stroke(edge, pixels[None, 2 * count - turn :], 255, line)
            stroke(edge, pixels[None, turn:count], 150, line)
            stroke(edge, pixels[None, count : 2 * count - turn], 170, line)
    layers = (back, 0.075, 0.0022), (front, 0.055, 0.003), (edge, 0.09, 0.0016)
    return _blend(frame, *layers)


def _blend(frame: Frame, *layers: tuple[np.ndarray, float, float]) -> np.ndarray:
    """The sum of 8-bit canvases, each with its density and blur in frame units."""
    (canvas, density, blur), *others = layers
    total = density * frame.blur(canvas, blur).astype(np.float32)
    for canvas, density, blur in others:
        total += density * frame.blur(canvas, blur)
    return total * (1 / 255)


def _clavicles(frame: Frame, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    canvas, edge = frame.canvas(), frame.canvas()
    rise = rng.normal(0.05, 0.02)
    level = -0.285 + rng.normal(0, 0.015)
    for side in (-1, 1):
        points = np.array([
            (0.030, level + 0.022), (0.085, level + 0.008),
            (0.165, level - 0.002 - 0.25 * rise), (0.260, level - 0.020 - 0.8 * rise),
            (0.380, level - 0.020 - 1.2 * rise),
        ])  # fmt: skip
        curve = smooth_curve(points * (side * anatomy.width, 1), closed=False)
        half = 0.011 + 0.004 * np.cos(np.linspace(0, 2 * np.pi, len(curve)))
        pixels = frame.to_pixels(strip(curve, half))
        fill(canvas, pixels, 220)
        stroke(edge, pixels[None], 160, 0.003 * frame.unit)
    return _blend(frame, (canvas, 0.14, 0.003), (edge, 0.09, 0.002))


def _spine(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    canvas, discs = frame.canvas(), frame.canvas()
    y = np.linspace(-0.62, 0.62, 40)
    curve = np.stack([anatomy.spine_bend * np.sin(6 * y), y], axis=1)
    half = 0.030 + 0.008 * np.clip(3 * y, -0.5, 1)
    fill(canvas, frame.to_pixels(strip(curve, half)), 200)
    for level in np.arange(-0.55, 0.55, 0.047 * anatomy.rib_spacing):
        x = anatomy.spine_bend * np.sin(6 * level)
        ends = frame.to_pixels([(x - 0.026, level), (x + 0.026, level)])
        stroke(discs, ends[None], 170, 0.008 * frame.unit)
        for side in (-1, 1):  # pedicles
            spot = frame.to_pixels([(x + side * 0.016, level + 0.02)] * 2)
            stroke(canvas, spot[None], 255, 0.011 * frame.unit)
    return _blend(frame, (canvas, 0.10, 0.006), (discs, -0.08, 0.0035))


def _shoulders(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Shoulder blades, heads of the upper arms and their shafts."""
    canvas, edge = frame.canvas(), frame.canvas()
    out = rng.uniform(-0.02, 0.04)
    for side in (-1, 1):
        blade = np.array([
            (0.37 + out, -0.31), (0.33 + out, -0.24), (0.31 + out, -0.12),
            (0.335 + out, 0.0), (0.39 + out, -0.09), (0.42 + out, -0.20),
        ])  # fmt: skip
        pixels = frame.to_pixels(smooth_curve(blade * (side, 1), closed=True))
        fill(canvas, pixels, 70)
        stroke(edge, pixels[None, :28], 160, 0.003 * frame.unit)
        arm = np.array([(0.43, -0.28), (0.48, -0.2), (0.53, -0.05), (0.56, 0.1)])
        curve = smooth_curve((np.array((out, 0)) + arm) * (side, 1), closed=False)
        half = np.interp(
            np.linspace(0, 1, len(curve)), (0, 0.2, 1), (0.03, 0.02, 0.016)
        )
        fill(canvas, frame.to_pixels(strip(curve, half)), 190)
    total = _blend(frame, (canvas, 0.13, 0.004), (edge, 0.10, 0.002))
    for side in (-1, 1):
        center = frame.to_pixels((side * (0.435 + out), -0.275))
        add_ellipsoid(total, center, (0.045 * frame.unit, 0.045 * frame.unit), 0.14)
    return total


def _airways(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    canvas = frame.canvas()
    bend = anatomy.spine_bend
    trachea = smooth_curve(
        np.array([(0, -0.62), (bend, -0.4), (-0.004 + bend, -0.25), (-0.006, -0.13)]),
        closed=False,
    )
    fill(canvas, frame.to_pixels(strip(trachea, 0.0165)), 230)
    for side, dip in ((-1, -0.07), (1, -0.075)):
        bronchus = np.array([(-0.006, -0.14), (side * 0.03, -0.10), (side * 0.07, dip)])
        curve = smooth_curve(bronchus, closed=False)
        half = np.linspace(0.012, 0.008, len(curve))
        fill(canvas, frame.to_pixels(strip(curve, half)), 150)
    return 0.24 / 255 * frame.blur(canvas, 0.005).astype(np.float32)
