"""A small SavedModel in a model repository, made by hand."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from keras_mscam.serving.core import Core
from keras_mscam.serving.server_options import ServerOptions


class Toy(tf.Module):
    """Signatures of all kinds; numbers come back multiplied."""

    def __init__(self, factor):
        super().__init__()
        self.factor = tf.Variable(float(factor))

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32, name="x")])
    def multiply(self, x):
        size = tf.shape(x)[0]
        return {"y": self.factor * x, "batch": tf.fill([size], size)}

    @tf.function(
        input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")]
    )
    def measure(self, image_bytes):
        # A string that begins with "bad" makes the graph fail.
        bad = tf.strings.regex_full_match(image_bytes, "(?s)bad.*")
        with tf.control_dependencies(
            [tf.debugging.assert_equal(tf.reduce_any(bad), False, "It is bad.")]
        ):
            return {
                "size": tf.strings.length(image_bytes),
                "copy_bytes": tf.identity(image_bytes),
            }

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 2), tf.int32, name="a"),
            tf.TensorSpec((None, 2), tf.int32, name="b"),
        ]
    )
    def add(self, a, b):
        return {"sum": a + b}

    @tf.function(input_signature=[tf.TensorSpec((3,), tf.int64, name="x")])
    def total(self, x):
        return {"total": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32, name="counts")])
    def repeat(self, counts):
        # Rows that aren't those of the inputs, though the signature looks like it.
        return {"values": tf.repeat(tf.range(tf.size(counts)), counts)}


def write_version(folder, version, factor):
    """Write DIR/VERSION, or wherever `version` leads, and return the path."""
    toy = Toy(factor)
    signatures = {
        "serving_default": toy.multiply,
        "image": toy.measure,
        "add": toy.add,
        "total": toy.total,
        "repeat": toy.repeat,
    }
    path = Path(folder) / str(version)
    tf.saved_model.save(toy, str(path), signatures)
    return path


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """A folder in which a version is made once for each factor."""
    return tmp_path_factory.mktemp("toys")


@pytest.fixture(scope="session")
def make_version(toys):
    """Write folder/version, whose default signature gives factor * x.

    It comes as a whole, as an export does: under another name first.
    """

    def make(folder, version, factor):
        if not (toys / str(factor)).is_dir():
            write_version(toys, factor, factor)
        folder = Path(folder)
        shutil.copytree(toys / str(factor), folder / f".{version}")
        return (folder / f".{version}").rename(folder / str(version))

    return make


@pytest.fixture
def model_repository(tmp_path, make_version):
    """A repository with version 1 of the model "toy", which multiplies by 2."""
    make_version(tmp_path / "models" / "toy", 1, 2)
    return tmp_path / "models"


@pytest.fixture
def run_core(model_repository):
    """Run an asynchronous test with a core of the toy model, which is loaded."""

    def run_core(test, **options):
        async def main():
            core = Core(model_repository, ServerOptions(**options))
            await core.models.refresh()
            try:
                async with asyncio.timeout(60):
                    return await test(core)
            finally:
                core.executor.shutdown(wait=False)

        return asyncio.run(main())

    return run_core


@pytest.fixture(scope="session")
def start_command():
    """Run `keras_mscam-serve` in a process of its own; its addresses by protocol."""

    @contextmanager
    def start(models, *options, errors=subprocess.DEVNULL):
        process = subprocess.Popen(
            [
                sys.executable, "-m", "keras_mscam.cli.serve", str(models),
                "--rest-port", "0", "--grpc-port", "0", *options,
            ],
            stdout=subprocess.PIPE, stderr=errors, text=True,
            env=os.environ | {"KERAS_MSCAM_TOKEN": "secret"},
        )  # fmt: skip
        try:
            words = process.stdout.readline().split()
            urls = {word.partition(":")[0]: word for word in words if "://" in word}
            yield process, urls
        finally:
            process.kill()
            process.wait()

    return start


def hold_up(core):
    """Keep the thread of the graphs busy; return what lets it go on."""
    go_on = threading.Event()
    core.executor.submit(go_on.wait, 30)
    return go_on


def make_request(signature="", name="toy", **inputs):
    """Return a PredictRequest."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        is_proto = isinstance(value, tensor_pb2.TensorProto)
        request.inputs[key].CopyFrom(value if is_proto else tf.make_tensor_proto(value))
    return request


@pytest.fixture
def write_warmup():
    """Write warm-up requests into the folder of a version."""

    def write(export, requests):
        path = export / "assets.extra" / "tf_serving_warmup_requests"
        path.parent.mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for signature, inputs in requests:
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = signature
                for name, value in inputs.items():
                    proto = tf.make_tensor_proto(np.asarray(value))
                    request.inputs[name].CopyFrom(proto)
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.CopyFrom(request)
                writer.write(log.SerializeToString())

    return write
