"""A trained model, and X-rays in whatever form they come."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_mscam.data.images import (
    ImageError,
    decode_grey,
    encode_png,
    find_format,
    read_bytes,
)
from keras_mscam.errors import UserError
from keras_mscam.prediction import Prediction, split_outputs

#: A file, its content, or its grey pixels.
Image = str | os.PathLike | bytes | np.ndarray


class Predictor:
    """Say of X-rays what they show, and where.

    Args:
        path: the folder of a run, or an export of `keras_mscam-export`: of a version,
            or the newest of a repository.

    Raises:
        UserError: the path is neither, or can't be loaded.

    Example:
        >>> prediction = Predictor("runs/phantom-1").predict("chest.png")
        >>> prediction.probabilities["Mass"], prediction.boxes
    """

    def __init__(self, path: str | os.PathLike):
        path = Path(path)
        if not path.exists():
            raise UserError(f"There is no model at {path}.")
        is_run = (path / "config.json").is_file()
        self._run = _load_run(path) if is_run else _load_export(path)

    def predict(self, image: Image) -> Prediction:
        """Predict one X-ray.

        Args:
            image: a PNG, JPEG or DICOM file, its bytes, or grey pixels, uint8 or
                uint16 `(height, width)`.

        Raises:
            UserError: it can't be read.
        """
        prediction = self.predict_batch([image])[0]
        if prediction.error:
            raise UserError(f"{describe_image(image)} {prediction.error}.")
        return prediction

    def predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        """Predict several X-rays at once; one that can't be read says so in `error`."""
        if not images:
            return []
        encoded, errors = encode_images(images)
        return merge_errors(split_outputs(self._run(encoded)), errors)


def encode_images(images: Sequence[Image]) -> tuple[list[bytes], list[str]]:
    """Return what an exported model takes: PNG or JPEG bytes, and errors before it.

    DICOM is decoded here, since no exported graph can.

    Returns:
        Bytes of each image, empty where it can't be read; and why not, or `""`.
    """
    encoded, errors = [], []
    for image in images:
        try:
            encoded.append(_encode(image))
            errors.append("")
        except ImageError as error:
            encoded.append(b"")
            errors.append(" ".join(str(error).split()))  # it may quote the file
    return encoded, errors


def merge_errors(predictions: list[Prediction], errors: list[str]) -> list[Prediction]:
    """Put what `encode_images` could not read in the place of what was made of it."""
    return [
        Prediction({}, error=error) if error else prediction
        for prediction, error in zip(predictions, errors, strict=True)
    ]


def describe_image(image: Image) -> str:
    """Return what to call an image in a sentence."""
    if isinstance(image, (bytes, np.ndarray)):
        return "The image"
    return str(image)


def _encode(image: Image) -> bytes:
    if isinstance(image, np.ndarray):
        return _encode_pixels(image)
    data = image if isinstance(image, bytes) else read_bytes(Path(image))
    return encode_png(decode_grey(data)) if find_format(data) == "dicom" else data


def _encode_pixels(image: np.ndarray) -> bytes:
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim != 2 or image.dtype not in ("uint8", "uint16") or not image.size:
        raise ImageError(
            f"has shape {image.shape} and type {image.dtype}: it must be "
            "(height, width) of uint8 or uint16"
        )
    return encode_png(image)


def _load_run(path: Path):
    from keras_mscam.exporting.exportable import read_exportable
    from keras_mscam.exporting.reference import run_reference
    from keras_mscam.run_folder import read_run

    exportable = read_exportable(read_run(path))
    return lambda encoded: run_reference(
        exportable.localizer, exportable.contract, encoded
    )


def _load_export(path: Path):
    from keras_mscam.exporting.contract import read_contract
    from keras_mscam.exporting.examples import run_signature
    from keras_mscam.exporting.repository import find_export
    from keras_mscam.exporting.saved_model import load_signatures

    export = find_export(path)
    read_contract(export)  # says so if it is no export of this package
    signature = load_signatures(export)["serving_default"]
    return lambda encoded: run_signature(signature, image_bytes=encoded)
