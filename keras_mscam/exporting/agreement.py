"""How well what was exported agrees with the Keras model, in whatever format."""

from dataclasses import dataclass

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import find_boxes, find_positives
from keras_mscam.localization.boxes import compute_iou


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
        positives: fraction of images and pathologies that are positive in both or in
            neither.
        boxes: of those that are positive in both, the mean IoU of the highest boxes, 0
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
    """What outputs may differ by at most, or agree by at least: see `Agreement`."""

    probabilities: float
    pathology_probabilities: float
    maps: float
    pathology_maps: float
    positives: float
    boxes: float = 0.0


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


def compare_outputs(
    found: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    contract: Contract,
    name: str = "The converted model",
) -> Agreement:
    """Measure how far outputs are from those of the Keras model.

    Args:
        found: of what was exported. Its own `boxes`, with `box_scores`, are compared if
            it gives some, else those of its maps.
        expected: of the Keras model, or of `run_reference`.
        contract: names, sizes and thresholds.
        name: of what was exported, to say in errors.

    Raises:
        UserError: an output is missing, of another shape, or not finite; or one that
            holds words or whole numbers isn't the same.
    """
    for output, values in expected.items():
        if output in (*contract.output_names, "boxes") or values.dtype.kind in "iU":
            _check_output(name, output, found, values)
    differences = np.abs(found["probabilities"] - expected["probabilities"])
    maps = [
        _compare_maps(found[name], expected[name])
        for name in contract.output_names
        if name != "probabilities"
    ]
    first, second = (
        find_positives(contract, outputs["probabilities"])
        for outputs in (found, expected)
    )
    return Agreement(
        images=len(differences),
        probabilities=float(differences.max()),
        mean_probabilities=float(differences.mean()),
        pathology_probabilities=float(differences.mean(axis=0).max()),
        maps=float(np.max([values.max() for values in maps])),
        mean_maps=float(np.mean([values.mean() for values in maps])),
        pathology_maps=float(np.max([values.mean(axis=(0, 1, 2)) for values in maps])),
        positives=float((first == second).mean()),
        boxes=_compare_boxes(found, expected, contract, first & second),
    )


def check_agreement(agreement: Agreement, limits: Limits, name: str) -> None:
    """Refuse outputs that differ by more than they may.

    Args:
        agreement: of `compare_outputs`.
        limits: that it must keep to.
        name: of what was exported, to say in the error.

    Raises:
        UserError: it doesn't.
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
            f"{name} agrees with the Keras model on {agreement.positives:.1%} of "
            f"positives, less than {limits.positives:.0%}: it was not exported."
        )
    if agreement.boxes is not None and agreement.boxes < limits.boxes:
        raise UserError(
            f"{name} has boxes that overlap those of the Keras model by "
            f"{agreement.boxes:.3f}, less than {limits.boxes:g}: it was not exported."
        )


def _check_output(name: str, output: str, found, expected: np.ndarray) -> None:
    if output not in found:
        raise UserError(f"{name} has lost its output {output!r}.")
    values = np.asarray(found[output])
    if values.shape != expected.shape:
        raise UserError(
            f"{name} gives {output!r} of shape {values.shape} instead of "
            f"{expected.shape}."
        )
    if expected.dtype.kind in "iU":
        # As text: strings are bytes on one side.
        if not np.array_equal(values.astype(str), expected.astype(str)):
            raise UserError(f"{name} gives another {output!r} than the Keras model.")
    elif not np.isfinite(values).all():
        raise UserError(f"{name} gives {output!r} with values that aren't finite.")


def _compare_maps(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the differences over the range of their map."""
    span = np.ptp(expected, axis=(1, 2), keepdims=True)
    return np.abs(found - expected) / np.maximum(span, np.finfo("float32").tiny)


def _compare_boxes(found, expected, contract: Contract, both) -> float | None:
    """Return the mean overlap of the highest boxes."""
    sizes = expected.get("original_size", np.tile(contract.image_size, (len(both), 1)))
    sides = [
        (outputs["boxes"], outputs["box_scores"])
        if "boxes" in outputs
        else find_boxes(contract, outputs, sizes)
        for outputs in (found, expected)
    ]
    has = [scores[..., 0] > 0 for _, scores in sides]
    first = [boxes[:, :, 0][both & (has[0] | has[1])] for boxes, _ in sides]
    if not len(first[0]):
        return None
    pairs = zip(*first, strict=True)
    return float(np.mean([compute_iou([one], [other])[0, 0] for one, other in pairs]))
