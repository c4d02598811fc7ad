"""One run on another backend, on several devices, and on several hosts.

All begin with the same weights and see the same batches, so all end with the same, but
for rounding, of which Adam's first steps make much where a gradient is nearly 0.
"""

import os
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pandas as pd
import pytest

from keras_mscam.configs.schema import Config, DataConfig, TrainingConfig
from keras_mscam.data.manifest import Manifest
from keras_mscam.errors import UserError
from keras_mscam.inference.run_folder import create_run, write_relevance_weights
from keras_mscam.modeling import build_classifier
from keras_mscam.training import machines, train_run
from keras_mscam.training.machines import (
    ALONE,
    LOST_STATUS,
    Group,
    Machines,
    find_address,
    find_index,
    join,
    open_run,
)

from ..conftest import find_free_port

#: Largest difference of any weight behind 10 steps of 1e-3.
TOLERANCE = 2e-4
# The command, where need be without what follows training; TensorFlow's processor is
# two devices.
COMMAND = """
import os, sys
from keras_mscam.cli import train
from keras_mscam.evaluation import evaluate_run
if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * 2
    )
if "--whole" in sys.argv:
    sys.argv.remove("--whole")
    evaluate_run._write_report = lambda *_: None
else:
    from keras_mscam.training import callbacks
    callbacks.tensorboard_callbacks = lambda *_: []
    evaluate_run.evaluate = lambda *_: None
train.main()
"""


def start(backend, *arguments, devices=1):
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            # Compiling takes most of the time; what it gains is nothing here.
            "XLA_FLAGS": "--xla_backend_optimization_level=0 "
            f"--xla_force_host_platform_device_count={devices}",
        },
    )


def finish(process, *statuses):
    output, errors = process.communicate(timeout=300)
    assert process.returncode in (statuses or (0,)), errors[-5000:]
    return output + errors


@pytest.fixture(scope="module")
def arguments(phantom_records, tmp_path_factory):
    """The command line of the run: 2 epochs of 5 steps, from weights of another."""
    keras.utils.set_random_seed(0)
    manifest = Manifest.read(phantom_records)
    first = create_run(tmp_path_factory.mktemp("start") / "run", Config())
    names = manifest.pathologies
    write_relevance_weights(first, names, (1, 2), np.full((2, len(names)), 0.5))
    build_classifier(
        len(names), (32, 48), "small_densenet", (1, 2),
        batch_norm_momentum=0.9,
    ).save(first.model_path)  # fmt: skip
    return [
        "--data", phantom_records, "--preset", "phantom", "--weights", first.path,
        "--blocks", 1, 2, "--image-size", 32, 48, "--batch-size", 16, "--epochs", 2,
        "--batch-norm-images", 16, "--checkpoint-steps", 1,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def on_jax(arguments, tmp_path_factory):
    """The whole run on JAX, calibrated and evaluated."""
    pytest.importorskip("jax")
    path = tmp_path_factory.mktemp("jax") / "run"
    finish(start("jax", *arguments, "--whole", "--output", path))
    return path


def assert_equal(one, other):
    models = [keras.saving.load_model(path / "model.keras") for path in (one, other)]
    worst = max(
        np.abs(a - b).max()
        for a, b in zip(*(model.get_weights() for model in models), strict=True)
    )
    assert worst < TOLERANCE
    one, other = (pd.read_csv(path / "history.csv") for path in (one, other))
    pd.testing.assert_frame_equal(one, other[one.columns], rtol=TOLERANCE)


@pytest.mark.slow
def test_two_devices_of_tensorflow_train_to_the_same(on_jax, arguments, tmp_path):
    arguments = [*arguments, "--output", tmp_path / "run", "--devices", "all"]
    finish(start("tensorflow", *arguments, "--gradient-checkpointing"))
    assert_equal(on_jax, tmp_path / "run")
    layers = keras.saving.load_model(tmp_path / "run" / "model.keras")._flatten_layers()
    # JAX could not read them otherwise.
    assert not any(getattr(layer, "synchronized", False) for layer in layers)


def start_hosts(*arguments):
    """Start two hosts, with two devices each; none of the batches is to be skipped."""
    hosts = f"127.0.0.1:{find_free_port()}", "127.0.0.1"
    arguments = [*arguments, "--devices", "all", "--skip-batches", 1]
    arguments += ["--hosts", *hosts, "--host-index"]
    return [start("jax", *arguments, index, devices=2) for index in (0, 1)]


@pytest.mark.slow
def test_two_hosts_one_of_them_killed_train_to_the_same(on_jax, arguments, tmp_path):
    path = tmp_path / "run"
    first, other = start_hosts(*arguments, "--output", path)
    while not list((path / "checkpoints").glob("epoch-000-step-*")):
        assert first.poll() is None
        time.sleep(0.05)
    other.send_signal(signal.SIGKILL)
    # In a step it sees the other one's end itself; where it waits, JAX ends it.
    said = finish(first, LOST_STATUS, -signal.SIGABRT)
    assert "error: Another host was lost, or the network to it. Start the same" in said
    assert "Traceback" not in said
    assert not (path / "history.csv").exists()
    for process in start_hosts("--output", path, "--resume"):
        finish(process)
    assert_equal(on_jax, path)


@pytest.mark.parametrize(
    ("machines", "sentence"),
    [
        ({"hosts": ("a", "b")}, "--hosts is for the JAX backend, and this is tensorfl"),
        ({"devices": 99}, "--devices is 99, but there are"),
    ],
)
def test_what_there_is_not_is_one_sentence(machines, sentence):
    with pytest.raises(UserError, match=sentence), join(Machines(**machines)):
        pytest.fail("nothing could be joined")


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (1, {"SLURM_PROCID": "0"}, 1),
        (None, {"SLURM_PROCID": "1"}, 1),
        (None, {"JOB_COMPLETION_INDEX": "0"}, 0),
        (2, {}, "--host-index is 2, but --hosts has 2, counted from 0"),
        (None, {"SLURM_PROCID": "5"}, "SLURM_PROCID is 5, but --hosts has 2"),
        (None, {"SLURM_PROCID": "x"}, "SLURM_PROCID is x, but"),
        (None, {}, "SLURM_PROCID or JOB_COMPLETION_INDEX is not set either"),
    ],
)
def test_the_place_of_a_host(given, environment, expected, monkeypatch):
    for name in ("SLURM_PROCID", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    machines = Machines(hosts=("a:1", "b"), host_index=given)
    if isinstance(expected, int):
        assert find_index(machines) == expected
    else:
        with pytest.raises(UserError, match=expected):
            find_index(machines)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("node1:9000", "node1:9000"), ("node1", "node1:8476"), ("[::1]:9", "[::1]:9"),
        ("10.0.0.1", "10.0.0.1:8476"), ("node1:", None), ("::1", None), ("", None),
        ("node 1", None), ("node1:99999", None), ("node1:0", None),
    ],
)  # fmt: skip
def test_the_address_of_the_first_host(hosts, expected):
    if expected is not None:
        assert find_address((hosts, "b")) == expected
    else:
        with pytest.raises(UserError, match="which is no HOST:PORT"):
            find_address((hosts, "b"))


