"""Vessels that branch from the hila, and the fine grain of the lung."""

import numpy as np

from keras_mscam.phantom.drawing import Frame, add_ellipsoid, cloud, stroke
from keras_mscam.phantom.patients import Anatomy

_LEVELS = 6
_TRUNKS = 8


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
    at = np.stack(
        [
            side * (0.07 + rng.normal(0, 0.006, _TRUNKS)),
            -0.045 + rng.normal(0, 0.022, _TRUNKS),
        ],
        axis=1,
    )
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
