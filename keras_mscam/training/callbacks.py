"""What accompanies a training: losses that aren't finite, progress, TensorBoard."""

import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from keras_mscam.errors import UserError

#: What to do where the loss is not finite.
_REMEDY = (
    "Begin a new run with a lower --learning-rate, or go on from the last checkpoint "
    "by --resume and skip such batches: --skip-batches says how many of an epoch."
)


class FiniteLoss(keras.callbacks.Callback):
    """Stop at a batch whose loss is not finite, or count those that are skipped.

    A `Trainer` that skips them has undone such a step before it comes here.

    Args:
        skip_batches: how many of an epoch, its validation included, may be skipped; one
            more stops the training, and so does an epoch of no others.
        name_batch: gives names of images for a split, an epoch and a batch of it, both
            from 0; without it, none are named.
        first_step: steps done before of the first epoch.
    """

    def __init__(
        self,
        skip_batches: int = 0,
        name_batch: Callable[[str, int, int], list[str]] | None = None,
        first_step: int = 0,
    ):
        super().__init__()
        self.skip_batches = skip_batches
        self.name_batch = name_batch
        self.first_step = first_step
        #: Of the current epoch: in training, and in its validation.
        self.skipped = self.skipped_in_validation = 0
        self.validated = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.step = epoch, self.first_step
        self.first_step = 0

    def on_train_batch_end(self, batch, logs: Any = None):
        self.step += 1
        if not math.isfinite(logs["loss"]):
            self.skipped += 1
            self._skip("train", self.step, logs["loss"])

    def on_test_begin(self, logs=None):
        self.skipped_in_validation = self.validated = 0

    def on_test_batch_end(self, batch, logs: Any = None):
        self.validated += 1
        if not math.isfinite(logs["loss"]):
            self.skipped_in_validation += 1
            self._skip("validation", self.validated, logs["loss"])

    def on_epoch_end(self, epoch, logs: Any = None):
        for skipped, split, batches in (
            (self.skipped, "train", self.step),
            (self.skipped_in_validation, "validation", self.validated),
        ):
            if 0 < skipped == batches:  # a mean over none would be 0, the best loss
                raise UserError(
                    f"No batch of the split {split} has a finite loss in epoch "
                    f"{epoch + 1}: the network is beyond repair. {_REMEDY}"
                )
        if self.skip_batches:
            logs["skipped"] = self.skipped + self.skipped_in_validation
        self.skipped = self.skipped_in_validation = 0

    def _skip(self, split: str, number: int, loss: float) -> None:
        what = f"The loss is {loss} in batch {number} of the split {split} in epoch "
        what += str(self.epoch + 1)
        if self.name_batch is not None:
            names = self.name_batch(split, self.epoch, number - 1)
            what += f", of the images {', '.join(names)}"
        if self.skipped + self.skipped_in_validation > self.skip_batches:
            raise UserError(f"{what}. {_REMEDY}")
        tqdm.write(f"{what}; it is skipped.", file=sys.stderr)


class Progress(keras.callbacks.Callback):
    """One bar over all images of all epochs, with rate and time left; a line per epoch.

    Args:
        epochs: last epoch of the run.
        first_epoch: epochs done before, in a resumed run.
        steps: steps per epoch.
        batch_size: images per step.
        first_step: steps done before of the first epoch.
        title: of the bar.
    """

    def __init__(
        self,
        epochs: int,
        first_epoch: int,
        steps: int,
        batch_size: int,
        first_step: int = 0,
        title: str = "Training",
    ):
        super().__init__()
        self.title = title
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.done = (first_epoch * steps + first_step) * batch_size

    def on_train_begin(self, logs=None):
        self.bar = tqdm(
            total=self.epochs * self.steps * self.batch_size,
            initial=self.done,
            desc=self.title,
            unit=" images",
            # Into a log file a line every now and then, on a terminal a live bar.
            mininterval=0.5 if sys.stderr.isatty() else 15,
            dynamic_ncols=True,
        )

    def on_train_batch_end(self, batch, logs: Any = None):
        self.bar.update(self.batch_size)
        self.done += self.batch_size
        if logs:
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)

    def on_epoch_end(self, epoch, logs: Any = None):
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self.bar.write(
            f"epoch {epoch + 1:3d}/{self.epochs}  loss {logs['loss']:.4f}  "
            f"validation {logs['val_loss']:.4f}  learning rate {rate:.0e}",
            file=sys.stderr,
        )

    def on_train_end(self, logs=None):
        self.close()

    def close(self) -> None:
        """Leave the bar as it stands, also where training was broken off."""
        if hasattr(self, "bar"):
            self.bar.close()


class ScaledValidation(keras.callbacks.Callback):
    """Multiply the losses of validation, in front of the callbacks that are told of it.

    Args:
        factor: NaN where no label is known, for losses that are 0 to be undefined; the
            images that were given over those there are, where a batch was filled up.
    """

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def on_epoch_end(self, epoch, logs: Any = None):
        for name in logs:
            if name.startswith("val_"):
                logs[name] *= self.factor


#: Pathologies that are watched at most.
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

    def on_epoch_end(self, epoch, logs: Any = None):
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
