"""Whether the grey values of an X-ray can be meant as they are.

A file may hold 12 bits in 16, be windowed too narrowly, or have bones dark, and its
header says nothing of it. The network then sees what it has never seen. Nothing is
changed here: a warning says so.

The limits leave out all real X-rays at hand, 2,144 of ChestX-ray14 at 256x256:
`tests/images/test_grey_values.py` has the numbers.
"""

import numpy as np

from keras_mscam.images.resize import resize_area

UNIFORM = "All of its pixels have the same grey value."
CLIPPED = "Nearly all of its pixels are black or white."
DARK = (
    "It is too dark: nearly all of its grey values are in the lower half of the range. "
    "If 16 bits were given and fewer are used, max_value (--max-value) says which "
    "value is white, such as 4095."
)
BRIGHT = (
    "It is too bright: nearly all of its grey values are in the upper half of the "
    "range."
)
FLAT = "It has hardly any contrast: its grey values use a small part of the range."
INVERTED = "It looks inverted, with bones dark and air bright."

#: Black or white within so many levels.
CLIPPED_LEVELS = 2
#: Clipped from this part of the pixels on: 0.65 at most in real X-rays.
CLIPPED_PART = 0.8
#: Where the upper half of the range begins.
MIDDLE = 128
#: Too dark or bright if less of the pixels is in the other half; 0.05 in real ones.
OTHER_HALF_PART = 0.02
#: Standard deviation of the pixels; 26 at least in real ones.
FLAT_DEVIATION = 16.0
#: Of the pixels at 8x8 with `CHEST`; -0.14 at least in real ones, 0.6 on average.
INVERTED_CORRELATION = -0.3
#: The mean of the real ones, made symmetrical, less its mean, in tens of levels.
CHEST = np.array(
    [
        [-9, -8, -5, 0, 0, -5, -8, -9],
        [-2, -1, -3, -1, -1, -3, -1, -2],
        [1, 0, -4, -1, -1, -4, 0, 1],
        [0, 0, -4, 1, 1, -4, 0, 0],
        [-1, 0, -1, 4, 4, -1, 0, -1],
        [-3, 1, 3, 6, 6, 3, 1, -3],
        [-4, 3, 6, 7, 7, 6, 3, -4],
        [-4, 3, 7, 8, 8, 7, 3, -4],
    ]
)


def describe_values(image: np.ndarray) -> list[str]:
    """Say what is odd about an X-ray, `(height, width)`, as the network gets it.

    There is one of the first five sentences at most, and `INVERTED`.
    """
    if np.ptp(image) == 0:
        return [UNIFORM]
    is_bright = image >= MIDDLE
    black_or_white = (image <= CLIPPED_LEVELS) | (image >= 255 - CLIPPED_LEVELS)
    found = []
    if is_bright.mean() < OTHER_HALF_PART:
        found.append(DARK)
    elif is_bright.mean() > 1 - OTHER_HALF_PART:
        found.append(BRIGHT)
    elif black_or_white.mean() >= CLIPPED_PART:
        found.append(CLIPPED)
    elif image.std() < FLAT_DEVIATION:
        found.append(FLAT)
    if _correlate(resize_area(image, CHEST.shape)) < INVERTED_CORRELATION:
        found.append(INVERTED)
    return found


def _correlate(small: np.ndarray) -> float:
    """Return Pearson's correlation of `(8, 8)` with a chest, 0 for a constant."""
    if not np.ptp(small):
        return 0.0
    return float(np.corrcoef(small.ravel(), CHEST.ravel())[0, 1])
