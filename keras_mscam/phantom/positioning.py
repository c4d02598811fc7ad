"""A real X-ray's heart made wider or narrower by a smooth local warp."""

import cv2
import numpy as np

from keras_mscam.images.resize import resize_area
from keras_mscam.phantom.contours import outline_of
from keras_mscam.phantom.lung_template import SIZE
from keras_mscam.phantom.lungs import Tracing
from keras_mscam.phantom.patients import Visit
from keras_mscam.phantom.thorax import Chest, Lung


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


_OVERSAMPLING = 2  # of the picture while it is turned: bilinear steps blur


def take_again(
    image: np.ndarray, tracing: Tracing, visit: Visit, size: tuple[int, int]
) -> tuple[np.ndarray, Chest]:
    """Position and expose a real X-ray anew, without mirroring it.

    Turned by 2.5, shifted by 2% and zoomed by 5% (standard deviations, cut at 6
    degrees, 4%, and 0.94 to 1.15), what is missing at the borders repeated from them;
    gamma and contrast changed by 10%, brightness by 8 grey levels; the heart wider or
    narrower by 5%, or as wide as Cardiomegaly asks.

    Args:
        image: uint8 of any size, stretched to `size` as `prepare` stretches images.
        tracing: of that image.
        visit: its seed decides on everything; its findings on the heart alone.
        size: `(height, width)` wanted.

    Returns:
        uint8 of shape `size`, and its chest in its pixels.
    """
    rng = np.random.default_rng([*visit.seed, 70])
    matrix = _sample_matrix(rng, size)
    moves = sample_heart(rng, tracing, visit)
    ratio = np.array(size[::-1]) / SIZE
    x, y = _look_up(matrix, ratio, size)
    x = widen_heart(x, y, tracing, moves)
    picture = resize_area(_sample(image, x, y, cv2.BORDER_REPLICATE), size)
    x, y = (cv2.resize(v, size[::-1], interpolation=cv2.INTER_AREA) for v in (x, y))
    lungs = []
    for lung in tracing.to_chest().lungs:
        mask = _sample(lung.mask, x, y, cv2.BORDER_CONSTANT)
        hilum = matrix[:, :2] @ (lung.hilum * ratio) + matrix[:, 2]
        lungs.append(Lung(lung.side, mask, outline_of(mask), hilum))
    heart = _move_box(widen_box(tracing, moves), matrix, ratio)
    return _expose(rng, picture), Chest(min(size), tuple(lungs), heart)


def _sample_matrix(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """`(2, 3)`: from the picture stretched to `size` to where it is moved."""
    height, width = size
    angle = np.deg2rad(np.clip(rng.normal(0, 2.5), -6, 6))
    zoom = np.exp(np.clip(rng.normal(0.03, 0.05), -0.06, 0.14))
    shift = np.clip(rng.normal(0, 0.02, 2), -0.04, 0.04) * min(size)
    c, s = np.cos(angle) * zoom, np.sin(angle) * zoom
    linear = np.array([[c, -s], [s, c]])
    middle = np.array([width, height]) / 2
    offset = middle + shift - linear @ middle
    return np.concatenate([linear, offset[:, None]], axis=1)


def _look_up(
    matrix: np.ndarray, ratio: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of a picture twice as large, its place before the move."""
    inverse = cv2.invertAffineTransform(matrix) / ratio[:, None]
    rows, columns = (
        (np.arange(n * _OVERSAMPLING, dtype=np.float32) + 0.5) / _OVERSAMPLING
        for n in size
    )
    (a, b, c), (d, e, f) = inverse.astype(np.float32)
    rows = rows[:, None]
    return a * columns + b * rows + c, d * columns + e * rows + f


def _sample(image: np.ndarray, x: np.ndarray, y: np.ndarray, border: int) -> np.ndarray:
    """An image at places given in pixels of the tracing."""
    height, width = image.shape
    half = np.float32(0.5)
    x = x * np.float32(width / SIZE) - half
    y = y * np.float32(height / SIZE) - half
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=border)


def _expose(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    contrast = np.exp(np.clip(rng.normal(0, 0.1), -0.25, 0.25))
    brightness = np.clip(rng.normal(0, 8), -20, 20)
    gamma = np.exp(np.clip(rng.normal(0, 0.1), -0.25, 0.25))
    levels = 255 * (np.arange(256, dtype=np.float32) / 255) ** np.float32(gamma)
    levels = (levels - 128) * np.float32(contrast) + 128 + np.float32(brightness)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)[picture]


def _move_box(
    box: tuple[float, float, float, float], matrix: np.ndarray, ratio: np.ndarray
) -> tuple[float, float, float, float]:
    """A box moved and zoomed, not turned: around what a turned heart still fills."""
    x1, y1, x2, y2 = box
    middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2]) * ratio
    half = np.array([x2 - x1, y2 - y1]) / 2 * ratio * np.linalg.norm(matrix[:, 0])
    center = matrix[:, :2] @ middle + matrix[:, 2]
    return tuple(float(v) for v in (*(center - half), *(center + half)))
