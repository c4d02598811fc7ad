"""What accompanies a training: signals that stop it, its progress, TensorBoard."""

import importlib.util
import math
import signal
import sys
import threading
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm


class Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, but a command that it ends has exit status 143."""


class StopSignals:
    """Ctrl-C and SIGTERM as a wish, which training grants when its step is over.

    In the middle of a step a network is neither before nor behind it, and couldn't be
    saved. Who doesn't want to wait sends a second signal. Within a `with`, in the main
    thread: Python has no signals elsewhere. A signal that the process was told to
    ignore, as by `nohup`, stays ignored.
    """

    def __init__(self):
        self.received = None

    def __enter__(self):
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, error, *_):
        for number, handler in self._handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if error is None:
            self.obey()

    def obey(self) -> None:
        """Raise what was wished for, if anything.

        Raises:
            KeyboardInterrupt: Ctrl-C; `Terminated` for SIGTERM.
        """
        if self.received is not None:
            raise Terminated if self.received == signal.SIGTERM else KeyboardInterrupt

    def _note(self, number, frame):
        self.obey()
        self.received = number


class Progress(keras.callbacks.Callback):
    """One bar over all images of all epochs, with rate and time left; a line an epoch.

    Args:
        epochs: last epoch of the run.
        first_epoch: epochs done before, in a resumed run.
        steps: steps an epoch.
        batch_size: images a step.
        first_step: steps done before of the first epoch.
    """

    def __init__(
        self,
        epochs: int,
        first_epoch: int,
        steps: int,
        batch_size: int,
        first_step: int = 0,
    ):
        super().__init__()
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.done = (first_epoch * steps + first_step) * batch_size

    def on_train_begin(self, logs=None):
        self.bar = tqdm(
            total=self.epochs * self.steps * self.batch_size,
            initial=self.done,
            desc="Training",
            unit=" images",
            # Into a log file a line every now and then, on a terminal a live bar.
            mininterval=0.5 if sys.stderr.isatty() else 15,
            dynamic_ncols=True,
        )

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(self.batch_size)
        self.done += self.batch_size
        if logs:
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)

    def on_epoch_end(self, epoch, logs=None):
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


class UnknownValidation(keras.callbacks.Callback):
    """Call a loss undefined that is 0 because no label is known.

    It must come in front of the callbacks that are told of the loss.
    """

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: math.nan for name in logs if name.startswith("val_")})


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
