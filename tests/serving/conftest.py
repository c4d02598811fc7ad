"""A small SavedModel in a model repository, made by hand."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2


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

    @tf.function(
        input_signature=[
            tf.TensorSpec((None,), tf.float32, name="x"),
            tf.TensorSpec((), tf.int32, name="rounds"),
        ]
    )
    def work(self, x, rounds):
        # Takes its time: 256 ** 3 products a round.
        matrix = tf.fill([256, 256], 1 / 256)
        value = tf.foldl(
            lambda value, _: matrix @ value, tf.range(rounds), initializer=matrix
        )
        return {"y": x * tf.reduce_mean(value) * 256}


def write_version(folder, version, factor):
    """Write DIR/VERSION, or wherever `version` leads, and return the path."""
    toy = Toy(factor)
    signatures = {
        "serving_default": toy.multiply,
        "image": toy.measure,
        "add": toy.add,
        "total": toy.total,
        "repeat": toy.repeat,
        "work": toy.work,
    }
    path = Path(folder) / str(version)
    tf.saved_model.save(toy, str(path), signatures)
    return path


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """A folder in which a version is made once for each factor."""
    return tmp_path_factory.mktemp("toys")


@pytest.fixture
def make_version(toys):
    """Write folder/version, whose default signature gives factor * x.

    It comes as a whole, as an export does: under another name first.
    """

    def make(folder, version, factor):
        if not (toys / str(factor)).is_dir():
            write_version(toys, factor, factor)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        copy_folder(toys / str(factor), folder / f".{version}")
        return (folder / f".{version}").rename(folder / str(version))

    return make


def copy_folder(source, target):
    """Copy files, one after the other."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


@pytest.fixture
def model_repository(tmp_path, make_version):
    """A repository with version 1 of the model "toy", which multiplies by 2."""
    make_version(tmp_path / "models" / "toy", 1, 2)
    return tmp_path / "models"


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
