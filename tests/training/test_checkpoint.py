"""Runs that were stopped, and go on as if they had never been.

JAX keeps its state elsewhere while it trains; the same tests, with `KERAS_BACKEND=jax`.
"""

import errno
import os
import shutil
import signal
import time

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from keras_mscam.configs.schema import Config, TrainingConfig
from keras_mscam.errors import DiskError, UserError
from keras_mscam.inference.run_folder import create_run
from keras_mscam.modeling import build_classifier
from keras_mscam.training.checkpoint import (
    Checkpoint,
    State,
    find_checkpoints,
    has_stopped,
    load_newest,
)
from keras_mscam.training.fit import compile_trainer, counting_callbacks, fit
from keras_mscam.training.resuming import is_trained
from keras_mscam.training.stop import StopSignals

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (16, 32, 32, 1)).astype("uint8")
LABELS = RNG.integers(0, 2, (16, 3)).astype("float32")
STEPS = 4
EPOCHS = 4
PARTS = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)


def build():
    keras.utils.set_random_seed(0)
    classifier = build_classifier(
        3, (32, 32), "small_densenet", (1, 2), batch_norm_momentum=0.5
    )
    return classifier, compile_trainer(classifier, (0.5,) * 3, TrainingConfig())


class StopAt(keras.callbacks.Callback):
    """Ask to stop after a step of training, or a batch of validation, from 1."""

    def __init__(self, stop, number, validating=False):
        super().__init__()
        self.stop, self.number = stop, number
        self.validating = validating

    def on_train_batch_end(self, batch, logs=None):
        if not self.validating:
            self._count()

    def on_test_batch_end(self, batch, logs=None):
        if self.validating:
            self._count()

    def _count(self):
        self.number -= 1
        if self.number == 0:
            self.stop.received = signal.SIGINT


def go_on(run, stop_after=None, epochs=EPOCHS, **kwargs):
    """Begin a run or go on with it, as `train_run` does, up to a step."""
    config = TrainingConfig(plateau_patience=1, early_stopping=9)
    classifier, trainer = build()
    trainer.run_eagerly = True  # the steps take less than to trace one
    state = load_newest(run, trainer)
    stop, counting = StopSignals(), counting_callbacks(config, None, state.step)
    checkpoint = Checkpoint(run, classifier, counting, state, stop)
    before = [StopAt(stop, stop_after, **kwargs)] if stop_after else []
    try:
        fit(
            trainer, PARTS.repeat(epochs).skip(state.epoch * STEPS + state.step), PARTS,
            steps=STEPS, epochs=epochs, first_epoch=state.epoch, first_step=state.step,
            callbacks=[*before, *counting, checkpoint],
        )  # fmt: skip
    except KeyboardInterrupt:
        assert stop.received
    return trainer, counting


def newest(run):
    return find_checkpoints(run)[0].stem


def assert_same_end(one, other, runs):
    (trainer, counting), (resumed, other_counting) = one, other
    for a, b in zip(trainer.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    rates = [float(t.optimizer.learning_rate) for t in (trainer, resumed)]
    assert rates[0] == rates[1]
    for a, b in zip(counting[2:], other_counting[2:], strict=True):
        assert a.wait == b.wait
        assert a.best == pytest.approx(b.best, abs=1e-6)
    a, b = (pd.read_csv(run.history_path) for run in runs)
    pd.testing.assert_frame_equal(a, b, rtol=0, atol=1e-6)
    assert newest(runs[1]) == "epoch-004"
    assert len(list(runs[1].checkpoints.iterdir())) == 2


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = create_run(tmp_path_factory.mktemp("fit") / "whole", Config())
    return run, go_on(run)


def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path, uninterrupted):
    whole, expected = uninterrupted
    parted = create_run(tmp_path / "run", Config())
    go_on(parted, epochs=2)
    assert newest(parted) == "epoch-002"
    assert_same_end(expected, go_on(parted), (whole, parted))


