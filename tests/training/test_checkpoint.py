"""Runs that were stopped, and go on as if they had never been.

JAX keeps its state elsewhere while it trains; the same tests, with `KERAS_BACKEND=jax`.
"""

import json
import signal
import time

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import keras_mscam.training.checkpoint
from keras_mscam.configs.schema import Config, TrainingConfig
from keras_mscam.errors import UserError
from keras_mscam.inference.run_folder import create_run
from keras_mscam.modeling import build_classifier
from keras_mscam.training.callbacks import StopSignals
from keras_mscam.training.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_trainer,
    read_state,
)
from keras_mscam.training.fit import compile_trainer, fit, waiting_callbacks

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
    path = latest_checkpoint(run)
    epoch, step, history = 0, 0, []
    if path is None:
        classifier, trainer = build()
    else:
        state = read_state(path)
        epoch, step, history = state["epoch"], state["step"], state["history"]
        trainer = load_trainer(path)
        classifier = keras.Model(trainer.input, trainer.output)
    stop, waiting = StopSignals(), waiting_callbacks(config)
    checkpoint = Checkpoint(run, classifier, waiting, history, stop)
    before = [StopAt(stop, stop_after, **kwargs)] if stop_after else []
    try:
        fit(
            trainer, PARTS.repeat(epochs).skip(epoch * STEPS + step), PARTS,
            steps=STEPS, epochs=epochs, first_epoch=epoch, first_step=step,
            callbacks=[*before, *waiting, checkpoint],
        )  # fmt: skip
    except KeyboardInterrupt:
        assert stop.received
    return trainer, waiting


def assert_same_end(one, other, runs):
    (trainer, waiting), (resumed, other_waiting) = one, other
    for a, b in zip(trainer.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    rates = [float(t.optimizer.learning_rate) for t in (trainer, resumed)]
    assert rates[0] == rates[1]
    for a, b in zip(waiting, other_waiting, strict=True):
        assert a.wait == b.wait
        assert a.best == pytest.approx(b.best, abs=1e-6)
    a, b = (pd.read_csv(run.history_path) for run in runs)
    pd.testing.assert_frame_equal(a, b, rtol=0, atol=1e-6)
    assert [p.name for p in runs[1].checkpoints.iterdir()] == ["epoch-004"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = create_run(tmp_path_factory.mktemp("fit") / "whole", Config())
    return run, go_on(run)


def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path, uninterrupted):
    whole, expected = uninterrupted
    parted = create_run(tmp_path / "run", Config())
    go_on(parted, epochs=2)
    assert latest_checkpoint(parted).name == "epoch-002"
    assert_same_end(expected, go_on(parted), (whole, parted))


def test_a_run_stopped_within_epochs_ends_as_an_uninterrupted_one(
    tmp_path, uninterrupted
):
    whole, expected = uninterrupted
    parted = create_run(tmp_path / "run", Config())
    go_on(parted, 6)  # 4 + 2
    assert latest_checkpoint(parted).name == "epoch-001-step-000002"
    go_on(parted, 5)  # 6 + 5 = 2 * 4 + 3
    assert latest_checkpoint(parted).name == "epoch-002-step-000003"
    go_on(parted, 2, validating=True)  # no step of this epoch is done twice
    assert latest_checkpoint(parted).name == "epoch-002-step-000004"
    assert_same_end(expected, go_on(parted), (whole, parted))


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint callback of a network that is never called."""
    classifier, trainer = build()
    checkpoint = Checkpoint(create_run(tmp_path / "run", Config()), classifier, [])
    checkpoint.set_model(trainer)
    return checkpoint


def test_a_checkpoint_comes_with_time(checkpoint, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    checkpoint.on_train_begin()
    checkpoint.on_epoch_begin(0)
    found = []
    for minutes in (1, 9.9, 10.1, 12, 20, 20.2):  # 10 by default, from the last one
        clock[0] = 60 * minutes
        checkpoint.on_train_batch_end(None)
        found.append(checkpoint.saved)
    assert found == [(0, 0), (0, 0), (0, 3), (0, 3), (0, 3), (0, 6)]
    names = [path.name for path in checkpoint.run.checkpoints.iterdir()]
    assert names == ["epoch-000-step-000006"]


def test_a_diverged_state_is_not_kept(checkpoint, monkeypatch):
    module = keras_mscam.training.checkpoint
    monkeypatch.setattr(module, "read_sums", lambda trainer: [np.nan, 1.0])
    checkpoint.stop.received = signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        checkpoint.on_train_batch_end(0)
    checkpoint.on_epoch_end(0, {"loss": np.nan, "val_loss": np.nan})
    assert not checkpoint.run.checkpoints.exists()
    assert not checkpoint.run.model_path.exists()


def test_the_best_model_is_kept_and_not_the_last(tmp_path):
    run = create_run(tmp_path / "run", Config())
    checkpoint = Checkpoint(run, build()[0], [])
    checkpoint.set_model(build()[1])
    saved = []
    checkpoint.save_model = lambda: saved.append(len(checkpoint.history))
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.0, 0.5]):
        checkpoint.on_epoch_end(epoch, {"val_loss": loss})
    assert saved == [1, 2, 5]  # counted from 1; a tie doesn't replace the first


def test_counters_of_waiting_callbacks_survive(tmp_path):
    run = create_run(tmp_path / "run", Config())
    classifier, trainer = build()
    (plateau,) = waiting_callbacks(TrainingConfig())
    plateau.set_model(trainer)
    plateau.on_train_begin()
    plateau.best, plateau.wait = 1.25, 2
    checkpoint = Checkpoint(run, classifier, [plateau])
    checkpoint.set_model(trainer)
    checkpoint.on_epoch_end(0, {"val_loss": 1.5})
    (fresh,) = waiting_callbacks(TrainingConfig())
    fresh.set_model(trainer)
    fresh.on_train_begin()
    Checkpoint(run, classifier, [fresh]).on_train_begin()
    assert (fresh.best, fresh.wait) == (1.25, 2)


def test_half_a_checkpoint_is_not_one(tmp_path):
    run = create_run(tmp_path / "run", Config())
    (run.checkpoints / ".epoch-003").mkdir(parents=True)
    assert latest_checkpoint(run) is None


def test_the_newest_checkpoint(tmp_path):
    run = create_run(tmp_path / "run", Config())
    names = ["epoch-009-step-000007", "epoch-010", "epoch-010-step-000003",
             "epoch-999-step-000001", "epoch-1000"]  # fmt: skip
    for name in names:
        (run.checkpoints / name).mkdir(parents=True)
        assert latest_checkpoint(run).name == name


def test_a_checkpoint_without_steps_is_read(tmp_path):
    state = {"epoch": 2, "counters": [], "history": []}
    (tmp_path / "state.json").write_text(json.dumps(state))
    assert read_state(tmp_path) == {**state, "step": 0, "sums": []}


@pytest.mark.parametrize("content", [None, "", '{"epoch": 1', "[1]", '{"epoch": 1}'])
def test_a_damaged_state_is_said(tmp_path, content):
    if content is not None:
        (tmp_path / "state.json").write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        read_state(tmp_path)


def test_a_damaged_model_is_said(tmp_path):
    path = tmp_path / "last.keras"
    with pytest.raises(UserError, match="is damaged"):
        load_trainer(tmp_path)
    build()[1].save(path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for content in (
        b"",
        whole[:middle],
        whole[:middle] + bytes(1000) + whole[middle + 1000 :],
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            load_trainer(tmp_path)
