"""A trained model, and X-rays in whatever form they come."""

import io
import math
import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import PIL.Image

from keras_mscam.errors import UserError
from keras_mscam.images.grey_values import describe_values
from keras_mscam.images.reader import Image, describe_image, read_xray
from keras_mscam.images.xray import Frame, ImageError, XRay
from keras_mscam.inference.find_boxes import find_boxes, fuse_positives
from keras_mscam.inference.prediction import Prediction, apply_frame, list_boxes
from keras_mscam.inference.run_folder import PRETRAINED

_ONE = (str, os.PathLike, bytes, bytearray, memoryview, io.IOBase, PIL.Image.Image)


class Predictor:
    """Say of X-rays what they show, and where.

    Args:
        path: the folder of a run; an export of `keras_mscam-export`, of a version, or
            the newest of a repository; or a model's file. See `load_runtime`.
        runtime: what runs the model, one of `keras_mscam.inference.runtimes.RUNTIMES`;
            `"auto"` takes the fastest that is installed of those that the path has a
            model for.

    Without a path it is the network that comes with the package, see
    `run_folder.PRETRAINED`: small, and trained on few X-rays.

    Raises:
        UserError: the path is neither, or can't be loaded.

    Example:
        >>> prediction = Predictor("runs/phantom-1").predict("chest.png")
        >>> prediction.probabilities["Mass"], prediction.boxes
    """

    def __init__(self, path: str | os.PathLike = PRETRAINED, runtime: str = "auto"):
        from keras_mscam.inference.runtimes import load_runtime

        self.runtime = load_runtime(path, runtime)

    def predict(self, image: Image, max_value: int | None = None) -> Prediction:
        """Predict one X-ray.

        Args:
            image: a PNG, JPEG or DICOM file, its bytes, or a file open for reading
                them; a Pillow image; or grey pixels, uint8 or uint16
                `(height, width)`.
            max_value: the grey value that is white; see `read_xray`.

        Raises:
            UserError: it can't be read.
        """
        prediction = self.predict_batch([image], max_value)[0]
        if prediction.error:
            raise UserError(f"{describe_image(image)} {prediction.error}.")
        return prediction

    def predict_batch(
        self, images: Sequence[Image], max_value: int | None = None
    ) -> list[Prediction]:
        """Predict several X-rays at once; what can't be read has an `error`.

        Raises:
            UserError: a single image is given in place of several.
        """
        check_several(images)
        read = [_read(image, max_value) for image in images]
        found = iter(self.predict_xrays([xray for xray, _ in read if xray is not None]))
        return [
            Prediction({}, error=error) if xray is None else next(found)
            for xray, error in read
        ]

    def predict_xrays(self, xrays: Sequence[XRay]) -> list[Prediction]:
        """Predict X-rays that have been read."""
        if not xrays:
            return []
        size = self.runtime.contract.image_size
        images = np.stack([xray.resize(size) for xray in xrays])
        found = self.predict_resized(images, [xray.frame for xray in xrays])
        return [
            replace(prediction, image=xray.pixels)
            for prediction, xray in zip(found, xrays, strict=True)
        ]

    def predict_resized(
        self, images: np.ndarray, frames: Sequence[Frame]
    ) -> list[Prediction]:
        """Predict X-rays that others may have read and resized, with their frames.

        Images are uint8 `(N, height, width)`, at the size of the contract.
        """
        contract = self.runtime.contract
        corners = np.array([frame.corners for frame in frames])
        sizes = (corners[:, 2:] - corners[:, :2])[:, ::-1]
        outputs = self.runtime.run(images)
        fused = fuse_positives(contract, outputs)
        boxes, scores = find_boxes(contract, outputs, sizes, fused)
        boxes += np.tile(corners[:, :2], 2)[:, None, None]
        weights = np.array(contract.relevance_weights, "float32")
        predictions = []
        for row, (image, frame) in enumerate(zip(images, frames, strict=True)):
            values = outputs["probabilities"][row].tolist()
            if not all(map(math.isfinite, values)):
                # Of networks that overflow, or whose training diverged; NaN is neither
                # above nor below a threshold.
                error = "has no probabilities: the model gives NaN for it"
                predictions.append(Prediction({}, error=error))
                continue
            prediction = Prediction(
                probabilities=dict(zip(contract.pathologies, values, strict=True)),
                boxes=list_boxes(contract.pathologies, boxes[row], scores[row]),
                attention=outputs["attention"][row],
                cams={b: outputs[f"cam_block{b}"][row] for b in contract.blocks},
                relevance_weights=weights,
                warnings=tuple(describe_values(image)),
                contract=contract,
            )
            predictions.append(apply_frame(prediction, frame))
        for (row, column), heatmap in fused.items():
            predictions[row].heatmaps[contract.pathologies[column]] = heatmap
        return predictions


def check_several(images: Sequence[Image]) -> None:
    """Refuse, with a `UserError`, a single image in place of several."""
    if isinstance(images, _ONE) or getattr(images, "ndim", 0) == 2:
        raise UserError(
            f"{describe_image(images)} is a single one; predict_batch takes a list "
            "of images, and predict takes one."
        )


def _read(image: Image, max_value: int | None) -> tuple[XRay | None, str]:
    try:
        return read_xray(image, max_value=max_value), ""
    except ImageError as error:
        return None, " ".join(str(error).split())  # it may quote the file
