"""How a run that was stopped goes on, and how it is said."""

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keras_mscam.configs.schema import Config
from keras_mscam.errors import UserError
from keras_mscam.inference.run_folder import (
    Run,
    discard_empty_run,
    is_prepared,
    is_run,
    load_run,
    locate_folders,
    write_config,
)

#: Options of a training that may change when it is resumed.
_CHANGEABLE = ("epochs", "skip_batches", "checkpoint_minutes", "checkpoint_steps")


def resume_run(config: Config, output: Path) -> Run:
    """Open a run to go on with it.

    Args:
        config: that of the run, but for what may change.
        output: its folder.

    Raises:
        UserError: it is no run, or is to go on in another way than it was begun.
    """
    run = load_run(output)
    progress = _read_progress(run)
    begun = run.history_path.is_file() and run.config.training.head_epochs
    if run.model_path.is_file() and not progress and not begun:
        raise UserError(
            f"{output} has a model and no checkpoint to go on from: begin a new run "
            f"with --weights {output}."
        )
    done = next(iter(progress), 0)
    if config.training.epochs < done:
        raise UserError(
            f"The run in {output} has {done} epochs already: --epochs can only make it "
            "longer."
        )
    longer = config.training.epochs != run.config.training.epochs
    if longer and run.config.training.schedule == "cosine":
        raise UserError(
            f"The run in {output} has a cosine schedule, which ends with its "
            f"{run.config.training.epochs} epochs: --epochs can't be changed. Start a "
            f"new run with --weights {output}."
        )
    if config.model.normalization is None:  # as the weights said when it was begun
        own = run.config.model.normalization
        model = dataclasses.replace(config.model, normalization=own)
        config = dataclasses.replace(config, model=model)
    changes = {name: getattr(config.training, name) for name in _CHANGEABLE}
    training = dataclasses.replace(run.config.training, **changes)
    extended = dataclasses.replace(run.config, training=training)
    if locate_folders(extended) != locate_folders(config):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in _CHANGEABLE)
        raise UserError(
            f"The run in {output} goes on as it was begun: with --resume, only "
            f"{options} can be given."
        )
    run = Run(run.path, extended)
    write_config(run)
    return run


def is_trained(output: Path, epochs: int) -> bool:
    """Tell whether the run in a folder has so many epochs, or was stopped early."""
    from keras_mscam.training.checkpoint import (
        find_checkpoints,
        has_stopped,
        read_state,
    )

    if not is_run(output):
        return False
    run = load_run(output)
    for path in find_checkpoints(run)[:1]:
        with suppress(UserError):  # else it goes on from the one before
            state = read_state(path)
            whole = state.step == 0 and state.epoch >= epochs
            return whole or has_stopped(state, run.config.training.early_stopping)
    return False


@contextmanager
def explain_end(run: Run) -> Iterator[None]:
    """Say how a run goes on that is stopped, and remove one that came to nothing."""
    try:
        yield
    except UserError:
        discard_empty_run(run)
        raise
    except KeyboardInterrupt:
        print(
            f"Stopped {_describe_progress(run)}. "
            f"Go on: keras_mscam-train --output {run.path} --resume",
            file=sys.stderr,
        )
        raise


def _read_progress(run: Run) -> list[int]:
    """Return whole epochs, and steps of the next if there are; nothing before both."""
    from keras_mscam.training.checkpoint import find_checkpoints, read_numbers

    newest = next(iter(find_checkpoints(run)), None)
    return [] if newest is None else read_numbers(newest)


def _describe_progress(run: Run) -> str:
    if not is_prepared(run.records):
        return "while its images were prepared"
    progress = _read_progress(run)
    if not progress:
        return "before its first checkpoint"
    epochs, *steps = progress
    within = "".join(f" and {step} steps of the next" for step in steps)
    return f"after {epochs} of {run.config.training.epochs} epochs{within}"
