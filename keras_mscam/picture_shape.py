"""The size at which an X-ray is drawn."""

import cv2
import numpy as np


def choose_shape(
    size: tuple[int, int],
    pixel_spacing: tuple[float, float] | None = None,
    longest_side: int | None = None,
) -> tuple[int, int]:
    """Choose the shape of a picture: as the chest was, and never enlarged.

    Args:
        size: `(height, width)` of the X-ray, in pixels.
        pixel_spacing: of its pixels, `(down, across)`; square ones by default.
        longest_side: of the picture at most, in pixels; as the X-ray by default.

    Returns:
        `(height, width)` in pixels, each 1 or more.

    Example:
        >>> choose_shape((1000, 800), (0.2, 0.1), 500)
        (500, 200)
    """
    down, across = pixel_spacing or (1, 1)
    height = size[0] * down / max(down, across)
    width = size[1] * across / max(down, across)
    factor = min(1, (longest_side or max(size)) / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def shrink(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize uint8 `(height, width)` to a smaller shape, by area."""
    if pixels.shape == tuple(shape):
        return pixels
    return cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_AREA)
