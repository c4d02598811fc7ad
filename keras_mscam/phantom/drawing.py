"""Frames, curves and drawing primitives shared by every part of the phantom."""

from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike

_SHIFT = 4  # cv2 draws polygons with 1/16 pixel precision


@dataclass(frozen=True)
class Frame:
    """Where the body lies in an image.

    Body coordinates have their origin in the middle of the chest, x towards the
    right of the image (the patient's left), y down. One unit is the shorter side of
    the image, so sizes given in the 1024 frame of ChestX-ray14 are divided by 1024.
    """

    size: tuple[int, int]  # `(height, width)` of the image in pixels
    rotation: float = 0.0  # of the body in the image, degrees
    # body units per frame unit; 1 is a chest that fills the film
    scale: tuple[float, float] = (1.0, 1.0)
    # `(x, y)` of the body's origin from the image's centre, frame units
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def unit(self) -> int:
        """Pixels in one frame unit."""
        return min(self.size)

    @cached_property
    def matrix(self) -> np.ndarray:
        """`(2, 3)` affine map from body coordinates to pixels."""
        height, width = self.size
        linear = turn(self.rotation) * np.asarray(self.scale) * self.unit
        offset = np.array([width, height]) / 2 + np.asarray(self.shift) * self.unit
        return np.concatenate([linear, offset[:, None]], axis=1)

    def to_pixels(self, points: ArrayLike) -> np.ndarray:
        """Body coordinates `(..., 2)` to pixel coordinates `(..., 2)`."""
        points = np.asarray(points, np.float64)
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def canvas(self) -> np.ndarray:
        """A black 8-bit image to draw on: OpenCV smooths edges only in 8 bits."""
        return np.zeros(self.size, np.uint8)

    def blur(self, image: np.ndarray, sigma: float) -> np.ndarray:
        """Gaussian blur with `sigma` in frame units; wide ones on a small copy."""
        pixels = sigma * self.unit
        if pixels < 0.3:
            return image
        if pixels < 6:
            return cv2.GaussianBlur(image, (0, 0), pixels)
        step = pixels / 3
        height, width = (max(2, round(n / step)) for n in self.size)
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), 3)
        return cv2.resize(small, self.size[::-1], interpolation=cv2.INTER_LINEAR)


def turn(degrees: float) -> np.ndarray:
    """`(2, 2)` rotation, from x towards y."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def move_about_middle(
    linear: np.ndarray, shift: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """`(2, 3)` affine map: `linear` about the middle of an image, then a shift.

    `shift` is `(x, y)` in pixels, `size` `(height, width)`.
    """
    middle = np.array(size[::-1]) / 2
    offset = middle + shift - linear @ middle
    return np.concatenate([linear, offset[:, None]], axis=1)


@cache
def _spline_matrix(knots: int, closed: bool) -> np.ndarray:
    """`(points, knots)` weights of a Catmull-Rom curve through the knots."""
    steps = 8
    segments = knots if closed else knots - 1
    t = np.arange(steps) / steps
    first, second = -t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3
    third, fourth = t + 4 * t**2 - 3 * t**3, -(t**2) + t**3
    weights = 0.5 * np.stack([first, second, third, fourth], axis=1)
    matrix = np.zeros((segments * steps + (not closed), knots))
    for segment in range(segments):
        rows = slice(segment * steps, (segment + 1) * steps)
        for k in range(4):
            knot = segment + k - 1
            knot = knot % knots if closed else min(max(knot, 0), knots - 1)
            matrix[rows, knot] += weights[:, k]
    if not closed:
        matrix[-1, -1] = 1.0
    return matrix


def smooth_curve(points: np.ndarray, closed: bool) -> np.ndarray:
    """Catmull-Rom curve through `(n, 2)` points, 8 steps from one to the next."""
    return _spline_matrix(len(points), closed) @ np.asarray(points, np.float64)


def _fixed_point(points: np.ndarray) -> np.ndarray:
    return np.rint(np.asarray(points) * (1 << _SHIFT)).astype(np.int32)


def fill(canvas: np.ndarray, points: np.ndarray, value: int = 255) -> None:
    """Fill one polygon given in pixels, with smooth edges."""
    cv2.fillPoly(canvas, [_fixed_point(points)], int(value), cv2.LINE_AA, _SHIFT)


def stroke(canvas: np.ndarray, curves: np.ndarray, value: float, width: float) -> None:
    """Draw open curves `(..., n, 2)`; widths below a pixel fade the line instead."""
    lines = list(_fixed_point(curves).reshape(-1, *curves.shape[-2:]))
    grey, pixels = round(value * min(1.0, width)), max(1, round(width))
    cv2.polylines(canvas, lines, False, (grey,), pixels, cv2.LINE_AA, _SHIFT)


def strip(curve: np.ndarray, half_width: np.ndarray | float) -> np.ndarray:
    """Polygon of a band of varying width around a curve `(n, 2)`."""
    tangent = np.gradient(curve, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    normal = tangent[:, ::-1] * (-1, 1)
    offset = normal * np.broadcast_to(half_width, (len(curve),))[:, None]
    return np.concatenate([curve + offset, (curve - offset)[::-1]])


def thickness(canvas: np.ndarray, depth: float) -> np.ndarray:
    """Thickness along the ray of a rounded body with the outline `canvas`.

    `sqrt(d (2 - d))`, `d` = distance from the edge over `depth` pixels, at most 1:
    the chord of a cylinder whose radius is `depth`.
    """
    inside = (canvas > 127).astype(np.uint8)
    d = cv2.distanceTransform(inside, cv2.DIST_L2, 3) * np.float32(1 / depth)
    np.minimum(d, 1, out=d)
    return np.sqrt(d * (2 - d))


def window(
    size: tuple[int, int], center: np.ndarray, reach: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Pixels within `reach` of `center`: slices and offsets `dx`, `dy`.

    Empty slices where the window misses the image.
    """
    height, width = size
    top, left = (max(0, int(np.floor(c - reach))) for c in (center[1], center[0]))
    bottom = max(top, min(height, int(np.ceil(center[1] + reach)) + 1))
    right = max(left, min(width, int(np.ceil(center[0] + reach)) + 1))
    dx = np.arange(left, right, dtype=np.float32)[None] + np.float32(0.5 - center[0])
    dy = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - center[1])
    return (slice(top, bottom), slice(left, right)), dx, dy


def add_ellipsoid(
    image: np.ndarray,
    center: np.ndarray,
    radii: tuple[float, float],
    amount: float,
    angle: float = 0.0,
    power: float = 0.5,
) -> None:
    """Add the chord of an ellipsoid, `amount * (1 - r**2)**power`; all in pixels."""
    where, dx, dy = window(image.shape, center, max(radii))
    c, s = np.cos(angle), np.sin(angle)
    r2 = ((c * dx + s * dy) / radii[0]) ** 2 + ((c * dy - s * dx) / radii[1]) ** 2
    image[where] += amount * np.maximum(1 - r2, 0) ** power


def cloud(rng: np.random.Generator, size: tuple[int, int], cells: float) -> np.ndarray:
    """Smooth noise of unit deviation with blobs of `cells` pixels."""
    height, width = (max(2, int(np.ceil(n / cells)) + 1) for n in size)
    coarse = rng.standard_normal((height, width), np.float32)
    noise = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return noise * np.float32(1.4)


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Half-open `(x1, y1, x2, y2)` of the true pixels, `None` without any."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return (x, y, x + width, y + height) if width and height else None
