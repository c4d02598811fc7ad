"""What localization scores without looking: the floors beside every table."""

import cv2
import numpy as np

from keras_mscam.localization.boxes import propose_boxes, scale_boxes
from keras_mscam.localization.metrics import Localization


def draw_random_map(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw a map of noise that is as smooth as one of the last block.

    Args:
        size: `(height, width)`.
        rng: source of the 8 by 8 uniform values that are enlarged bilinearly.

    Returns:
        `(height, width)` in [0, 1].
    """
    return cv2.resize(rng.random((8, 8)), (size[1], size[0]))


def localize_at_random(
    localizations: list[Localization],
    image_size: tuple[int, int],
    original_sizes: list[tuple[int, int]],
    seed: int = 0,
) -> list[Localization]:
    """Propose boxes from random maps by the procedure that the real ones go through.

    Args:
        localizations: what a system proposed; drawn boxes are taken from it.
        image_size: `(height, width)` of the maps.
        original_sizes: `(height, width)` of each original image.
        seed: of the maps.

    Returns:
        The same drawn boxes with other proposed ones.
    """
    rng = np.random.default_rng(seed)
    return [
        Localization(
            item.pathology,
            item.patient,
            item.truth,
            propose_boxes(draw_random_map(image_size, rng), original_size),
        )
        for item, original_size in zip(localizations, original_sizes, strict=True)
    ]


def localize_by_mean_box(
    localizations: list[Localization], original_sizes: list[tuple[int, int]]
) -> list[Localization]:
    """Propose, for every image, the mean box of the pathology in *other* patients.

    Args:
        localizations: what a system proposed; drawn boxes are taken from it.
        original_sizes: `(height, width)` of each original image; boxes are averaged in
            relative coordinates.

    Returns:
        The same drawn boxes with one proposed box each, without those of a pathology
        that no other patient has a box of: nothing can be said of them.
    """
    relative = [
        scale_boxes(item.truth, size, (1, 1))
        for item, size in zip(localizations, original_sizes, strict=True)
    ]
    result = []
    for item, size in zip(localizations, original_sizes, strict=True):
        others = [
            boxes
            for boxes, other in zip(relative, localizations, strict=True)
            if other.pathology == item.pathology and other.patient != item.patient
        ]
        if others:
            mean = np.concatenate(others).mean(0, keepdims=True)
            proposed = scale_boxes(mean, (1, 1), size)
            result.append(
                Localization(item.pathology, item.patient, item.truth, proposed)
            )
    return result
