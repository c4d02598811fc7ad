"""A real X-ray's heart made wider or narrower by a smooth local warp."""

import numpy as np

from keras_mscam.data.phantom.lungs import Tracing
from keras_mscam.data.phantom.patients import Visit


def sample_heart(
    rng: np.random.Generator, tracing: Tracing, visit: Visit
) -> tuple[float, float]:
    """How far the heart's right and left borders move outwards, pixels of the tracing.

    Every heart is changed a little, so that a warp by itself tells no label. With the
    finding Cardiomegaly, the heart gets 0.56 to 0.68 of the chest's width, and grows by
    12% at least; most of it goes to the left, as in life. No border moves farther than
    55% of the way to the chest's wall.
    """
    change = float(np.clip(rng.normal(0.0, 0.05), -0.1, 0.1))
    more = float(rng.random())
    x1, _, x2, _ = tracing.heart
    chest = np.ptp(tracing.outlines[..., 0])
    for finding in visit.findings:
        if finding.pathology == "Cardiomegaly":
            ratio = 0.56 + 0.10 * finding.conspicuity + 0.02 * more
            change = float(np.clip(ratio * chest / (x2 - x1) - 1, 0.12, 0.55))
    moves = []
    for half, wall, part in zip(*_halves(tracing), (0.75, 1.25), strict=True):
        moves.append(min(half * part * change, 0.55 * (wall - half)))
    return moves[0], moves[1]


def widen_heart(
    x: np.ndarray, y: np.ndarray, tracing: Tracing, moves: tuple[float, float]
) -> np.ndarray:
    """Where to look for what a warped picture shows at `(x, y)`: the new `x`.

    The shift grows from the spine to the heart's new border, and falls to nothing at
    the chest's wall; it is full in the lower half of the heart, and nothing at the hila
    and in the abdomen.

    Args:
        x: columns, pixels of the tracing.
        y: rows.
        tracing: of the picture as it is.
        moves: from `sample_heart`.
    """
    _, y1, _, y2 = tracing.heart
    height = max(y2 - y1, 1.0)
    weight = _ease((y - y1 + 0.05 * height) / (0.6 * height))
    weight = weight * _ease(1 - (y - y2) / (0.45 * height))
    middle = tracing.hila[:, 0].mean()
    shift = np.zeros_like(x)
    sides = zip((-1, 1), *_halves(tracing), moves, strict=True)
    for side, half, wall, move in sides:
        away = (x - middle) * side
        border = half + move
        rise = _ease(away / border)
        fall = np.clip((wall - away) / (wall - border), 0, 1)
        shift += side * move * np.where(away < border, rise, fall) * (away > 0)
    return (x - shift * weight).astype(np.float32)


def widen_box(
    tracing: Tracing, moves: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The box of the heart once its borders have moved, pixels of the tracing."""
    _, y1, _, y2 = tracing.heart
    middle = float(tracing.hila[:, 0].mean())
    (right, left), _ = _halves(tracing)
    return middle - right - moves[0], y1, middle + left + moves[1], y2


def _halves(tracing: Tracing) -> tuple[list[float], list[float]]:
    """From the middle to the heart's borders and to the walls; right side first."""
    middle = tracing.hila[:, 0].mean()
    x1, _, x2, _ = tracing.heart
    halves = [max(middle - x1, 4.0), max(x2 - middle, 4.0)]
    reaches = [np.abs(outline[:, 0] - middle).max() for outline in tracing.outlines]
    walls = [max(r, 1.5 * h) for r, h in zip(reaches, halves, strict=True)]
    return [float(h) for h in halves], [float(w) for w in walls]


def _ease(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
