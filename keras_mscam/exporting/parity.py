"""Does a SavedModel, from an image file on, say what the Keras model says?"""

import dataclasses
from collections.abc import Sequence
from itertools import islice

import keras
import numpy as np

from keras_mscam.data.pipeline import read_examples
from keras_mscam.exporting.agreement import (
    LIMITS,
    Agreement,
    Limits,
    check_agreement,
    compare_outputs,
)
from keras_mscam.exporting.examples import draw_examples
from keras_mscam.images.png_jpeg import encode_png
from keras_mscam.images.reader import read_grey
from keras_mscam.images.resize import resize_area
from keras_mscam.images.xray import ImageError
from keras_mscam.inference.calibrated_model import CalibratedModel
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import find_boxes
from keras_mscam.inference.run_folder import Run, is_prepared
from keras_mscam.inference.runtimes.tensorflow_keras import run_signature

_SAME_PIXELS = dataclasses.replace(LIMITS["float32"], boxes=0.99)
#: By kind of images. Those of odd sizes may differ by one grey level, where OpenCV
#: rounds otherwise.
PARITY_LIMITS = {
    "whole": _SAME_PIXELS,
    "odd": Limits(5e-3, 5e-3, 2e-2, 2e-2, 0.0),
    "run": _SAME_PIXELS,
}
#: Images of the run's test split that are compared.
RUN_IMAGES = 32


def run_reference(
    localizer: keras.Model, contract: Contract, encoded: Sequence[bytes]
) -> dict[str, np.ndarray]:
    """Compute what the signature `serving_default` promises, without its graph.

    Images are read and resized by OpenCV, boxes are found by NumPy and OpenCV.

    Args:
        localizer: built by the contract.
        contract: names, sizes and thresholds.
        encoded: contents of image files.

    Returns:
        Arrays by name; `error` holds strings.
    """
    images = np.zeros((len(encoded), *contract.image_size), "uint8")
    sizes = np.zeros((len(encoded), 2), "int32")
    errors = [""] * len(encoded)
    for row, data in enumerate(encoded):
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
        "pathologies": np.array([contract.pathologies] * len(encoded)),
        "original_size": sizes,
        "error": np.array(errors),
    }


def check_export(
    calibrated_model: CalibratedModel, run: Run, signatures: dict
) -> dict[str, Agreement]:
    """Compare an exported model with the Keras model.

    Args:
        calibrated_model: what was exported.
        run: that it comes from.
        signatures: loaded from what was written.

    Returns:
        By kind of images: `"whole"`, phantoms of a size that every resampler averages
        alike; `"odd"`, of others; `"run"`, images of the run's test split, if it is
        there.

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
    agreements = {}
    for kind, images in sets.items():
        if not images:
            continue
        found = run_signature(signatures["serving_default"], image_bytes=images)
        expected = run_reference(calibrated_model.localizer, contract, images)
        name = "The exported model"
        agreements[kind] = compare_outputs(found, expected, contract, name)
        check_agreement(agreements[kind], PARITY_LIMITS[kind], name)
    return agreements


def _read_run_images(run: Run, image_size: tuple[int, int]) -> list[bytes]:
    """Return images of the run's test split, as PNG at the size of the network."""
    if not is_prepared(run.records):
        return []
    found = read_examples(run.records, "test", image_size=image_size)
    return [encode_png(example.image) for example in islice(found, RUN_IMAGES)]
