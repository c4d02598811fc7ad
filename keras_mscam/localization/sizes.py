"""Small, medium and large lesions, counted separately."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.overlaps import compute_areas

#: From and below which size, `sqrt(area of the box / area of the image)`, a box is.
SIZES = {"small": (0.0, 0.1), "medium": (0.1, 0.25), "large": (0.25, math.inf)}


def compute_sizes(boxes: np.ndarray, original_size: tuple[int, int]) -> np.ndarray:
    """Sizes of boxes as fractions of the side of the image.

    `size = sqrt(area of the box / area of the image)`

    Args:
        boxes: `(N, 4)`, xyxy, pixels of the original image.
        original_size: its `(height, width)`.

    Returns:
        `(N,)`, 1 for a box of the whole image.
    """
    height, width = original_size
    return np.sqrt(compute_areas(boxes) / (height * width))


def select_size(localizations: Sequence[Localization], name: str) -> list[Localization]:
    """Leave only lesions of one size in the count, by COCO's rule.

    A box is small below 0.1 of the image's side and large from 0.25 on, medium between:
    102 and 256 pixels of 1024. Of the 984 boxes of ChestX-ray14 that are

    | pathology    | quartiles, pixels | small | medium | large |
    | ------------ | ----------------- | ----- | ------ | ----- |
    | Nodule       | 56, 69, 83        | 72    | 7      | 0     |
    | Mass         | 102, 124, 205     | 22    | 49     | 14    |
    | Atelectasis  | 109, 140, 205     | 28    | 132    | 20    |
    | Pneumothorax | 135, 194, 271     | 13    | 53     | 32    |
    | Effusion     | 172, 242, 319     | 11    | 75     | 67    |
    | Infiltration | 195, 244, 323     | 2     | 68     | 53    |
    | Pneumonia    | 201, 245, 319     | 1     | 64     | 55    |
    | Cardiomegaly | 391, 423, 460     | 0     | 0      | 146   |

    Ground-truth boxes of another size become ignored: they needn't be found, and a box
    that finds one is neither right nor wrong. Predicted boxes of another size are
    excused: right where they find something, but not false where they don't. All
    metrics of this package respect both.

    Args:
        localizations: with `original_size`.
        name: `"small"`, `"medium"` or `"large"`.

    Returns:
        As many, in the same order. Where all ground-truth boxes of an image are of
        another size, there is nothing in it to find, but FROC and average precision go
        on to count its false boxes.

    Raises:
        UserError: there is no such size.
        ValueError: an image's `original_size` is missing.

    Reference:
        Lin et al. 2014 (COCO), `COCOeval` of pycocotools, whose sizes are in pixels,
        32 and 96, and whose limits belong to both sides.
    """
    if name not in SIZES:
        raise UserError(f"There is no size {name!r}; use one of {', '.join(SIZES)}.")
    return [_select(item, *SIZES[name]) for item in localizations]


def _select(item: Localization, low: float, high: float) -> Localization:
    if item.original_size is None:
        raise ValueError(f"{item.name} {item.pathology} has no original_size.")

    def belongs(boxes: np.ndarray) -> np.ndarray:
        sizes = compute_sizes(boxes, item.original_size)
        return (low <= sizes) & (sizes < high)

    chosen = belongs(item.truth)
    return dataclasses.replace(
        item,
        truth=item.truth[chosen],
        ignored=np.concatenate([item.ignored, item.truth[~chosen]]),
        excused=item.excused | ~belongs(item.predicted),
    )
