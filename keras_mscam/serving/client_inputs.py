"""What a client may give as an input."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_mscam.images.png_jpeg import encode_png
from keras_mscam.images.reader import (
    Image,
    check_pixels,
    decode_grey,
    find_format,
    read_bytes,
)
from keras_mscam.images.xray import ImageError
from keras_mscam.inference.prediction import Prediction


def keep_bytes(values) -> np.ndarray:
    """Return an input as an array; bytes in a list keep the zeros at their end."""
    array = np.asarray(values)
    return np.asarray(values, object) if array.dtype.kind == "S" else array


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


def _encode(image: Image) -> bytes:
    if isinstance(image, np.ndarray):
        return encode_png(check_pixels(image))
    data = image if isinstance(image, bytes) else read_bytes(Path(image))
    return encode_png(decode_grey(data)) if find_format(data) == "dicom" else data