def test_a_run_stopped_within_epochs_ends_as_an_uninterrupted_one(
    tmp_path, uninterrupted
):
    whole, expected = uninterrupted
    parted = create_run(tmp_path / "run", Config())
    go_on(parted, 6)  # 4 + 2
    assert newest(parted) == "epoch-001-step-000002"
    go_on(parted, 5)  # 6 + 5 = 2 * 4 + 3
    assert newest(parted) == "epoch-002-step-000003"
    go_on(parted, 2, validating=True)  # no step of this epoch is done twice
    assert newest(parted) == "epoch-002-step-000004"
    assert_same_end(expected, go_on(parted), (whole, parted))


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint callback of a network that is never called."""
    return make_checkpoint(create_run(tmp_path / "run", Config()))


def make_checkpoint(run, *args):
    classifier, trainer = build()
    checkpoint = Checkpoint(run, classifier, *(args or [[]]))
    checkpoint.set_model(trainer)
    return checkpoint


def test_a_checkpoint_comes_with_time(checkpoint, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    # Whoever sets the clock on the wall doesn't matter.
    monkeypatch.setattr(time, "time", lambda: -1e9 * clock[0])
    checkpoint.on_train_begin()
    checkpoint.on_epoch_begin(0)
    found = []
    for minutes in (1, 9.9, 10.1, 12, 20, 20.2):  # 10 by default, from the last one
        clock[0] = 60 * minutes
        checkpoint.on_train_batch_end(None)
        found.append(checkpoint.state.step)
    assert found == [0, 0, 3, 3, 3, 6]
    # The last, and the one before it.
    assert [path.stem for path in find_checkpoints(checkpoint.run)] == [
        "epoch-000-step-000006", "epoch-000-step-000003",
    ]  # fmt: skip


def test_a_checkpoint_comes_with_steps(tmp_path):
    config = Config(training=TrainingConfig(checkpoint_steps=3))
    checkpoint = make_checkpoint(create_run(tmp_path / "run", config))
    checkpoint.on_train_begin()
    found = []
    for epoch in range(2):
        checkpoint.on_epoch_begin(epoch)
        for _ in range(4):
            checkpoint.on_train_batch_end(None)
            found.append((checkpoint.state.epoch, checkpoint.state.step))
        checkpoint.on_epoch_end(epoch, {"val_loss": 1.0})
    # Counted from the last one, which that of an epoch is too.
    assert found == [(0, 0), (0, 0), (0, 3), (0, 3), (1, 0), (1, 0), (1, 3), (1, 3)]


def test_the_best_model_is_kept_and_not_the_last(checkpoint):
    saved = []
    checkpoint.save_model = lambda: saved.append(len(checkpoint.state.history))
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.0, 0.5]):
        checkpoint.on_epoch_end(epoch, {"val_loss": loss})
    assert saved == [1, 2, 5]  # counted from 1; a tie doesn't replace the first


def test_counters_survive(tmp_path):
    run = create_run(tmp_path / "run", Config())
    _, finite, plateau = counting_callbacks(TrainingConfig())
    checkpoint = make_checkpoint(run, [finite, plateau])
    plateau.set_model(checkpoint.model)
    plateau.on_train_begin()
    plateau.best, plateau.wait, finite.skipped = 1.25, 2, 3
    checkpoint.on_epoch_end(0, {"val_loss": 1.5})
    _, finite, plateau = counting_callbacks(TrainingConfig())
    plateau.set_model(checkpoint.model)
    plateau.on_train_begin()
    state = load_newest(run, checkpoint.model)
    make_checkpoint(run, [finite, plateau], state).on_train_begin()
    assert (plateau.best, plateau.wait, finite.skipped) == (1.25, 2, 3)


@pytest.mark.parametrize(
    ("wait", "step", "expected"), [(1, 0, False), (2, 0, True), (2, 3, False)]
)
def test_early_stopping_ends_a_run_for_good(wait, step, expected):
    plateau = {"wait": 5, "cooldown_counter": 0}
    state = State(4, step, counters=[plateau, {"wait": wait, "best_epoch": 1}])
    assert has_stopped(state, 2) == expected
    assert not has_stopped(state, None)


def test_what_is_trained(tmp_path):
    """By its epochs, or by the early stopping that its counters show."""
    training = TrainingConfig(early_stopping=2)
    run = create_run(tmp_path / "run", Config(training=training))
    counting = counting_callbacks(training)
    checkpoint = make_checkpoint(run, counting)
    for callback in counting:
        callback.set_model(checkpoint.model)
        callback.on_train_begin()
    assert not is_trained(run.path, 3)
    stopping = counting[-1]
    for epoch, wait in enumerate([0, 1, 2]):
        stopping.wait = wait
        checkpoint.on_epoch_end(epoch, {"val_loss": 1.0})
        assert is_trained(run.path, 3) == (epoch == 2)
        assert is_trained(run.path, 4) == (wait == 2)
    newest = find_checkpoints(run)[0]
    newest.write_bytes(newest.read_bytes()[:100])
    assert not is_trained(run.path, 3)


def test_half_a_checkpoint_is_not_one(checkpoint):
    checkpoint.run.checkpoints.mkdir()
    half = checkpoint.run.checkpoints / ".epoch-003.1234.npz"
    half.write_bytes(b"PK")  # as `kill -9` leaves it
    assert load_newest(checkpoint.run, checkpoint.model) == State()
    checkpoint.on_epoch_end(0, {"val_loss": 1.0})
    assert not half.exists()


def test_the_newest_checkpoint(tmp_path):
    run = create_run(tmp_path / "run", Config())
    run.checkpoints.mkdir()
    names = ["epoch-009-step-000007", "epoch-010", "epoch-010-step-000003",
             "epoch-999-step-000001", "epoch-1000"]  # fmt: skip
    for name in names:
        (run.checkpoints / f"{name}.npz").touch()
        assert newest(run) == name


def test_a_run_killed_before_its_results_were_written_has_them(tmp_path):
    run = create_run(tmp_path / "run", Config())
    checkpoint = make_checkpoint(run)
    checkpoint.write_results = lambda: None  # killed before
    checkpoint.on_epoch_end(0, {"val_loss": 1.0})
    assert not run.history_path.exists()
    state = load_newest(run, checkpoint.model)
    make_checkpoint(run, [], state).write_results()
    assert list(pd.read_csv(run.history_path)["val_loss"]) == [1.0]
    assert run.model_path.exists()


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    """A run with checkpoints of epochs 1 and 2, and their bytes."""
    checkpoint = make_checkpoint(
        create_run(tmp_path_factory.mktemp("two") / "run", Config())
    )
    checkpoint.save_model = lambda: None
    for epoch in range(2):
        checkpoint.model.get_layer("head_block1").bias.assign([epoch + 1.0] * 3)
        checkpoint.on_epoch_end(epoch, {"val_loss": 1.0})
    contents = {p: p.read_bytes() for p in find_checkpoints(checkpoint.run)}
    return checkpoint, contents


DAMAGES = {
    "empty": lambda whole: b"",
    "truncated": lambda whole: whole[: len(whole) // 2],
    "last byte lost": lambda whole: whole[:-1],
    "zeros": lambda whole: bytes(len(whole)),
    "zeros in the middle": lambda w: w[:5000] + bytes(5000) + w[10000:],
    "zeros at the end": lambda w: w[:-4096] + bytes(4096),
    "text": lambda whole: b"<html>404</html>",
    "an empty folder": lambda whole: None,
}


@pytest.fixture
def load(two_checkpoints):
    """Write the newer checkpoint's bytes, changed, and load what can be; then mend."""
    checkpoint, contents = two_checkpoints
    newer = next(iter(contents))

    def load(change):
        content = change(contents[newer])
        if content is None:
            newer.unlink()
            newer.mkdir()
        else:
            newer.write_bytes(content)
        return load_newest(checkpoint.run, checkpoint.model)

    yield load
    shutil.rmtree(checkpoint.run.checkpoints)
    checkpoint.run.checkpoints.mkdir()
    for path, content in contents.items():
        path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    two_checkpoints, load, damage, capsys
):
    checkpoint, (newer, older) = two_checkpoints
    assert load(DAMAGES[damage]).epoch == 1
    assert checkpoint.model.get_layer("head_block1").bias[0] == 1
    output = capsys.readouterr().err
    assert f"{newer} is damaged" in output and f"Going on from {older}." in output
    assert find_checkpoints(checkpoint.run) == [older]
    older.write_bytes(b"")
    with pytest.raises(UserError, match="Restore one from a copy"):
        load_newest(checkpoint.run, checkpoint.model)
    assert find_checkpoints(checkpoint.run) == [older]


