"""The command at toy size, as a person would run it.

Networks end at block 2: most of a short training's time goes into tracing its layers.
"""

import dataclasses
import errno
import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from tensorflow.python.framework.config import disable_op_determinism

from keras_mscam import errors
from keras_mscam.cli.train import main
from keras_mscam.configs import PRESETS
from keras_mscam.configs.schema import merge_config
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import read_examples
from keras_mscam.data.preparation import prepare
from keras_mscam.errors import UserError
from keras_mscam.evaluation.evaluate_run import evaluate
from keras_mscam.files import hold_lock
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import create_run, load_run
from keras_mscam.modeling.classifier import read_relevance_weights
from keras_mscam.training.checkpoint import load_newest
from keras_mscam.training.fit import compile_trainer
from keras_mscam.training.resuming import resume_run
from keras_mscam.training.train_run import prepare_data, train, train_classifier


def toy(records=None, preset="planted", **training):
    training = {"epochs": 2, "batch_size": 16, **training}
    data = {"phantoms": 60, "image_size": [64, 96]}
    if records is not None:
        data["path"] = str(records)
    changes = {"data": data, "model": {"blocks": [1, 2]}, "training": training}
    return merge_config(PRESETS[preset], changes, "the test")


@pytest.fixture
def no_report(monkeypatch):
    """Leave out the pictures, which take a third of the time of a short training."""
    monkeypatch.setattr(
        "keras_mscam.evaluation.evaluate_run._write_report", lambda *_: None
    )


class Tracker(keras.callbacks.Callback):
    """In the place of a tracker of experiments: writes down what it is told."""

    def __init__(self):
        super().__init__()
        self.epochs, self.ended = {}, 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs[epoch] = dict(logs)

    def on_train_end(self, logs=None):
        self.ended += 1


@pytest.fixture(scope="module")
def tracker():
    return Tracker()


@pytest.fixture(scope="module")
def run(tmp_path_factory, phantom_records, tracker):
    path = tmp_path_factory.mktemp("runs") / "toy"
    config = toy(phantom_records, deterministic=True)
    try:
        return train(config, path, callbacks=[tracker])
    finally:
        disable_op_determinism()


@pytest.fixture
def not_for_long():
    """TensorFlow keeps `--deterministic` for all of the process."""
    yield
    disable_op_determinism()


def test_a_run_folder_is_complete(run):
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        ".lock",
        "config.json", "model.keras", "history.csv", "beta.csv", "metrics.json",
        "relevance_weights.csv", "report.html", "checkpoints", "tensorboard",
        "calibration.json", "predictions", "localization.csv", "classification.csv",
    }  # fmt: skip
    config = json.loads(run.config_path.read_text())
    assert config["training"]["epochs"] == 2
    assert config["environment"]["versions"]["keras"] == keras.__version__


