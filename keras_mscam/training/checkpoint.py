"""Checkpoints that a run goes on from as if it had never stopped."""

import json
import math
import os
import re
import shutil
import time
import zipfile
from pathlib import Path

import keras
import pandas as pd

from keras_mscam.errors import UserError
from keras_mscam.files import write_whole
from keras_mscam.inference.run_folder import Run
from keras_mscam.training.callbacks import StopSignals

#: What a callback of Keras counts between epochs; nothing else of it changes.
_COUNTERS = ("best", "wait", "cooldown_counter", "best_epoch")


class Checkpoint(keras.callbacks.Callback):
    """Keep the best model, the history, and all that a resumed run needs.

    After every epoch it writes `history.csv`, `model.keras` if the validation loss is
    the lowest so far, and a checkpoint. Another checkpoint is written after the first
    step, or batch of validation, that ends `checkpoint_minutes` after the last one, and
    when a signal asks to stop.

    A checkpoint is a folder, `checkpoints/epoch-NNN` behind that many whole epochs,
    `epoch-NNN-step-NNNNNN` where more steps were done: the model with its optimizer,
    the sums that the losses of the broken epoch are the means of, the counters of the
    callbacks that wait for a plateau, and the history. It appears under its name when
    it is whole, and only then does the one before it go. A network whose loss is no
    longer finite is not kept.

    Args:
        run: where to write.
        classifier: the network that is trained, saved without its optimizer.
        waiting: callbacks whose counters belong to the state of the run. They must be
            called before this one, which restores what they reset.
        history: rows of the epochs before a resumed one.
        stop: where signals are noted.
    """

    def __init__(
        self,
        run: Run,
        classifier: keras.Model,
        waiting: list[keras.callbacks.Callback],
        history: list[dict] | None = None,
        stop: StopSignals | None = None,
    ):
        super().__init__()
        self.run = run
        self.classifier = classifier
        self.waiting = waiting
        self.history = list(history or [])
        self.stop = stop or StopSignals()
        #: Whole epochs, and steps of the next, that the newest checkpoint holds.
        self.saved = (0, 0)
        self.epoch = self.step = 0
        self._begun = None
        self._due = math.inf

    def on_train_begin(self, logs=None):
        # The waiting callbacks reset themselves here, before this one: see `fit`.
        path = latest_checkpoint(self.run)
        if path is not None:
            self._begun = read_state(path)
            self.saved = self._begun["epoch"], self._begun["step"]
            restore_counters(self._begun, self.waiting)
        self._schedule()

    def on_epoch_begin(self, epoch, logs=None):
        self.stop.obey()  # here, the other callbacks are done with the epoch before
        self.epoch, self.step = epoch, 0
        if self._begun and self._begun["epoch"] == epoch and self._begun["step"]:
            # Keras has just reset the metrics.
            self.step = self._begun["step"]
            restore_sums(self.model, self._begun["sums"])

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self._is_due():
            self._save_within_epoch(read_sums(self.model))

    def on_test_begin(self, logs=None):
        # Validation counts in the same variables as training.
        self._sums = read_sums(self.model)

    def on_test_batch_end(self, batch, logs=None):
        if self._is_due():
            self._save_within_epoch(self._sums)

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **{key: float(v) for key, v in logs.items()}}
        if not math.isfinite(row.get("loss", 0)):
            return
        earlier = [previous["val_loss"] for previous in self.history]
        self.history.append(row)
        if not row["val_loss"] >= min(earlier, default=float("inf")):
            self.save_model()
        with write_whole(self.run.history_path) as temporary:
            pd.DataFrame(self.history).to_csv(temporary, index=False)
        self._save(epoch + 1, 0, [])

    def save_model(self) -> None:
        with write_whole(self.run.model_path) as temporary:
            self.classifier.save(temporary)

    def _is_due(self) -> bool:
        return self.stop.received is not None or time.monotonic() >= self._due

    def _schedule(self) -> None:
        self._due = time.monotonic() + 60 * self.run.config.training.checkpoint_minutes

    def _save_within_epoch(self, sums: list[float]) -> None:
        if all(map(math.isfinite, sums)):
            self._save(self.epoch, self.step, sums)
        self.stop.obey()

    def _save(self, epoch: int, step: int, sums: list[float]) -> None:
        name = f"epoch-{epoch:03d}" + (f"-step-{step:06d}" if step else "")
        path, temporary = (self.run.checkpoints / n for n in (name, f".{name}"))
        if not path.exists():  # else validation goes on behind the last step
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            self.model.save(temporary / "last.keras")
            state = {
                "epoch": epoch,
                "step": step,
                "sums": sums,
                "counters": [_counters(callback) for callback in self.waiting],
                "history": self.history,
            }
            (temporary / "state.json").write_text(json.dumps(state), encoding="utf-8")
            os.replace(temporary, path)
        for other in self.run.checkpoints.iterdir():
            if other != path:
                shutil.rmtree(other, ignore_errors=True)
        self.saved = epoch, step
        self._schedule()


def latest_checkpoint(run: Run) -> Path | None:
    """Return the newest whole checkpoint of a run, `None` if there is none."""
    return max(
        run.checkpoints.glob("epoch-*"),
        key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)],
        default=None,
    )


def read_state(path: Path) -> dict:
    """Return `epoch`, `step`, `sums`, `history` and `counters` of a checkpoint.

    Raises:
        UserError: the checkpoint is damaged.
    """
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        kept = {name: state[name] for name in ("epoch", "history", "counters")}
        # Older ones, all behind a whole epoch, say nothing of steps.
        return kept | {"step": state.get("step", 0), "sums": state.get("sums", [])}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _damaged(path, error) from error


def load_trainer(path: Path) -> keras.Model:
    """Return the compiled model of a checkpoint, with its optimizer.

    Raises:
        UserError: the checkpoint is damaged.
    """
    try:
        return keras.saving.load_model(path / "last.keras")
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def restore_counters(state: dict, waiting: list[keras.callbacks.Callback]) -> None:
    """Give the waiting callbacks the counters that they had at a checkpoint."""
    for callback, values in zip(waiting, state["counters"], strict=False):
        for name, value in values.items():
            setattr(callback, name, value)


def read_sums(trainer: keras.Model) -> list[float]:
    """Return the totals and counts that the losses so far are the quotients of."""
    return [float(keras.ops.convert_to_numpy(v)) for v in trainer.metrics_variables]


def restore_sums(trainer: keras.Model, sums: list[float]) -> None:
    """Give a trainer the sums of `read_sums`, also before its first step."""
    zeros = {
        name: keras.ops.zeros((1, o.shape[-1])) for name, o in trainer.output.items()
    }
    # Only when it sees outputs does a compiled loss make its metrics.
    trainer.compute_loss(None, zeros, zeros)
    for variable, value in zip(trainer.metrics_variables, sums, strict=True):
        variable.assign(value)


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"The checkpoint {path} is damaged ({error}); restore it from a copy, or begin "
        "a new run in another --output."
    )


def _counters(callback: keras.callbacks.Callback) -> dict:
    found = {name: getattr(callback, name, None) for name in _COUNTERS}
    return {
        name: float(value) if isinstance(value, float) else int(value)
        for name, value in found.items()
        if isinstance(value, (int, float))
    }
