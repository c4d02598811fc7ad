"""Where lungs and heart lie in a real X-ray, found without a trained model."""

from dataclasses import dataclass

import cv2
import numpy as np

from keras_mscam.images.resize import resize_area
from keras_mscam.images.xray import ImageError
from keras_mscam.phantom.chest import Chest, Lung
from keras_mscam.phantom.drawing import fill
from keras_mscam.phantom.lung_template import (
    SIZE,
    fit_template,
    measure_darkness,
    template,
)

# Limits of what passes for a pair of lungs, set by eye on 76 films of ChestX-ray14 with
# 69 good and 7 bad contours.
_SHARES = 0.04, 0.26  # of the picture that one lung covers
_SOLIDITY = 0.87  # area over that of its convex hull
_STEP = 0.725  # grey around the lungs less that of the lungs, in deviations
_BRIGHT = 0.10  # of the lungs, brighter than the median around them
_POINTS = 120  # of a contour
_OFFSETS = np.arange(-0.075, 0.0751, 0.0025)  # along its normals, widths of the picture


@dataclass(frozen=True)
class Tracing:
    """A chest as its contours, in pixels of the picture resized to 256x256."""

    # `(2, n, 2)`, visible lungs, the one on the left of the image first
    outlines: np.ndarray
    hila: np.ndarray  # `(2, 2)`
    heart: tuple[float, float, float, float]  # box `(x1, y1, x2, y2)`

    def to_chest(self) -> Chest:
        """The chest that lesions need, in the frame of the tracing."""
        pairs = zip((-1, 1), self.outlines, self.hila, strict=True)
        right, left = (Lung(side, _fill(o), o, hilum) for side, o, hilum in pairs)
        return Chest(SIZE, (right, left), self.heart)


def trace_chest(image: np.ndarray) -> Tracing:
    """Find lungs and heart of a frontal X-ray, uint8 `(height, width)`.

    The lungs of the mean phantom are laid over the picture by an affine map, where it
    is darkest. Then their contours move along their normals to the steps from dark to
    bright, first of a blurred picture and then of a sharper one. Of several first
    guesses, the one whose contours follow the clearest steps is taken. The image must
    be upright and not mirrored, its bones bright.

    Raises:
        ImageError: what was found is no plausible pair of lungs.

    Reference:
        Cootes et al. 1995, Active shape models, section 5.1, for the search along
        normals; smoothness takes the place of their trained model of shapes.
    """
    square = resize_area(image, (SIZE, SIZE))
    if np.ptp(square) < 32:
        raise ImageError("has hardly any contrast")
    guesses = {}
    for air in (0.3, 0.5, 0.75):
        darkness = measure_darkness(square, air)
        for surroundings in (0.0, 0.5, 1.0, 2.0):
            matrix = fit_template(darkness, surroundings)
            guesses[matrix.tobytes()] = matrix  # some agree
    traced = [_trace(square, matrix) for matrix in guesses.values()]
    tracing, _ = max(traced, key=lambda pair: pair[1])
    _check(tracing, square)
    return tracing


def _trace(square: np.ndarray, matrix: np.ndarray) -> tuple[Tracing, float]:
    """Contours from a first guess, and how clear the steps are that they follow."""
    outlines, hila, rises = [], [], []
    for lung in template().lungs:
        contour = outline_of(lung.mask) @ matrix[:, :2].T + matrix[:, 2]
        contour, _ = settle(square, contour, blur=0.014, stiffness=6.0, reach=1.0)
        contour, rise = settle(square, contour, blur=0.007, stiffness=4.0, reach=0.4)
        outlines.append(contour)
        hila.append(matrix[:, :2] @ lung.hilum + matrix[:, 2])
        rises.append(rise)
    masks = [_fill(outline) for outline in outlines]
    heart = _find_heart(masks, hila)
    tracing = Tracing(np.array(outlines), np.array(hila), heart)
    return tracing, _rate(square, masks, np.array(rises))


def _fill(outline: np.ndarray) -> np.ndarray:
    """`(SIZE, SIZE)` float32 0..1, soft at the border."""
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    fill(canvas, outline)
    return cv2.GaussianBlur(canvas, (0, 0), 0.9).astype(np.float32) / 255


def _rate(square: np.ndarray, masks: list[np.ndarray], rises: np.ndarray) -> float:
    """Higher where steps are clear all around, lungs dark, large and apart."""
    inside, ring = _surround(masks)
    step = square[ring].mean() - square[inside].mean() if inside.any() else 0.0
    spread = max(float(square[inside].std()), 4.0) if inside.any() else 4.0
    clear = np.clip(rises / spread, -1, 0.7).mean()
    missing = (rises < 0.15 * spread).mean()
    overlap = float((masks[0] * masks[1]).sum()) / 500
    dark = 0.3 * step / max(float(square.std()), 1.0)
    return float(clear - missing + dark - overlap + 0.5 * inside.mean())


