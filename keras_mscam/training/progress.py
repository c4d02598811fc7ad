"""What a person sees while a network trains."""

import sys

import keras
from tqdm import tqdm


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
