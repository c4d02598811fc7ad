"""Checkpoints that a run goes on from as if it had never stopped."""

import dataclasses
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_mscam.errors import UserError
from keras_mscam.files import check_archive, write_whole
from keras_mscam.inference.run_folder import Run
from keras_mscam.training.stop import StopSignals

#: What a callback counts over steps or epochs; nothing else of it changes.
_COUNTERS = ("best", "wait", "cooldown_counter", "best_epoch", "skipped")


@dataclass(frozen=True)
class State:
    """How far a run has come, beside the values of its network's variables."""

    epoch: int = 0  # whole epochs
    step: int = 0  # steps of the next one
    # what the losses of those steps are the quotients of, see `read_sums`
    sums: list[float] = field(default_factory=list)
    # one dictionary for each callback that counts
    counters: list[dict] = field(default_factory=list)
    history: list[dict] = field(default_factory=list)  # a row for each whole epoch


class Checkpoint(keras.callbacks.Callback):
    """Keep the best model, the history, and all that a resumed run needs.

    A checkpoint is written after every epoch, and within one after the step, or batch
    of validation, that ends `checkpoint_minutes` or `checkpoint_steps` after the last
    one, or in which a signal asks to stop. It is the file `checkpoints/epoch-NNN.npz`
    behind that many whole epochs, `epoch-NNN-step-NNNNNN.npz` where more steps were
    done: the variables of network and optimizer, and a `State`. It appears under its
    name when it is whole. The one before it stays, for a file that is damaged later.

    After every epoch `history.csv` is written too, and `model.keras` if the validation
    loss is the lowest so far.

    Args:
        run: where to write.
        classifier: the network that is trained, saved without its optimizer.
        counting: callbacks whose counters belong to the state of the run. They must be
            called before this one, which restores what they reset.
        state: where a resumed run goes on.
        stop: where signals are noted.
    """

    def __init__(
        self,
        run: Run,
        classifier: keras.Model,
        counting: list[keras.callbacks.Callback],
        state: State | None = None,
        stop: StopSignals | None = None,
    ):
        super().__init__()
        self.run = run
        self.classifier = classifier
        self.counting = counting
        #: That of the newest checkpoint.
        self.state = state or State()
        self.stop = stop or StopSignals()
        self.epoch, self.step = self.state.epoch, self.state.step
        self._sums = None
        self._restart_clock()

    def on_train_begin(self, logs=None):
        # The counting callbacks reset themselves here, before this one.
        restore_counters(self.state, self.counting)
        self._restart_clock()

    def on_epoch_begin(self, epoch, logs=None):
        # Here, the other callbacks are done with the epoch before.
        self.stop.agree()
        self.stop.obey()
        self.epoch, self.step = epoch, 0
        self._sums = None
        if self.state.epoch == epoch and self.state.step:
            # Keras has just reset the metrics.
            self.step = self.state.step
            restore_sums(self.model, self.state.sums)

    def on_train_batch_end(self, batch, logs: Any = None):
        self.stop.waits = True  # from now on there is something to save
        self.step += 1
        self._unsaved += 1
        self.save_if_due()

    def on_test_begin(self, logs=None):
        # Validation counts in the same variables as training.
        self._sums = read_sums(self.model)

    def on_test_batch_end(self, batch, logs: Any = None):
        self.save_if_due()

    def on_epoch_end(self, epoch, logs: Any = None):
        row = {"epoch": epoch + 1, **{key: float(v) for key, v in logs.items()}}
        self._save(epoch + 1, 0, [], [*self.state.history, row])
        self.write_results()

    def save_if_due(self) -> None:
        """Save within an epoch if it is time to, and stop if a signal asked for that.

        Raises:
            KeyboardInterrupt: it did.
        """
        steps = self.run.config.training.checkpoint_steps or math.inf
        self.stop.agree()
        if (
            self.stop.received is not None
            or time.monotonic() >= self._due
            or self._unsaved >= steps
        ):
            sums = read_sums(self.model) if self._sums is None else self._sums
            self._save(self.epoch, self.step, sums, self.state.history)
        self.stop.obey()

    def write_results(self) -> None:
        """Write what the last whole epoch gives: the history, and a better model.

        Also where a run goes on: it may have been killed between them.
        """
        *earlier, last = [row["val_loss"] for row in self.state.history]
        if self.state.step == 0 and not last >= min(earlier, default=math.inf):
            self.save_model()
        with write_whole(self.run.history_path) as temporary:
            pd.DataFrame(self.state.history).to_csv(temporary, index=False)

    def save_model(self) -> None:
        with write_whole(self.run.model_path) as temporary:
            self.classifier.save(temporary)

    def _restart_clock(self) -> None:
        # Monotonic: unlike that on the wall, it is never set back or forward.
        self._due = time.monotonic() + 60 * self.run.config.training.checkpoint_minutes
        self._unsaved = 0

    def _save(self, epoch: int, step: int, sums: list, history: list[dict]) -> None:
        if (epoch, step) != (self.state.epoch, self.state.step):
            counters = [_counters(callback) for callback in self.counting]
            state = State(epoch, step, sums, counters, history)
            kept = self._name(self.state), self._name(state)
            write_checkpoint(self.run.checkpoints / kept[1], self.model, state)
            self.state = state
            for path in self.run.checkpoints.glob("*epoch-*"):
                if path.name not in kept:
                    with suppress(OSError):
                        path.unlink()
        self._restart_clock()

    @staticmethod
    def _name(state: State) -> str:
        within = f"-step-{state.step:06d}" if state.step else ""
        return f"epoch-{state.epoch:03d}{within}.npz"


