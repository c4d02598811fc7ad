"""Does an exported model say what the Keras model says?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import keras
import numpy as np

from keras_mscam.data.pipeline import read_examples
from keras_mscam.errors import UserError
from keras_mscam.exporting.examples import draw_examples
from keras_mscam.images.png_jpeg import encode_png
from keras_mscam.images.reader import decode_grey
from keras_mscam.images.resize import resize_area
from keras_mscam.images.xray import ImageError
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import find_boxes
from keras_mscam.inference.run_folder import Run, is_prepared
from keras_mscam.inference.calibrated_model import CalibratedModel
from keras_mscam.inference.runtimes.tensorflow_keras import run_signature

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


def run_reference(
    localizer: keras.Model, contract: Contract, encoded: Sequence[bytes]
) -> dict[str, np.ndarray]:
    """Compute what the signature `serving_default` promises, without its graph.

    Every exported model is compared with this before it gets its name.

    Args:
        localizer: built by the contract.
        contract: names, sizes and thresholds.
        encoded: contents of image files.

    Returns:
        Arrays by name; `error` holds strings.
    """
    images, sizes, errors = _decode(contract, encoded)
    outputs = localizer.predict_on_batch(images[..., None])
    readable = np.array([not error for error in errors])
    _blank(outputs, readable)
    boxes, scores = find_boxes(contract, outputs, sizes)
    return {
        **outputs,
        "boxes": boxes,
        "box_scores": scores,
        "pathologies": np.array([contract.pathologies] * len(encoded)),
        "original_size": sizes,
        "error": np.array(errors),
    }


def _decode(contract: Contract, encoded: Sequence[bytes]):
    images = np.zeros((len(encoded), *contract.image_size), "uint8")
    sizes = np.zeros((len(encoded), 2), "int32")
    errors = []
    for row, data in enumerate(encoded):
        try:
            image = decode_grey(data)
            images[row] = resize_area(image, contract.image_size)
            sizes[row] = image.shape
            errors.append("")
        except ImageError as error:
            errors.append(str(error))
    return images, sizes, errors


def _blank(outputs: dict[str, np.ndarray], readable: np.ndarray) -> None:
    for name, values in outputs.items():
        if name != "relevance_weights":
            values[~readable] = -1 if name == "probabilities" else 0


#: Images of the run's test split that are compared.
RUN_IMAGES = 32


def check_export(calibrated_model: CalibratedModel, run: Run, signatures: dict) -> dict:
    """Compare an exported model with the Keras model.

    Args:
        calibrated_model: what was exported.
        run: that it comes from.
        signatures: loaded from what was written.

    Returns:
        `Parity` by kind of images: `"whole"`, phantoms of a size that every resampler
        averages alike; `"odd"`, of others; `"run"`, images of the run's test split, if
        it is there.

    Raises:
        UserError: they differ by more than they may.
    """
    contract = calibrated_model.contract
    examples = draw_examples(contract.image_size)
    sets = {
        "whole": [example.data for example in examples if example.whole],
        "odd": [example.data for example in examples if not example.whole],
        "run": _read_run_images(run, contract.image_size),
    }
    parities: dict[str, Parity] = {}
    for kind, images in sets.items():
        if not images:
            continue
        found = run_signature(signatures["serving_default"], image_bytes=images)
        expected = run_reference(calibrated_model.localizer, contract, images)
        parities[kind] = compare_outputs(found, expected, contract.image_size)
        check_parity(parities[kind], LOOSE_TOLERANCES if kind == "odd" else TOLERANCES)
    return parities


def _read_run_images(run: Run, image_size: tuple[int, int]) -> list[bytes]:
    """Return images of the run's test split, as PNG at the size of the network."""
    if not is_prepared(run.records):
        return []
    found = read_examples(run.records, "test", image_size=image_size)
    return [encode_png(example.image) for example in islice(found, RUN_IMAGES)]
