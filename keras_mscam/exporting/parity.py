"""Does an exported model say what the Keras model says?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_mscam.errors import UserError

#: Worst error that an export may have, of images whose pixels every resampler makes
#: alike; of maps as a fraction of their range.
TOLERANCES = {"probabilities": 1e-5, "maps": 1e-4, "boxes": 1.0}
#: The same of images whose pixels may differ by one grey level, from rounding.
LOOSE_TOLERANCES = {"probabilities": 5e-3, "maps": 2e-2, "boxes": None}
_EQUAL = ("pathologies", "original_size", "error")

Runner = Callable[[Sequence[bytes]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Parity:
    """The worst differences between two sets of outputs.

    Args:
        images: number compared.
        probabilities: largest absolute difference.
        maps: largest absolute difference over the range of its map, of all maps.
        boxes: largest difference of a coordinate, in pixels of the network's input;
            infinite where one has a box and the other none.
        same_boxes: fraction of images and pathologies with the same boxes to 0.001
            pixels.
    """

    images: int
    probabilities: float
    maps: float
    boxes: float
    same_boxes: float


def compare_outputs(
    found: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    image_size: tuple[int, int],
) -> Parity:
    """Measure how far outputs are from expected ones.

    Args:
        found: of an exported model, by name, as its contract says.
        expected: of the reference.
        image_size: `(height, width)` that the network sees.

    Raises:
        UserError: an output is missing, of another shape, or another where nothing is
            computed.
    """
    for name, values in expected.items():
        if name not in found:
            raise UserError(f"The exported model has lost its output {name!r}.")
        if np.shape(found[name]) != np.shape(values):
            raise UserError(
                f"The exported model's output {name!r} has shape "
                f"{np.shape(found[name])} instead of {np.shape(values)}."
            )
        if name in _EQUAL and not _are_equal(found[name], values):
            raise UserError(
                f"The exported model's output {name!r} isn't that of the Keras model: "
                "nothing was exported."
            )
    maps = [name for name in expected if name.startswith("cam_") or name == "attention"]
    boxes, same = _compare_boxes(found, expected, image_size)
    return Parity(
        images=len(expected["probabilities"]),
        probabilities=_largest(found["probabilities"] - expected["probabilities"]),
        maps=_largest([_compare_maps(found[name], expected[name]) for name in maps]),
        boxes=boxes,
        same_boxes=same,
    )


def check_parity(parity: Parity, tolerances: dict[str, float | None]) -> None:
    """Refuse an export that differs by more than it may.

    Raises:
        UserError: it does.
    """
    for name, tolerance in tolerances.items():
        value = getattr(parity, name)
        # Written so that NaN is refused, too.
        if tolerance is not None and not value <= tolerance:
            raise UserError(
                f"The exported model's {name} differ from the Keras model's by "
                f"{value:.3g}, more than {tolerance:g}: nothing was exported."
            )


def _are_equal(found: np.ndarray, expected: np.ndarray) -> bool:
    """Compare as text: strings are bytes on one side."""
    return np.array_equal(np.asarray(found).astype(str), expected.astype(str))


def _compare_maps(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference over the range of its map."""
    span = np.ptp(expected, axis=(1, 2))
    difference = np.abs(found - expected).max(axis=(1, 2))
    return _largest(difference / np.maximum(span, np.finfo("float32").tiny))


def _compare_boxes(found, expected, image_size) -> tuple[float, float]:
    sizes = np.maximum(expected["original_size"], 1)
    scale = np.tile(np.array(image_size) / sizes, 2)[:, [1, 0, 3, 2]]
    boxes = [outputs["boxes"] * scale[:, None, None] for outputs in (found, expected)]
    present = [outputs["box_scores"] > 0 for outputs in (found, expected)]
    difference = np.abs(boxes[0] - boxes[1]).max(axis=-1)
    difference[present[0] != present[1]] = np.inf
    same = (difference <= 1e-3).all(axis=-1)
    return float(difference.max(initial=0)), float(same.mean())


def _largest(values) -> float:
    """Return the largest absolute value, or NaN if one is: `max` would pass it over."""
    return float(np.abs(values).max(initial=0))