def test_a_port_that_is_taken_is_one_sentence():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"its port {port} can't be used: Address"):
            machines._check_port(f"node1:{port}")
    machines._check_port(f"node1:{port}")


def test_a_mistake_of_the_first_host_ends_the_others(tmp_path):
    """Else they would take it for lost, and a scheduler would start all again."""
    shared = []

    def fail():
        raise UserError("The folder is not empty.")

    first = Group((0, 2), 2, share=lambda value: shared.append(value) or value)
    with pytest.raises(UserError, match="not empty"), open_run(first, tmp_path, fail):
        pytest.fail("there is no run")
    assert shared == [1]
    second = Group((1, 2), 2, share=lambda value: shared[0])
    with (
        pytest.raises(UserError, match="The first host can't begin"),
        open_run(second, tmp_path, fail),
    ):
        pytest.fail("there is no run")


def test_what_is_trained_waits_for_no_host(tmp_path, monkeypatch):
    """The others may have ended for good when the first one was lost, evaluating."""
    config = Config()
    run = create_run(tmp_path / "run", config)
    joined = []

    def join(machines):
        joined.append(machines)
        raise UserError("far enough")

    monkeypatch.setattr(train_run, "join", join)
    monkeypatch.setattr(train_run, "is_trained", lambda output, epochs: True)
    hosts = {"hosts": ("a:1", "b")}
    assert (
        train_run.train(config, run.path, True, Machines(**hosts, host_index=1)) is None
    )
    with pytest.raises(UserError, match="far enough"):
        train_run.train(config, run.path, True, Machines(**hosts, host_index=0))
    assert joined == [Machines()]


@pytest.mark.parametrize(
    ("training", "group", "sentence"),
    [
        ({"batch_size": 9}, {"devices": 2}, "2 devices can't share a batch of 9"),
        ({"head_epochs": 1}, {"devices": 2}, "--head-epochs trains on one device"),
        ({"skip_batches": 1}, {"devices": 2}, "--skip-batches is not for several dev"),
        ({"loss": "batch_balanced"}, {"devices": 2}, "--loss batch_balanced is not"),
        ({"precision": "mixed_float16"}, {"devices": 2}, "mixed_float16 is not for"),
        ({}, {"devices": 2, "host": (0, 2)}, "Several hosts read prepared records"),
    ],
)
def test_what_several_can_not_do_as_one_is_one_sentence(
    training, group, sentence, phantom_records, tmp_path
):
    data = {} if "host" in group else {"path": phantom_records}
    config = Config(DataConfig(**data), training=TrainingConfig(**training))
    run = create_run(tmp_path / "run", config)
    with pytest.raises(UserError, match=sentence):
        Group(**group).check(run)
    ALONE.check(run)


def test_other_hosts_work_in_a_copy(tmp_path, capsys):
    """The second of two hosts, which calls `share` at the same times as the first."""
    path = tmp_path / "run"
    shared = []

    def share(value):
        shared.append(value)
        if len(shared) == 1:  # the first one has made it
            create_run(path, Config())
            for name in ("checkpoints/epoch-001.npz", "records/manifest.json"):
                (path / name).parent.mkdir()
                (path / name).touch()
        return value

    second = Group((1, 2), 2, share=share)
    with open_run(second, path, lambda: pytest.fail("not of the first")) as copy:
        assert copy.path != path
        assert (copy.checkpoints / "epoch-001.npz").is_file()
        assert copy.records == path / "records"
        (copy.path / "history.csv").touch()
        print("of no use", file=sys.stderr)
    assert not (path / "history.csv").exists()
    assert not copy.path.exists()
    assert len(shared) == 2
    assert capsys.readouterr().err == ""
    unseen = open_run(Group((1, 2), 2), tmp_path / "nowhere", None)
    with pytest.raises(UserError, match=r"Host 1 does not see .*: give an"), unseen:
        pytest.fail("there is no run")