def _surround(masks: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Boolean masks of both lungs and of a ring around them."""
    inside = masks[0] + masks[1] > 0.5
    wide = cv2.dilate(inside.astype(np.uint8), np.ones((21, 21), np.uint8)) > 0
    return inside, wide & ~inside


def _find_heart(
    masks: list[np.ndarray], hila: list[np.ndarray]
) -> tuple[float, float, float, float]:
    """The box between the lungs, from the hila down to the right dome's inner end.

    The right dome is the higher one, and the heart's left border meets the left one
    about where its right border meets the right one.
    """
    right = SIZE - 1 - _inner_border(masks[0][:, ::-1], hila[0])
    left = _inner_border(masks[1], hila[1])
    first = round(0.08 * SIZE)  # a heart is at least that high
    slope = np.gradient(right) if len(right) > 1 else np.zeros(1)
    outwards = np.flatnonzero(-slope[first:] > 0.9)
    end = int(outwards[0]) + first if len(outwards) else len(right) - 1
    bottom = hila[0][1] + end
    left = left[: max(int(bottom - hila[1][1]), 1)]
    return (
        float(right[: end + 1].min()),
        float(min(hila[0][1], hila[1][1])),
        float(left.max()),
        float(bottom + 0.025 * SIZE),
    )


def _inner_border(mask: np.ndarray, hilum: np.ndarray) -> np.ndarray:
    """From its hilum down, the column where a lung on the right begins."""
    inside = mask[max(int(hilum[1]), 0) :] > 0.5
    inside = inside[inside.any(axis=1)]
    if not len(inside):
        return np.array([hilum[0]])
    column = inside.argmax(axis=1).astype(np.float64)
    return cv2.GaussianBlur(column[:, None], (1, 13), 2.0)[:, 0]


def _check(tracing: Tracing, square: np.ndarray) -> None:
    """Refuse what can't be a pair of lungs."""
    for outline in tracing.outlines.astype(np.float32):
        area = cv2.contourArea(outline)
        if not _SHARES[0] < area / SIZE**2 < _SHARES[1]:
            raise ImageError(
                f"shows no lungs of a usual size: one is {area / SIZE**2:.0%} of it"
            )
        solidity = area / cv2.contourArea(cv2.convexHull(outline))
        if solidity < _SOLIDITY:
            raise ImageError(
                f"shows no lungs of a usual shape: one has solidity {solidity:.2f}"
            )
    inside, ring = _surround([_fill(outline) for outline in tracing.outlines])
    smooth = cv2.GaussianBlur(square, (0, 0), 2)
    step = (smooth[ring].mean() - smooth[inside].mean()) / smooth.std()
    bright = (smooth[inside] > np.median(smooth[ring])).mean()
    if step < _STEP or bright > _BRIGHT:
        raise ImageError(
            f"shows no lungs darker than what is around them: a step of {step:.2f} "
            f"deviations, {bright:.0%} bright"
        )


def outline_of(mask: np.ndarray) -> np.ndarray:
    """The border of the largest part of a mask 0..1: `(120, 2)` pixels, clockwise.

    The points are evenly spaced. All of them are at the origin for an empty mask.
    """
    found, _ = cv2.findContours(
        (mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    if not found:
        return np.zeros((_POINTS, 2))
    curve = max(found, key=cv2.contourArea)[:, 0].astype(np.float64) + 0.5
    if cv2.contourArea(curve.astype(np.float32), oriented=True) < 0:
        curve = curve[::-1]
    return _space_evenly(curve)


def settle(
    picture: np.ndarray,
    contour: np.ndarray,
    blur: float,
    stiffness: float,
    reach: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Move a contour along its normals to where the picture brightens outwards.

    Of all offsets, the ones with the least cost: `-rise`, a little for the distance,
    and `stiffness` times the squared difference from one point to the next.

    Args:
        picture: uint8, square.
        contour: `(n, 2)` pixels, clockwise.
        blur: standard deviation that the picture is smoothed with, a share of its side.
        stiffness: how much neighbours must agree.
        reach: farthest offset, as a share of 0.075 times the picture's side.

    Returns:
        The moved contour, and the rise in grey levels across it at each point.
    """
    side = len(picture)
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), blur * side)
    tangent = np.roll(contour, -2, axis=0) - np.roll(contour, 2, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-6)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    offsets = _OFFSETS * reach * side
    half = 1.25 * blur * side

    def sample(shift: float) -> np.ndarray:
        at = contour[:, None] + (offsets[None, :, None] + shift) * normal[:, None]
        at = np.clip(at - 0.5, 0, side - 1).astype(np.float32)
        return cv2.remap(smooth, at[..., 0], at[..., 1], cv2.INTER_LINEAR)

    rise = sample(half) - sample(-half)
    relative = rise / max(float(np.quantile(np.abs(rise), 0.9)), 1.0)
    cost = 0.35 * (_OFFSETS / _OFFSETS[-1]) ** 2 - np.clip(relative, -1, 1.5)
    path = _cheapest_path(cost, stiffness)
    moved = contour + offsets[path][:, None] * normal
    return _space_evenly(_smooth(moved, 1.5)), rise[np.arange(len(path)), path]


def _cheapest_path(cost: np.ndarray, stiffness: float) -> np.ndarray:
    """One column for each row of costs, the last row a neighbour of the first."""
    rows, columns = cost.shape
    index = np.arange(columns)
    jump = 4 * stiffness * ((index[:, None] - index) / columns) ** 2
    # Three times around, of which the middle one knows both its neighbours.
    total, back = cost[0], []
    for row in range(1, 3 * rows):
        ways = total[:, None] + jump
        back.append(ways.argmin(axis=0))
        total = ways.min(axis=0) + cost[row % rows]
    place, path = int(total.argmin()), []
    for step in reversed(back):
        path.append(place)
        place = int(step[place])
    path.append(place)
    return np.array(path[::-1][rows : 2 * rows])


def _space_evenly(curve: np.ndarray) -> np.ndarray:
    closed = np.concatenate([curve, curve[:1]])
    pieces = np.linalg.norm(np.diff(closed, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(pieces)])
    at = np.linspace(0, along[-1], _POINTS, endpoint=False)
    return np.stack([np.interp(at, along, closed[:, k]) for k in range(2)], axis=1)


def _smooth(curve: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian along a closed curve, `sigma` in points."""
    reach = int(4 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.concatenate([curve[-reach:], curve, curve[:reach]])
    return np.stack([np.convolve(padded[:, k], kernel, "valid") for k in range(2)], 1)
