"""Closed contours that settle on the edges of a picture."""

import cv2
import numpy as np

_POINTS = 120
_STEPS = np.arange(-0.075, 0.0751, 0.0025)  # along the normals, widths of the picture


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
    offsets = _STEPS * reach * side
    half = 1.25 * blur * side

    def sample(shift: float) -> np.ndarray:
        at = contour[:, None] + (offsets[None, :, None] + shift) * normal[:, None]
        at = np.clip(at - 0.5, 0, side - 1).astype(np.float32)
        return cv2.remap(smooth, at[..., 0], at[..., 1], cv2.INTER_LINEAR)

    rise = sample(half) - sample(-half)
    relative = rise / max(float(np.quantile(np.abs(rise), 0.9)), 1.0)
    cost = 0.35 * (_STEPS / _STEPS[-1]) ** 2 - np.clip(relative, -1, 1.5)
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
