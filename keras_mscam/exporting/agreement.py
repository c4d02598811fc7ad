"""How well what was exported agrees with the Keras model, in whatever format.

A SavedModel is compared from image files on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import keras
import numpy as np

from keras_mscam.data.pipeline import read_examples
from keras_mscam.errors import UserError
from keras_mscam.exporting.examples import draw_examples
from keras_mscam.images.png_jpeg import encode_png
from keras_mscam.images.reader import read_grey
from keras_mscam.images.resize import resize_area
from keras_mscam.images.xray import ImageError
from keras_mscam.inference.calibrated_model import CalibratedModel
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import find_boxes, find_positives
from keras_mscam.inference.run_folder import Run, is_prepared
from keras_mscam.inference.runtimes.tensorflow_keras import run_signature
from keras_mscam.localization.boxes import compute_iou


@dataclass(frozen=True)
class Agreement:
    """Differences between two sets of outputs of the same images."""

    images: int  # number compared
    probabilities: float  # largest absolute difference
    mean_probabilities: float  # mean absolute difference
    pathology_probabilities: float  # the same of the pathology that is furthest off
    maps: float  # largest absolute difference over the range of its map, of all maps
    mean_maps: float  # the mean of that
    # the same of the output and the pathology that are furthest off
    pathology_maps: float
    # fraction of images and pathologies that are positive in both or in neither
    positives: float
    # of those that are positive in both, the mean IoU of the highest boxes, 0 where
    # only one has any; `None` if there is no box
    boxes: float | None

    def __str__(self) -> str:
        boxes = "none" if self.boxes is None else f"{self.boxes:.2f}"
        return (
            f"probabilities within {self.probabilities:.1e} "
            f"({self.mean_probabilities:.1e} in the mean), maps {self.maps:.1e} "
            f"({self.mean_maps:.1e}), same positives {self.positives:.1%}, boxes "
            f"overlap by {boxes}"
        )


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
_SAME_PIXELS = replace(LIMITS["float32"], boxes=0.99)
#: Of a SavedModel, by kind of images. Those of odd sizes may differ by one grey level,
#: where OpenCV rounds otherwise; see `allow_grey_level`.
PARITY_LIMITS = {
    "whole": _SAME_PIXELS,
    "odd": Limits(5e-3, 5e-3, 2e-2, 2e-2, 0.0, boxes=0.8),
    "run": _SAME_PIXELS,
}
#: Images of the run's test split that are compared.
TEST_IMAGES = 32
_TINY = np.finfo("float32").tiny  # in place of the range of a map without any
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
    """Measure how far outputs are from those of the Keras model, or of `run_reference`.

    `found` may give `positives`, `boxes` and `box_scores` of its own; else those of its
    probabilities and maps are compared.

    Raises:
        UserError: an output is missing, of another shape, or not finite; or one that
            holds words or whole numbers isn't the same.
    """
    for output, values in expected.items():
        if output in (*contract.output_names, "boxes") or values.dtype.kind in "iU":
            _check_output(name, output, found, values)
    differences = np.abs(found["probabilities"] - expected["probabilities"])
    maps = [
        np.abs(found[name] - expected[name])
        / np.maximum(np.ptp(expected[name], axis=(1, 2), keepdims=True), _TINY)
        for name in contract.output_names
        if name != "probabilities"
    ]
    first, second = (
        outputs.get("positives", find_positives(contract, outputs["probabilities"]))
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
    """Raise a `UserError`, beginning with `name`, for outputs that differ too much."""
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
        if _list_values(values) != _list_values(expected):
            raise UserError(f"{name} gives another {output!r} than the Keras model.")
    elif not np.isfinite(values).all():
        raise UserError(f"{name} gives {output!r} with values that aren't finite.")


def _list_values(array: np.ndarray) -> list[int | str]:
    """Return numbers or strings, which TensorFlow gives as UTF-8, in their order."""
    values = array.ravel().tolist()
    return [v.decode() if isinstance(v, bytes) else v for v in values]


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
    return float(np.mean([compute_iou(a[None], b[None])[0, 0] for a, b in pairs]))


def run_reference(
    localizer: keras.Model, contract: Contract, files: Sequence[bytes]
) -> dict[str, np.ndarray]:
    """Compute what the signature `serving_default` promises, without its graph.

    The files are read and resized by OpenCV, boxes are found by NumPy and OpenCV.
    """
    images = np.zeros((len(files), *contract.image_size), "uint8")
    sizes = np.zeros((len(files), 2), "int32")
    errors = [""] * len(files)
    for row, data in enumerate(files):
        try:
            image = read_grey(data)
            images[row] = resize_area(image, contract.image_size)
            sizes[row] = image.shape
        except ImageError as error:
            errors[row] = str(error)
    outputs = localizer.predict_on_batch(images[..., None])
    unreadable = np.array(errors) != ""
    for name, values in outputs.items():
        if name != "relevance_weights":
            values[unreadable] = -1 if name == "probabilities" else 0
    boxes, scores = find_boxes(contract, outputs, sizes)
    return {
        **outputs,
        "boxes": boxes,
        "box_scores": scores,
        "positives": find_positives(contract, outputs["probabilities"]),
        "pathologies": np.array([contract.pathologies] * len(files)),
        "original_size": sizes,
        "error": np.array(errors),
    }


def check_export(
    calibrated_model: CalibratedModel, run: Run, signatures: dict
) -> dict[str, Agreement]:
    """Compare an exported model, by its signatures, with the Keras model.

    Returns:
        By kind of images: `"whole"`, synthetic radiographs of a size that every
        resampler averages alike; `"odd"`, of others; `"run"`, images of the run's test
        split, if it is there.

    Raises:
        UserError: they differ by more than they may.
    """
    contract = calibrated_model.contract
    examples = draw_examples(contract.image_size)
    sets = {
        "whole": [example.data for example in examples if example.whole],
        "odd": [example.data for example in examples if not example.whole],
    }
    if is_prepared(run.records):
        found = read_examples(run.records, "test", image_size=contract.image_size)
        found = islice(found, TEST_IMAGES)
        sets["run"] = [encode_png(example.image) for example in found]
    agreements = {}
    name, serve = "The exported model", signatures["serving_default"]
    for kind, images in sets.items():
        found = run_signature(serve, image_bytes=images)
        expected = run_reference(calibrated_model.localizer, contract, images)
        agreements[kind] = compare_outputs(found, expected, contract, name)
        limits = PARITY_LIMITS[kind]
        if kind == "odd":
            limits = allow_grey_level(limits, calibrated_model, images)
        check_agreement(agreements[kind], limits, name)
    return agreements


def allow_grey_level(
    limits: Limits, calibrated_model: CalibratedModel, files: Sequence[bytes]
) -> Limits:
    """Widen limits to what one grey level does to the Keras model, where that is more.

    Every pixel is moved by -1, 0 or 1 at random. Some networks hardly notice, others
    change a probability by 0.03, or show another box.
    """
    contract = calibrated_model.contract
    pixels = [resize_area(read_grey(data), contract.image_size) for data in files]
    before = np.stack(pixels)[..., None]
    steps = np.random.default_rng(0).integers(-1, 2, before.shape)
    after = np.clip(before + steps, 0, 255).astype("uint8")
    predict = calibrated_model.localizer.predict_on_batch
    moved = compare_outputs(predict(after), predict(before), contract)
    found = {name: max(getattr(limits, name), getattr(moved, name)) for name in _WORDS}
    boxes = limits.boxes * (0 if moved.boxes is None else moved.boxes)
    return replace(limits, **found, boxes=boxes)