def test_a_full_disk_is_one_sentence_with_the_way_on(run, monkeypatch, capsys):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "x.keras")

    monkeypatch.setattr("keras_mscam.cli.train.train", fail)
    for output, then in [
        (run.path, f" Then keras_mscam-train --output {run.path} --resume goes on."),
        (run.path / "new", ""),
    ]:
        monkeypatch.setattr(sys, "argv", ["x", "--output", str(output)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        assert capsys.readouterr().err == (
            f"error: x.keras can't be written: the disk is full; make room.{then}\n"
        )


def test_tables_of_a_run(run):
    beta = pd.read_csv(run.beta_path).set_index("pathology")["beta"]
    assert beta.between(0, 1).all()
    weights = pd.read_csv(run.relevance_weights_path).set_index("pathology")
    assert list(weights.columns) == ["block1", "block2"]
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert list(weights.index) == list(beta.index)


def test_metrics_have_the_promised_form(run):
    metrics = json.loads(run.metrics_path.read_text())
    assert list(metrics["classification"]) == metrics["pathologies"]
    for row in metrics["classification"].values():
        value = row["auroc"]["value"]
        assert value is None or 0 <= value <= 1
    for tables in metrics["localization"].values():
        for threshold in ("0.1", "0.7"):
            assert list(tables["iou"][threshold]) == metrics["boxed"]
    assert {len(w) for w in metrics["relevance_weights"].values()} == {2}
    assert set(metrics["localization"]) == {
        "attention", "block1", "block2", "random_map", "mean_box",
    }  # fmt: skip
    assert "60 and 180" in metrics["protocol"]["text"]


def test_the_report_stands_alone(run):
    html = run.report_path.read_text()
    # Nothing is fetched: every source is embedded, and no address is linked.
    assert not re.search(r'(src|href)="(?!data:)', html)
    assert html.count("data:image/") >= 4
    assert "not a medical device" in html.lower()


def test_a_tracker_is_told_what_the_history_holds(run, tracker):
    history = pd.read_csv(run.path / "history.csv").set_index("epoch")
    assert (list(tracker.epochs), tracker.ended) == ([0, 1], 1)
    for name in ("loss", "val_loss"):
        told = [logs[name] for logs in tracker.epochs.values()]
        assert told == pytest.approx(history[name].to_list(), rel=1e-5)


def test_relevance_weights_are_those_of_the_model_that_is_kept(
    phantom_records, tmp_path, monkeypatch
):
    # The first of two epochs is the better one, whatever the losses are.
    losses = iter([1.0, 2.0])
    monkeypatch.setattr(
        "keras_mscam.training.callbacks.ScaledValidation.on_epoch_end",
        lambda self, epoch, logs: logs.update(val_loss=next(losses)),
    )
    run = create_run(tmp_path / "run", toy(phantom_records))
    train_classifier(run)
    found = pd.read_csv(run.relevance_weights_path, index_col=0).to_numpy()
    _, kept = read_relevance_weights(load_classifier(run))
    np.testing.assert_allclose(found, kept.T, atol=1e-6)


def test_early_stopping_ends_a_run_for_good(phantom_records, tmp_path, monkeypatch):
    losses = iter([1.0, 2.0, 3.0])
    monkeypatch.setattr(
        "keras_mscam.training.callbacks.ScaledValidation.on_epoch_end",
        lambda self, epoch, logs: logs.update(val_loss=next(losses)),
    )
    config = toy(phantom_records, epochs=3, early_stopping=1)
    run = create_run(tmp_path / "run", config)
    train_classifier(run)
    assert len(pd.read_csv(run.history_path)) == 2
    with pytest.warns(UserWarning, match="has ended this run after 2 epochs"):
        train_classifier(load_run(run.path))
    assert len(pd.read_csv(run.history_path)) == 2


def test_evaluating_again_gives_the_same(run):
    before = run.metrics_path.read_text()
    evaluate(run.path, report=False, progress=False)
    assert run.metrics_path.read_text() == before


def test_another_split_elsewhere(run, undrawn, tmp_path):
    before = run.metrics_path.read_text()
    metrics = evaluate(
        run.path, split="validation", output=tmp_path, progress=False
    ).metrics
    assert metrics["split"] == "validation"
    # The paper's rule leaves no box outside the test split.
    assert metrics["boxed"] == []
    assert metrics["localization"]["attention"]["iou"]["0.3"] == {}
    assert (tmp_path / "report.html").is_file()
    assert run.metrics_path.read_text() == before


def test_a_split_without_an_image_is_refused(run, phantom_records, tmp_path):
    xrays, records = phantom_records.with_name("xrays"), tmp_path / "records"
    prepare(xrays, records, split="test", image_size=(64, 96), progress=False)
    with pytest.raises(UserError, match=r"The split 'train' of .* has no images\."):
        evaluate(run.path, data=records, split="train", output=tmp_path / "out")


def test_records_of_other_pathologies_are_refused(run, make_patients, tmp_path):
    """Records without the model's pathologies are refused, whatever their size."""
    records = tmp_path / "records"
    prepare(make_patients(), records, image_size=(40, 30), progress=False)
    with pytest.raises(UserError, match=r"records say nothing of Atelectasis, Card"):
        evaluate(run.path, data=records, output=tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        pytest.param(None, (64, 96), marks=pytest.mark.slow),
        ((80, 100), (64, 96)),
        ((48, 100), (48, 100)),
    ],
)
@pytest.mark.filterwarnings("ignore:The AUROC of")
def test_sizes_to_see_and_to_store(make_patients, no_report, tmp_path, stored, seen):
    """Stored larger, or each at its own size, they are resized; never enlarged."""
    records = tmp_path / "records"
    prepare(make_patients(size=(90, 110)), records, image_size=stored, progress=False)
    config = merge_config(
        toy(records, epochs=1, batch_size=8),
        {"augmentation": {"rotation": 5.0}, "data": {"cache": "disk"}},
        "the test",
    )
    run = train(config, tmp_path / "run")
    classifier = keras.saving.load_model(run.model_path)
    assert classifier.input.shape[1:3] == seen
    assert load_run(run.path).config.data.image_size == seen
    assert run.metrics_path.is_file()


def test_a_batch_larger_than_the_split(phantom_records, tmp_path):
    with pytest.raises(UserError, match="smaller --batch-size"):
        train(toy(phantom_records, batch_size=500), tmp_path / "run")


def test_a_max_value_is_for_images(phantom_records, make_patients, tmp_path):
    for path in (phantom_records, make_patients()):
        changes = {"data": {"path": str(path), "max_value": 2}}
        config = merge_config(toy(), changes, "the test")
        run = create_run(tmp_path / f"run-{path.name}", config)
        if path == phantom_records:
            with pytest.raises(UserError, match="holds prepared records: give it to"):
                prepare_data(run)
        else:
            # All that is odd about an image is said here too, as in preparing.
            with pytest.warns(UserWarning, match="with the warning"):
                prepare_data(run)
            assert Manifest.read(run.records).max_value == 2


def test_a_mistake_leaves_no_run_behind(phantom_records, tmp_path):
    for config in (toy(tmp_path / "nowhere"), toy(phantom_records, batch_size=500)):
        with pytest.raises(UserError):
            train(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:The AUROC of")
def test_real_images(shared, no_report, tmp_path):
    config = merge_config(
        PRESETS["phantom"],
        {
            "data": {
                "path": str(shared / "chestxray14-sample"), "image_size": [64, 64],
            },
            "model": {"blocks": [1, 2]},
            "training": {"epochs": 1, "batch_size": 84},
        },
        "the test",
    )  # fmt: skip
    run = train(config, tmp_path / "run")
    metrics = json.loads(run.metrics_path.read_text())
    assert len(metrics["classification"]) == 14
    rows = metrics["localization"]["attention"]["iou"]["0.3"]
    assert sum(row["boxes"] for row in rows.values()) == 6


OPTIONS = (
    "--preset",
    "planted",
    "--batch-size",
    16,
    "--image-size",
    64,
    96,
    "--blocks",
    1,
    2,
)


@pytest.fixture
def command(monkeypatch):
    """Run the command in this process; return its exit status."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["keras_mscam-train", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            return end.code
        return 0

    return run


@pytest.fixture
def signal_after():
    """Send this process a signal as soon as a file is there, while the test runs."""
    over, threads = threading.Event(), []

    def signal_after(pattern, path, number):
        def watch():
            while not over.wait(0.02):
                if list(path.glob(pattern)):
                    os.kill(os.getpid(), number)
                    return

        threads.append(threading.Thread(target=watch))
        threads[-1].start()

    yield signal_after
    over.set()
    for thread in threads:
        thread.join()


def test_interrupted(signal_after, phantom_records, command, tmp_path, capsys):
    path = tmp_path / "run"
    signal_after("checkpoints/epoch-*", path, signal.SIGINT)
    arguments = ("--data", phantom_records, "--output", path, "--epochs", 500)
    assert command(*arguments, *OPTIONS) == 130
    output = capsys.readouterr().err
    assert "--resume" in output
    assert "Traceback" not in output
    assert (path / "model.keras").is_file()
    epochs = list(pd.read_csv(path / "history.csv")["epoch"])
    assert epochs == [*range(1, len(epochs) + 1)]


def test_terminated_while_it_draws(signal_after, command, tmp_path, capsys):
    path = tmp_path / "run"
    signal_after(".phantom*/images/*", path, signal.SIGTERM)
    arguments = ("--phantoms", 400, "--output", path)
    options = OPTIONS[2:]  # without the preset, which is for X-rays
    assert command(*arguments, *options) == 128 + signal.SIGTERM
    output = capsys.readouterr().err
    assert output.splitlines()[-1] == (
        "Stopped while its images were prepared. Go on: keras_mscam-train --output "
        f"{path} --resume"
    )
    assert "Traceback" not in output
    assert {p.name for p in path.iterdir()} == {"config.json", ".lock"}


@pytest.mark.slow
def test_killed_within_an_epoch_then_terminated_then_resumed(
    signal_after, run, phantom_records, command, not_for_long, undrawn, tmp_path, capsys
):
    path = tmp_path / "run"
    arguments = ("--data", phantom_records, "--output", path, "--epochs", 2, *OPTIONS)
    # Checkpoints after every step: a kill can hit one that is being written, too.
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_mscam.cli.train", *map(str, arguments),
         "--deterministic", "--checkpoint-steps", "1"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.time() + 120
    while not list(path.glob("checkpoints/epoch-000-step-*")):
        assert process.poll() is None
        assert time.time() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (path / "history.csv").exists()
    signal_after("checkpoints/epoch-001-step-*", path, signal.SIGTERM)
    assert command("--output", path, "--resume") == 128 + signal.SIGTERM
    output = capsys.readouterr().err
    found = re.search(r"Stopped after 1 of 2 epochs and (\d+) steps of the", output)
    assert int(found[1]) >= 1
    newest = max(path.glob("checkpoints/epoch-*"))
    newest.write_bytes(newest.read_bytes()[:-1000])
    assert command("--output", path, "--resume") == 0
    assert f"{newest} is damaged" in capsys.readouterr().err
    # In other processes, and in parts: the same to the last bit.
    for name in ("history.csv", "relevance_weights.csv", "metrics.json"):
        assert (run.path / name).read_bytes() == (path / name).read_bytes()
    models = [keras.saving.load_model(p / "model.keras") for p in (run.path, path)]
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (path / "report.html").is_file()


def test_a_loss_that_is_not_finite_names_images(phantom_records, tmp_path):
    config = toy(phantom_records, "phantom", learning_rate=1e30)
    with pytest.raises(UserError, match="in batch 2 of the split train") as error:
        train(config, tmp_path / "run")
    named = re.findall(r"\d{8}_\d{3}\.png", str(error.value))
    names = {example.name for example in read_examples(phantom_records, "train")}
    assert len(set(named)) == 16 and set(named) <= names
    assert not (tmp_path / "run" / "model.keras").exists()


def test_more_epochs_by_resuming(run, phantom_records, no_report, tmp_path):
    with pytest.raises(UserError, match="ends with its 2 epochs: --epochs can't"):
        train(toy(phantom_records, epochs=3), run.path, resume=True)
    paper = {"records": phantom_records, "preset": "phantom"}
    run = train(toy(**paper, epochs=1), tmp_path / "run")
    with pytest.raises(UserError, match="only --epochs"):
        train(toy(**paper, epochs=2, learning_rate=1.0), run.path, resume=True)
    tracker = Tracker()
    train(toy(**paper, epochs=2), run.path, resume=True, callbacks=[tracker])
    assert list(tracker.epochs) == [1]  # it was told of 0 before
    assert list(pd.read_csv(run.history_path)["epoch"]) == [1, 2]
    assert load_run(run.path).config.training.epochs == 2
    with pytest.raises(UserError, match="has 2 epochs already: --epochs can only"):
        train(toy(**paper, epochs=1), run.path, resume=True)
    assert load_run(run.path).config.training.epochs == 2


def test_what_the_weights_said_is_as_it_was_begun(run, phantom_records, tmp_path):
    """A run takes the normalization of its weights; who resumes it need not know."""
    config = toy(phantom_records)
    model = dataclasses.replace(config.model, normalization="imagenet")
    create_run(tmp_path / "run", dataclasses.replace(config, model=model))
    resumed = resume_run(config, tmp_path / "run")
    assert resumed.config.model.normalization == "imagenet"


def test_a_model_without_a_checkpoint_is_not_trained_anew(
    run, phantom_records, tmp_path
):
    other = create_run(tmp_path / "converted", toy(phantom_records))
    shutil.copy(run.model_path, other.path)
    with pytest.raises(UserError, match=r"no checkpoint to go on from: .*--weights"):
        train(toy(phantom_records), other.path, resume=True)
    assert filecmp.cmp(run.model_path, other.model_path, shallow=False)


def test_two_processes_do_not_train_one_run(phantom_records, tmp_path):
    begun = create_run(tmp_path / "run", toy(phantom_records))
    busy = pytest.raises(UserError, match="Another process is training in")
    with hold_lock(begun.lock_path, "at it"), busy:
        train(toy(phantom_records, checkpoint_minutes=1), begun.path, resume=True)
    assert load_run(begun.path).config == begun.config


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--seed", "-1"], "seed: input should be greater than or equal to 0"),
        (["--blocks", "4", "2"], "blocks: must be rising numbers out of 1, 2, 3, 4"),
        (["--weights", "missing.h5"], "There is no weights file, and no folder of a"),
        (["--balanced-sampling", "--cache", "none"], "needs --cache memory or disk"),
        (["--host-index", "1"], "--host-index is the place among --hosts"),
        (["--schedule", "plateau", "--warmup-epochs", "1"], "needs --schedule cosine"),
    ],
)
def test_mistakes_are_said_before_anything_is_drawn(
    command, tmp_path, capsys, options, sentence
):
    assert command(*options, "--output", tmp_path / "run") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_its_records_in_every_working_directory(
    phantom_records, tmp_path, monkeypatch
):
    monkeypatch.chdir(phantom_records.parent)
    run = create_run(tmp_path / "run", toy(phantom_records.name))
    monkeypatch.chdir(tmp_path)
    assert run.records == load_run("run").records == phantom_records.absolute()
    monkeypatch.chdir(phantom_records.parent)
    again = resume_run(toy(phantom_records.name), tmp_path / "run")
    assert again.config == run.config


def test_a_mistake_is_one_sentence(command, tmp_path, capsys):
    assert command("--data", tmp_path / "nowhere", "--output", tmp_path / "run") == 2
    output = capsys.readouterr().err
    assert output.splitlines()[-1].startswith("error: ")
    assert "nowhere is not a folder" in output.splitlines()[-1]
    assert "Traceback" not in output


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.filterwarnings("ignore:The AUROC of")
def test_draws_its_own_set(undrawn, tmp_path):
    run = train(toy(epochs=1), tmp_path / "run")
    assert (run.path / "phantom" / "Data_Entry_2017.csv").is_file()
    assert (run.path / "records" / "manifest.json").is_file()
    assert run.report_path.is_file()


def write_table(folder, splits):
    """Write images and a labels.csv: rows of (split, label), two images a patient."""
    folder.mkdir(parents=True)
    lines = ["path,patient,split,Mass"]
    for number, (split, label) in enumerate(splits):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
        lines.append(f"{number}.png,{number // 2},{split},{label}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return prepare_table(folder)


def prepare_table(folder):
    records = folder.with_name("records")
    prepare(folder, records, split="csv", image_size=(32, 32), progress=False)
    return records


def test_a_validation_that_knows_nothing_chooses_nothing(no_report, tmp_path, capsys):
    splits = [("train", k % 2) for k in range(16)]
    splits += [("validation", "")] * 4 + [("test", k % 2) for k in range(4)]
    records = write_table(tmp_path / "xrays", splits)
    impatient = {
        "early_stopping": 1, "schedule": "plateau", "warmup_epochs": 0,
        "plateau_patience": 1,
    }  # fmt: skip
    config = toy(records, epochs=4, batch_size=8, **impatient)
    errors.command(train)(config, tmp_path / "run")
    run = load_run(tmp_path / "run")
    said = capsys.readouterr().err
    assert said.count("No label of the validation split is known: its loss") == 1
    # Evaluation finds that too, and a command says it once.
    assert said.count("The validation split has no known label of Mass") == 1
    history = pd.read_csv(run.history_path)
    # No epoch is the best, none stops it, and the learning rate stays.
    assert len(history) == 4 and history["val_loss"].isna().all()
    kept = load_classifier(run)
    before = kept.get_weights()
    trainer = compile_trainer(kept, (0.5,), config.training)
    load_newest(run, trainer)
    rate = keras.ops.convert_to_numpy(trainer.optimizer.learning_rate)
    assert rate == pytest.approx(config.training.learning_rate)
    for one, other in zip(before, kept.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    metrics = json.loads(run.metrics_path.read_text())
    assert any("The validation split has no known" in s for s in metrics["warnings"])
    assert any("no ground-truth box: loc" in s for s in metrics["warnings"])
    assert metrics["classification"]["Mass"]["operating_point"][
        "probability_threshold"
    ] is None  # fmt: skip
