"""Borders that were burnt into an X-ray: what the collimator shut, or a frame."""

import numpy as np

Box = tuple[int, int, int, int]
#: A line belongs to a border if so much of it differs by no more than the tolerance
#: from one grey value, which its border has in common.
_UNIFORM, _TOLERANCE = 0.98, 6
#: No border is cut that leaves a shorter side than this part of the image's.
_SHORTEST = 0.4


def find_field(pixels: np.ndarray) -> Box | None:
    """Find what lies inside of uniform borders.

    A border begins at an edge of the image, and all its lines have one grey value, but
    for some marks or letters on it. Air beside a patient is noisy and shaded, and
    stays; where it is as black and even as a border, it goes with it. A frame inside of
    another stays too: looking again would follow the shade of air into the chest.

    Args:
        pixels: uint8 `(height, width)`.

    Returns:
        Half-open xyxy in pixels; None where there are no borders, or where what they
        leave is too small to be a chest, as of a black image.
    """
    top, bottom = _find_ends(pixels)
    left, right = _find_ends(pixels[top:bottom].T)
    height, width = pixels.shape
    if (left, top, right, bottom) == (0, 0, width, height):
        return None
    if right - left < _SHORTEST * width or bottom - top < _SHORTEST * height:
        return None
    return left, top, right, bottom


def _find_ends(lines: np.ndarray) -> tuple[int, int]:
    """Return the first line inside of the borders, and the first behind it."""
    first = _count_border(lines)
    last = len(lines) - _count_border(lines[::-1])
    return (first, last) if first < last else (0, len(lines))


def _count_border(lines: np.ndarray) -> int:
    value = int(np.median(lines[0]))
    uniform = np.abs(lines.astype(np.int16) - value) <= _TOLERANCE
    inside = uniform.mean(axis=1) < _UNIFORM
    return int(inside.argmax()) if inside.any() else len(lines)
