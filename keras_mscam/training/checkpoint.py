"""Checkpoints that a run goes on from as if it had never stopped."""

import json
import os
import shutil
from pathlib import Path

import keras
import pandas as pd

from keras_mscam.errors import UserError
from keras_mscam.files import write_whole
from keras_mscam.run_folder import Run

#: What a callback of Keras counts between epochs; nothing else of it changes.
_COUNTERS = ("best", "wait", "cooldown_counter", "best_epoch")


class Checkpoint(keras.callbacks.Callback):
    """Keep the best model, the history, and all that a resumed run needs.

    After every epoch it writes `history.csv`, `model.keras` if the validation loss is
    the lowest so far, and `checkpoints/epoch-NNN/`: the model with its optimizer, and
    the counters of the callbacks that wait for a plateau. A checkpoint appears under
    its name when it is whole, and only then does the one before it go.

    Args:
        run: where to write.
        classifier: the network that is trained, saved without its optimizer.
        waiting: callbacks whose counters belong to the state of the run.
        history: rows of the epochs before a resumed one.
    """

    def __init__(
        self,
        run: Run,
        classifier: keras.Model,
        waiting: list[keras.callbacks.Callback],
        history: list[dict] | None = None,
    ):
        super().__init__()
        self.run = run
        self.classifier = classifier
        self.waiting = waiting
        self.history = list(history or [])

    def on_train_begin(self, logs=None):
        # The waiting callbacks reset themselves here, before this one: see `fit`.
        path = latest_checkpoint(self.run)
        if path is not None:
            restore_counters(path, self.waiting)

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **{key: float(v) for key, v in logs.items()}}
        earlier = [previous["val_loss"] for previous in self.history]
        self.history.append(row)
        if not row["val_loss"] >= min(earlier, default=float("inf")):
            self.save_model()
        with write_whole(self.run.history_path) as temporary:
            pd.DataFrame(self.history).to_csv(temporary, index=False)
        self._save_checkpoint(epoch + 1)

    def save_model(self) -> None:
        with write_whole(self.run.model_path) as temporary:
            self.classifier.save(temporary)

    def _save_checkpoint(self, epoch: int) -> None:
        path = self.run.checkpoints / f"epoch-{epoch:03d}"
        temporary = self.run.checkpoints / f".epoch-{epoch:03d}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        self.model.save(temporary / "last.keras")
        counters = [_counters(callback) for callback in self.waiting]
        (temporary / "state.json").write_text(
            json.dumps({"epoch": epoch, "counters": counters, "history": self.history})
        )
        os.replace(temporary, path)
        for other in self.run.checkpoints.iterdir():
            if other != path:
                shutil.rmtree(other, ignore_errors=True)


def latest_checkpoint(run: Run) -> Path | None:
    """Return the newest whole checkpoint of a run, `None` if there is none."""
    return max(run.checkpoints.glob("epoch-*"), default=None)


def read_state(path: Path) -> dict:
    """Return `epoch`, `history` and `counters` of a checkpoint.

    Raises:
        UserError: the checkpoint is damaged.
    """
    try:
        return json.loads((path / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"The checkpoint {path} is damaged: {error}") from error


def restore_counters(path: Path, waiting: list[keras.callbacks.Callback]) -> None:
    """Give the waiting callbacks the counters that they had at a checkpoint."""
    counters = read_state(path)["counters"]
    for callback, values in zip(waiting, counters, strict=False):
        for name, value in values.items():
            setattr(callback, name, value)


def _counters(callback: keras.callbacks.Callback) -> dict:
    found = {name: getattr(callback, name, None) for name in _COUNTERS}
    return {
        name: float(value) if isinstance(value, float) else int(value)
        for name, value in found.items()
        if isinstance(value, (int, float))
    }
