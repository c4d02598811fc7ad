"""How well a variant of another format agrees with the Keras model."""

from dataclasses import dataclass

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import find_boxes, find_positives
from keras_mscam.localization.overlaps import compute_iou


@dataclass(frozen=True)
class Agreement:
    """Differences between two sets of outputs of the same images.

    Args:
        images: number compared.
        probabilities: largest absolute difference.
        mean_probabilities: mean absolute difference.
        pathology_probabilities: the same of the pathology that is furthest off.
        maps: largest absolute difference over the range of its map, of all maps.
        mean_maps: the mean of that.
        pathology_maps: the same of the output and the pathology that are furthest off.
        positives: fraction of images and pathologies that are called alike.
        boxes: of those that both call positive, the mean IoU of the highest boxes, 0
            where only one has any; `None` if there is no box.
    """

    images: int
    probabilities: float
    mean_probabilities: float
    pathology_probabilities: float
    maps: float
    mean_maps: float
    pathology_maps: float
    positives: float
    boxes: float | None


@dataclass(frozen=True)
class Limits:
    """What a variant may differ by at most: see `Agreement`."""

    probabilities: float
    pathology_probabilities: float
    maps: float
    pathology_maps: float
    positives: float


_IN_8_BITS = Limits(1.0, 0.1, np.inf, 0.08, 0.85)
#: By what weights are stored in. Reduced ones are limited in the mean: a single pixel
#: of a map may be far off, and a probability where the network is unsure. The mean is
#: that of each pathology: over all, two that are swapped, or one output that is
#: mirrored, would be lost among the others.
LIMITS = {
    "float32": Limits(1e-5, 5e-6, 1e-4, 5e-5, 0.99),
    "float16": Limits(0.1, 0.01, np.inf, 0.01, 0.97),
    "int8": _IN_8_BITS,
    "uint8": _IN_8_BITS,
}
_WORDS = {
    "probabilities": "a probability",
    "pathology_probabilities": "the probabilities of a pathology, in the mean,",
    "maps": "a pixel of a map",
    "pathology_maps": "the maps of a pathology, in the mean,",
}


def compare_variant(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray], contract: Contract
) -> Agreement:
    """Measure how far the outputs of a variant are from those of the Keras model.

    Args:
        found: of the variant.
        expected: of the Keras model.
        contract: names, sizes and thresholds.

    Raises:
        UserError: an output is missing, of another shape, or not finite.
    """
    for name in contract.output_names:
        _check_output(name, found, expected)
    differences = np.abs(found["probabilities"] - expected["probabilities"])
    maps = [
        _compare_maps(found[name], expected[name])
        for name in contract.output_names
        if name != "probabilities"
    ]
    called = [
        find_positives(contract, outputs["probabilities"])
        for outputs in (found, expected)
    ]
    return Agreement(
        images=len(differences),
        probabilities=float(differences.max()),
        mean_probabilities=float(differences.mean()),
        pathology_probabilities=float(differences.mean(axis=0).max()),
        maps=float(np.max([values.max() for values in maps])),
        mean_maps=float(np.mean([values.mean() for values in maps])),
        pathology_maps=float(np.max([values.mean(axis=(0, 1, 2)) for values in maps])),
        positives=float((called[0] == called[1]).mean()),
        boxes=_compare_boxes(found, expected, contract, called[0] & called[1]),
    )


def check_agreement(agreement: Agreement, limits: Limits, name: str) -> None:
    """Refuse a variant that differs by more than it may.

    Args:
        agreement: of `compare_variant`.
        limits: that it must keep to.
        name: of the variant, to say in the error.

    Raises:
        UserError: it does.
    """
    for field, words in _WORDS.items():
        value, limit = getattr(agreement, field), getattr(limits, field)
        if not value <= limit:
            raise UserError(
                f"{name} differs from the Keras model in {words} by {value:.3g}, more "
                f"than {limit:g}: it was not exported."
            )
    if agreement.positives < limits.positives:
        raise UserError(
            f"{name} calls {agreement.positives:.1%} of images and pathologies what "
            f"the Keras model does, less than {limits.positives:.0%}: it was not "
            "exported."
        )


def _check_output(name: str, found, expected) -> None:
    if name not in found:
        raise UserError(f"The converted model has lost its output {name!r}.")
    shape, wanted = np.shape(found[name]), np.shape(expected[name])
    if shape != wanted:
        raise UserError(
            f"The converted model's output {name!r} has shape {shape} instead of "
            f"{wanted}."
        )
    if not np.isfinite(found[name]).all():
        raise UserError(
            f"The converted model's output {name!r} has values that aren't finite."
        )


def _compare_maps(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the differences over the range of their map."""
    span = np.ptp(expected, axis=(1, 2), keepdims=True)
    return np.abs(found - expected) / np.maximum(span, np.finfo("float32").tiny)


def _compare_boxes(found, expected, contract: Contract, both) -> float | None:
    """Return the mean overlap of the highest boxes."""
    sizes = np.tile(contract.image_size, (len(both), 1))
    sides = [find_boxes(contract, outputs, sizes) for outputs in (found, expected)]
    has = [scores[..., 0] > 0 for _, scores in sides]
    first = [boxes[:, :, 0][both & (has[0] | has[1])] for boxes, _ in sides]
    if not len(first[0]):
        return None
    pairs = zip(*first, strict=True)
    return float(np.mean([compute_iou([one], [other])[0, 0] for one, other in pairs]))
