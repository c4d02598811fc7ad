"""The files of one X-ray's results."""

import json
import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from keras_mscam import __version__
from keras_mscam.dicom_results.secondary_capture import build_capture
from keras_mscam.dicom_results.source import read_source
from keras_mscam.dicom_results.structured_report import build_report
from keras_mscam.errors import UserError
from keras_mscam.files import name_files, write_whole
from keras_mscam.images.dicom.read import quiet
from keras_mscam.inference.prediction import Prediction
from keras_mscam.localization.protocol import describe_shown
from keras_mscam.visualization.overlay import draw_overlay


def write_results(
    prediction: Prediction,
    source: bytes,
    pixels: np.ndarray,
    folder: Path,
    stem: str,
    model: str,
) -> list[Path]:
    """Write a Structured Report, and a Secondary Capture of each positive pathology.

    They belong to the study of the source, in new series, and refer to it. Patient and
    study are described as in the source; its private attributes are not taken over.
    Identifiers are made from the source's, the model and its results: an archive that
    gets the same results again holds them once.

    Args:
        prediction: of the source, with maps.
        source: content of the DICOM file.
        pixels: uint8 `(height, width)`, the X-ray at its own size.
        folder: where to write; made if need be.
        stem: what the files' names begin with.
        model: name of the model.

    Returns:
        `<stem>.sr.dcm`, then `<stem>.<pathology>.sc.dcm` by falling probability, with
        the pathology as `name_files` has it. All are written, or none.

    Raises:
        UserError: the source is no DICOM radiograph, damaged, or without identifiers;
            or the prediction has no numbers. No message quotes the source.
    """
    _check_numbers(prediction)
    if pixels.shape != tuple(prediction.original_size):
        raise ValueError(
            f"pixels have shape {pixels.shape}, the X-ray {prediction.original_size}"
        )
    with quiet("pydicom", "highdicom"):
        dataset = read_source(source)
        identity = _identify(prediction, str(dataset.SOPInstanceUID), model)
        files = {f"{stem}.sr.dcm": build_report(prediction, dataset, model, identity)}
        parts = name_files(prediction.pathologies)
        for number, name in enumerate(prediction.positives, 1):
            files[f"{stem}.{parts[name]}.sc.dcm"] = build_capture(
                draw_overlay(pixels, prediction, name),
                name,
                number,
                prediction.pixel_spacing,
                dataset,
                model,
                identity,
            )
        paths = [Path(folder) / name for name in files]
        with ExitStack() as stack:  # renames none before all are written
            for path, file in zip(paths, files.values(), strict=True):
                temporary = stack.enter_context(write_whole(path))
                file.save_as(temporary, enforce_file_format=True)
    return paths


def _check_numbers(prediction: Prediction) -> None:
    """Refuse what has no place in DICOM: no prediction, and numbers that are none."""
    if prediction.error:
        raise UserError(f"There are no results to write: the image {prediction.error}.")
    probabilities = prediction.probabilities.items()
    numbers = {f"the probability of {name}": value for name, value in probabilities}
    for number, box in enumerate(prediction.boxes, 1):
        numbers[f"box {number} of {box.pathology}"] = sum((box.score, *box.xyxy))
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise UserError(
                f"Results as DICOM need numbers, and {name} is {value}: use another "
                "model or runtime."
            )


def _identify(prediction: Prediction, instance: str, model: str) -> str:
    """Return a text that is the same for the same results from the same source.

    Rounded, as processors differ in the last digits.
    """
    said = prediction.to_dict()
    if contract := prediction.contract:
        said["rules"] = [contract.probability_thresholds, describe_shown(contract)]
    said = json.loads(json.dumps(said), parse_float=lambda text: round(float(text), 3))
    return json.dumps([instance, __version__, model, said], sort_keys=True)