def test_no_flipped_bit_is_believed(two_checkpoints, load):
    checkpoint, _ = two_checkpoints
    rng = np.random.default_rng(0)
    expected = load(lambda whole: whole), checkpoint.model.get_weights()

    def flip(whole):
        whole = bytearray(whole)
        whole[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        return whole

    for _ in range(40):
        state = load(flip)
        # Only bits that nothing depends on, as those of dates, may pass.
        if state.epoch == 2:
            assert state == expected[0]
            for a, b in zip(expected[1], checkpoint.model.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)


def test_another_networks_checkpoint_is_not_taken(two_checkpoints):
    checkpoint, _ = two_checkpoints
    other = build_classifier(2, (32, 32), "small_densenet", (1, 2))
    trainer = compile_trainer(other, (0.5,) * 2, TrainingConfig())
    before = trainer.get_weights()
    with pytest.raises(UserError, match="is that of another network"):
        load_newest(checkpoint.run, trainer)
    for a, b in zip(before, trainer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("damage", ["empty", "an empty folder"])
def test_a_damaged_checkpoint_is_not_in_the_way(two_checkpoints, load, damage):
    """Of the next one of its name, nor does it push the older one out."""
    checkpoint, (newer, older) = two_checkpoints
    again = make_checkpoint(checkpoint.run, [], load(DAMAGES[damage]))
    again.save_model = lambda: None
    again.on_epoch_end(1, {"val_loss": 1.0})
    assert find_checkpoints(checkpoint.run) == [newer, older]
    assert load_newest(checkpoint.run, checkpoint.model).epoch == 2


@pytest.mark.parametrize("where", ["checkpoint", "model", "history"])
def test_a_full_disk_leaves_what_was(checkpoint, monkeypatch, where):
    checkpoint.on_epoch_end(0, {"val_loss": 2.0})
    before = {
        p: p.read_bytes() for p in checkpoint.run.path.rglob("*.*") if p.is_file()
    }
    function = {
        "checkpoint": (np, "savez"),
        "model": (checkpoint.classifier, "save"),
        "history": (pd.DataFrame, "to_csv"),
    }[where]

    def fill(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*function, fill)
        with pytest.raises(DiskError, match="the disk is full"):
            checkpoint.on_epoch_end(1, {"val_loss": 1.0})
    after = {p: p.read_bytes() for p in before}
    if where != "history":
        assert after == before
    state = load_newest(checkpoint.run, checkpoint.model)
    assert state.epoch == (1 if where == "checkpoint" else 2)
    again = make_checkpoint(checkpoint.run, [], state)
    again.write_results()
    assert len(pd.read_csv(checkpoint.run.history_path)) == state.epoch
