"""The mean phantom's lungs, laid over a picture where it is darkest."""

import itertools
from functools import cache

import cv2
import numpy as np

from keras_mscam.phantom.chest import Chest, build_chest
from keras_mscam.phantom.drawing import Frame, move_about_middle, turn
from keras_mscam.phantom.patients import Anatomy, Visit

SIZE = 256  # side of the square picture and of the template, pixels
_FINE, _COARSE = 64, 32
#: Scale along x and y, shift along x and y as a share of the side; then degrees.
_GRID = (
    (0.75, 0.85, 0.95, 1.05, 1.15),
    (0.7, 0.8, 0.9, 1.0, 1.1, 1.2),
    (-0.06, -0.03, 0.0, 0.03, 0.06),
    (-0.12, -0.08, -0.04, 0.0, 0.04, 0.08, 0.12),
    (0.0,),
)
_STEP = (0.05, 0.06, 0.015, 0.02, 2.0)


@cache
def template() -> Chest:
    """The chest of the mean phantom, in a square of `SIZE` pixels."""
    # fmt: off
    anatomy = Anatomy(
        sex="M", age=50, width=1.0, height=1.0, fat=1.0, arms=0.3, heart=0.325,
        heart_aspect=1.23, knob=1.0, dome=0.0, dome_difference=0.022, rib_phase=0.0,
        rib_spacing=1.0, spine_bend=0.0, breast=0.0, vessels=1.0, seed=(0,),
    )
    visit = Visit(
        view="PA", rotation=0.0, zoom=1.0, shift=(0.0, 0.0), inspiration=0.0,
        contrast=1.0, density=1.0, noise=0.0, blur=0.0, findings=(), seed=(0,),
    )
    # fmt: on
    return build_chest(Frame((SIZE, SIZE)), anatomy, visit)[0]


def measure_darkness(square: np.ndarray, air: float) -> np.ndarray:
    """How dark a place is for a lung: -1..1, `(64, 64)`.

    0 is at Otsu's threshold between dark and bright of the body. What is darker than
    the share `air` of the median, and touches the upper or a lateral border, is the air
    around the body, and -1.
    """
    small = cv2.resize(square, (_FINE, _FINE), interpolation=cv2.INTER_AREA)
    dark = (small < air * np.median(small)).astype(np.uint8)
    _, parts = cv2.connectedComponents(dark, connectivity=4)
    touching = np.unique(np.concatenate([parts[0], parts[:, 0], parts[:, -1]]))
    outside = np.isin(parts, touching[touching > 0])
    body = small[~outside][None]
    if not body.size:
        return np.full(small.shape, -1, np.float32)
    limit, _ = cv2.threshold(body, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    spread = max(float(body.std()), 1.0)
    darkness = np.tanh((limit - small.astype(np.float32)) / (0.5 * spread))
    darkness[outside] = -1
    return darkness


def fit_template(darkness: np.ndarray, surroundings: float) -> np.ndarray:
    """Find where the template's lungs are darkest: a grid, then halved steps.

    `surroundings` is the weight of what lies around the lungs, which should be bright.
    The `(2, 3)` affine map is from the template to the picture, in pixels of `SIZE`.
    """
    guesses, penalties, moved = _moved_masks(surroundings)
    small = cv2.resize(darkness, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    fits = (moved * small.ravel()).sum(axis=1)
    best = np.array(guesses[int((fits - penalties).argmax())])
    weights = _weights(surroundings, _FINE)

    def score(numbers: np.ndarray) -> float:
        return float((_move(weights, numbers) * darkness).sum()) - _penalty(numbers)

    highest = score(best)
    for halving in range(4):
        for _, k, sign in itertools.product(range(3), range(len(best)), (-1, 1)):
            guess = best.copy()
            guess[k] += sign * _STEP[k] / 2**halving
            value = score(guess)
            if value > highest:
                best, highest = guess, value
    return _matrix(best, SIZE)


@cache
def _moved_masks(surroundings: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every guess of the grid, its penalty, and its mask as a row."""
    weights = _weights(surroundings, _COARSE)
    guesses = np.array(list(itertools.product(*_GRID)))
    rows = [_move(weights, guess).ravel() for guess in guesses]
    return guesses, np.array([_penalty(guess) for guess in guesses]), np.array(rows)


@cache
def _weights(surroundings: float, side: int) -> np.ndarray:
    """The lungs, summing to 1, less a ring around them; `(side, side)`."""
    left, right = template().lungs
    lungs = left.mask + right.mask
    inside = (lungs > 0.5).astype(np.uint8)
    ring = cv2.dilate(inside, np.ones((25, 25), np.uint8)) - inside
    both = lungs - np.float32(surroundings) * ring
    small = cv2.resize(both, (side, side), interpolation=cv2.INTER_AREA)
    return small / np.maximum(small, 0).sum()


def _move(weights: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(weights, _matrix(numbers, len(weights)), weights.shape)


def _penalty(numbers: np.ndarray) -> float:
    """What deforming and turning costs."""
    sx, sy, _, _, angle = numbers
    return 0.5 * float(np.log(sx) ** 2 + np.log(sy) ** 2 + (angle / 20) ** 2)


def _matrix(numbers: np.ndarray, side: int) -> np.ndarray:
    """Scale and turn about the middle, then shift."""
    sx, sy, tx, ty, angle = numbers
    shift = np.array([tx, ty]) * side
    return move_about_middle(turn(angle) * (sx, sy), shift, (side, side))
