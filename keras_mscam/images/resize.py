"""The size at which an X-ray is drawn."""

import cv2
import numpy as np


def resize_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize uint8 `(height, width)` by area averaging, to exactly the size asked for.

    The ratio of the sides is not kept: NIH itself stored squares of 1024 made from
    originals that were not square. Along a side that grows, where there is nothing to
    average, interpolation is linear with half-pixel centres.
    """
    height, width = size
    shrunk = min(image.shape[1], width), min(image.shape[0], height)
    image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def choose_shape(
    size: tuple[int, int],
    pixel_spacing: tuple[float, float] | None = None,
    longest_side: int | None = None,
) -> tuple[int, int]:
    """Choose the shape of a picture: as the chest was, and never enlarged.

    Sizes are `(height, width)` in pixels, `pixel_spacing` is `(down, across)`; pixels
    are square, and the picture is as large as the X-ray, by default.

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
