"""The outputs of the contract by other means: Keras, NumPy and OpenCV."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_mscam.data.images import ImageError, decode_grey, resize_area
from keras_mscam.exporting.contract import Contract
from keras_mscam.findings import find_boxes


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
