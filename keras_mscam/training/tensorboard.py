"""Scalars and attention maps for TensorBoard, where TensorFlow is installed."""

import importlib.util
from pathlib import Path

import keras
import numpy as np

_CASES = 8


def tensorboard_callbacks(
    folder: Path, classifier: keras.Model, validation, pathologies: tuple[str, ...]
) -> list[keras.callbacks.Callback]:
    """Return the callbacks that write to TensorBoard; none without TensorFlow.

    Args:
        folder: where event files go.
        classifier: the network that is trained.
        validation: batches of images and labels; the first positive image of each
            pathology is watched.
        pathologies: names, in the order of the labels.
    """
    if not all(map(importlib.util.find_spec, ("tensorflow", "tensorboard"))):
        return []
    return [
        keras.callbacks.TensorBoard(folder, write_graph=False),
        AttentionImages(folder, classifier, validation, pathologies),
    ]


class AttentionImages(keras.callbacks.Callback):
    """After every epoch, each watched X-ray beside its attention map."""

    def __init__(self, folder: Path, classifier, validation, pathologies):
        super().__init__()
        self.folder = Path(folder)
        self.classifier = classifier
        self.images, self.columns = _first_positives(validation, len(pathologies))
        self.names = [pathologies[column] for column in self.columns]

    def on_train_begin(self, logs=None):
        import tensorflow as tf

        from keras_mscam.modeling.localizer import build_localizer

        self.localizer = build_localizer(self.classifier)
        self.writer = tf.summary.create_file_writer(str(self.folder / "attention"))

    def on_epoch_end(self, epoch, logs=None):
        import tensorflow as tf

        if not self.names:
            return
        outputs = self.localizer(self.images, training=False)
        attention = keras.ops.convert_to_numpy(outputs["attention"])
        with self.writer.as_default(step=epoch):
            for row, (name, column) in enumerate(
                zip(self.names, self.columns, strict=True)
            ):
                picture = _side_by_side(self.images[row], attention[row, ..., column])
                tf.summary.image(f"attention/{name}", picture[None])

    def on_train_end(self, logs=None):
        self.writer.close()


def _first_positives(validation, pathologies: int):
    """Return one image for each pathology that has a positive, and their columns."""
    found = {}
    for images, labels in validation:
        labels = np.asarray(labels)
        for column in range(min(pathologies, _CASES)):
            rows = np.flatnonzero(labels[:, column] == 1)
            if column not in found and len(rows):
                found[column] = np.asarray(images)[rows[0]]
        if len(found) == min(pathologies, _CASES):
            break
    columns = sorted(found)
    return np.array([found[column] for column in columns]), columns


def _side_by_side(image, attention):
    """Return the X-ray, and its map from dark (lowest) to bright (highest)."""
    span = np.ptp(attention)
    bright = (attention - attention.min()) / (span if span > 0 else 1)
    pair = np.concatenate([image[..., 0] / 255, bright], axis=1)
    return pair[..., None].astype("float32")
