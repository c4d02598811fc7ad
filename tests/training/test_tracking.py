"""The scripts of experiments/tracking, with stand-ins for trackers and training."""

import contextlib
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import keras
import pytest

from keras_mscam.inference.run_folder import create_run, is_run, load_run

FOLDER = Path(__file__).parents[2] / "experiments" / "tracking"


@pytest.fixture
def runs(monkeypatch):
    """Put trackers in place that keep, by their number, what a run is told."""
    runs = {}

    @contextlib.contextmanager
    def open_run(known, config=None):
        number = known or f"number-{len(runs)}"
        tracked = runs.setdefault(number, {"config": {}, "epochs": {}, "files": []})
        tracked["config"] |= config or {}
        now.append(tracked)
        yield SimpleNamespace(id=number, info=SimpleNamespace(run_id=number))
        now.pop()

    now = []
    mlflow = ModuleType("mlflow")
    mlflow.set_tracking_uri = mlflow.set_experiment = str
    mlflow.start_run = lambda run_id, run_name: open_run(run_id)
    mlflow.log_params = lambda values: now[-1]["config"].update(values)
    mlflow.log_metrics = lambda logs, step: now[-1]["epochs"].update({step: logs})
    mlflow.log_artifact = lambda path: now[-1]["files"].append(path.name)

    class WandbMetricsLogger(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            now[-1]["epochs"][epoch + 1] = logs

    wandb = ModuleType("wandb")
    wandb.init = lambda project, name, config, id, resume: open_run(id, config)
    of_keras = ModuleType("wandb.integration.keras")
    of_keras.WandbMetricsLogger = WandbMetricsLogger
    for module in (mlflow, wandb, ModuleType("wandb.integration"), of_keras):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return runs


@pytest.fixture
def train(monkeypatch):
    """Train nothing: tell callbacks of the epochs that are left."""

    def train(config, output, resume, callbacks):
        run = load_run(output) if resume else create_run(output, config)
        done = len(json.loads(run.metrics_path.read_text())) if resume else 0
        losses = [{"loss": 1 / (epoch + 1)} for epoch in range(config.training.epochs)]
        keras.callbacks.CallbackList(callbacks).on_train_begin()
        for epoch in range(done, config.training.epochs):
            for callback in callbacks:
                callback.on_epoch_end(epoch, losses[epoch])
        run.metrics_path.write_text(json.dumps(losses))
        return run

    monkeypatch.setattr("keras_mscam.training.train_run.train", train)


@pytest.mark.parametrize("name", ["train_with_mlflow", "train_with_wandb"])
@pytest.mark.usefixtures("train")
def test_a_resumed_run_goes_on_in_the_same_one(name, runs, tmp_path, monkeypatch):
    output = str(tmp_path / "run")
    for options in (("--epochs", "2"), ("--resume", "--epochs", "3")):
        monkeypatch.setattr(sys, "argv", [name, "--output", output, *options])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert is_run(output)
    assert list(runs) == ["number-0"]
    assert runs["number-0"]["epochs"] == {
        1: {"loss": 1}, 2: {"loss": 1 / 2}, 3: {"loss": 1 / 3},
    }  # fmt: skip
    config = runs["number-0"]["config"]
    training = config.get("training", {})
    assert (config.get("training.epochs") or training["epochs"]) in (2, 3)
    monkeypatch.setattr(sys, "argv", [name, "--output", output + "-2", "--epochs", "1"])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert list(runs) == ["number-0", "number-1"]
