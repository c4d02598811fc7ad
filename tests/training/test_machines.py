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

from keras_mscam.configs.schema import Config
from keras_mscam.data.manifest import Manifest
from keras_mscam.inference.run_folder import create_run, write_relevance_weights
from keras_mscam.modeling import build_classifier
from keras_mscam.training.machines import LOST_STATUS

#: Largest difference of any weight behind 10 steps of 1e-3.
TOLERANCE = 2e-4
# The command, where need be without what follows training; TensorFlow's processor is
# two devices.
COMMAND = """
import os, sys
from keras_mscam.cli import train
from keras_mscam.evaluation import calibration, evaluate_run
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
    calibration.calibrate_run = evaluate_run.evaluate = lambda *_: None
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


def finish(process, status=0):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors[-5000:]
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
    pd.testing.assert_frame_equal(one, other, rtol=TOLERANCE)


def test_two_devices_of_tensorflow_train_to_the_same(on_jax, arguments, tmp_path):
    arguments = [*arguments, "--output", tmp_path / "run", "--devices", "all"]
    finish(start("tensorflow", *arguments))
    assert_equal(on_jax, tmp_path / "run")
    layers = keras.saving.load_model(tmp_path / "run" / "model.keras")._flatten_layers()
    # JAX could not read them otherwise.
    assert not any(getattr(layer, "synchronized", False) for layer in layers)


def find_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start_hosts(*arguments):
    """Start two hosts, with two devices each."""
    hosts = f"127.0.0.1:{find_port()}", "127.0.0.1"
    arguments = [*arguments, "--devices", "all", "--hosts", *hosts, "--host-index"]
    return [start("jax", *arguments, index, devices=2) for index in (0, 1)]


def test_two_hosts_one_of_them_killed_train_to_the_same(on_jax, arguments, tmp_path):
    path = tmp_path / "run"
    first, other = start_hosts(*arguments, "--output", path)
    while not list((path / "checkpoints").glob("epoch-000-step-*")):
        assert first.poll() is None
        time.sleep(0.05)
    other.send_signal(signal.SIGKILL)
    said = finish(first, LOST_STATUS)
    assert "error: Another host was lost, or the network to it. Start the same" in said
    assert "Traceback" not in said
    assert not (path / "history.csv").exists()
    for process in start_hosts("--output", path, "--resume"):
        finish(process)
    assert_equal(on_jax, path)