def write_checkpoint(path: Path, trainer: keras.Model, state: State) -> None:
    """Write a checkpoint: an archive of arrays, each with a checksum of its own."""
    values = map(keras.ops.convert_to_numpy, _variables(trainer))
    with write_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, *values, state=json.dumps(dataclasses.asdict(state)))
        file.flush()
        os.fsync(file.fileno())  # before it gets its name, should the power fail


def read_checkpoint(path: Path, trainer: keras.Model) -> State:
    """Give a trainer the values of a checkpoint.

    Args:
        path: the file.
        trainer: made by `compile_trainer`; it stays as it is if the file is damaged.

    Raises:
        UserError: the checkpoint is damaged, or that of another network.
    """
    variables = _variables(trainer)
    with _open_checkpoint(path) as (state, file):
        values = [file[f"arr_{i}"] for i in range(len(file.files) - 1)]
    if [v.shape for v in values] != [tuple(v.shape) for v in variables]:
        raise UserError(f"The checkpoint {path} is that of another network.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return state


@contextmanager
def _open_checkpoint(path: Path) -> Iterator[tuple[State, np.lib.npyio.NpzFile]]:
    try:
        check_archive(path)
        with np.load(path) as file:
            yield State(**json.loads(str(file["state"]))), file
    except Exception as error:  # there is no saying what a flipped bit can lead to
        raise UserError(f"The checkpoint {path} is damaged.") from error


def read_state(path: Path) -> State:
    """Return how far a run was at a checkpoint; a damaged one is a `UserError`."""
    with _open_checkpoint(path) as (state, _):
        return state


def find_checkpoints(run: Run) -> list[Path]:
    """Return the checkpoints of a run, the newest first."""
    return sorted(run.checkpoints.glob("epoch-*.npz"), key=read_numbers, reverse=True)


def read_numbers(path: Path) -> list[int]:
    """Return whole epochs, and steps of the next if there are, of a checkpoint."""
    return [int(number) for number in re.findall(r"\d+", path.name)]


def load_newest(run: Run, trainer: keras.Model) -> State:
    """Give a trainer what the newest whole checkpoint of a run holds.

    If that is damaged, this is said and the one before it is taken.

    Args:
        run: a run, which may have no checkpoint yet.
        trainer: made by `compile_trainer`; new, if there is none.

    Raises:
        UserError: there are checkpoints, but none can be used.
    """
    problems = {}
    for path in find_checkpoints(run):
        try:
            state = read_checkpoint(path, trainer)
        except UserError as error:
            problems[path] = str(error)
            continue
        for other, problem in problems.items():
            print(f"{problem} Going on from {path}.", file=sys.stderr)
            other.rename(other.with_name(f"damaged-{other.name}"))  # out of the way
        return state
    if problems:
        raise UserError(
            f"{' '.join(problems.values())} Restore one from a copy, or begin a new "
            f"run in another --output, by --weights {run.path} from its best model."
        )
    return State()


def restore_counters(state: State, counting: list[keras.callbacks.Callback]) -> None:
    """Give the counting callbacks the counters that they had at a checkpoint."""
    for callback, values in zip(counting, state.counters, strict=False):
        for name, value in values.items():
            setattr(callback, name, value)


def has_stopped(state: State, patience: int | None) -> bool:
    """Tell whether early stopping had ended the training at a checkpoint."""
    return state.step == 0 and any(
        patience is not None and values["wait"] >= patience
        for values in state.counters
        if "best_epoch" in values  # of all that count, early stopping alone
    )


def read_sums(trainer: keras.Model) -> list[float]:
    """Return the totals and counts that the losses so far are the quotients of."""
    return [float(keras.ops.convert_to_numpy(v)) for v in trainer.metrics_variables]


def restore_sums(trainer: keras.Model, sums: list[float]) -> None:
    """Give a trainer the sums of `read_sums`."""
    for variable, value in zip(trainer.metrics_variables, sums, strict=True):
        variable.assign(value)


def _variables(trainer: keras.Model) -> list:
    return [*trainer.variables, *trainer.optimizer.variables]


def _counters(callback: keras.callbacks.Callback) -> dict:
    found = {name: getattr(callback, name, None) for name in _COUNTERS}
    return {
        name: float(value) if isinstance(value, float) else int(value)
        for name, value in found.items()
        if isinstance(value, (int, float))
    }
