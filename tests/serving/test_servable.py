"""One version, loaded: signatures, checks of inputs, warm-up."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_mscam.serving.servable import Servable, explain_failure
from keras_mscam.serving.serving_error import ServingError

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def toy(tmp_path, make_version):
    return Servable(make_version(tmp_path, 1, 2))


def get_error(call, *arguments):
    with pytest.raises(ServingError) as error:
        call(*arguments)
    assert "\n" not in error.value.message
    return error.value.code, error.value.message


def ask(servable, signature, **inputs):
    function = servable.find_signature(signature)
    function.check(inputs, ())
    return function(inputs)


def parse(path):
    content = (path / "saved_model.pb").read_bytes()
    return saved_model_pb2.SavedModel.FromString(content)


def make_strings(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def test_signatures(toy):
    x = np.array([[1, 2], [3, 4]], np.float32)
    np.testing.assert_array_equal(ask(toy, "", x=x)["y"], [[2, 4], [6, 8]])
    outputs = ask(toy, "add", a=np.ones((1, 2), np.int32), b=np.ones((1, 2), np.int32))
    np.testing.assert_array_equal(outputs["sum"], [[2, 2]])
    # 1 + 2 + 3, without a batch.
    assert ask(toy, "total", x=np.array([1, 2, 3]))["total"] == 6


def test_strings_keep_every_byte(toy):
    strings = make_strings(bytes(range(256)) + b"\0", b"", "ü".encode())
    outputs = ask(toy, "image", image_bytes=strings)
    assert list(outputs["copy_bytes"]) == [bytes(range(256)) + b"\0", b"", b"\xc3\xbc"]
    assert list(outputs["size"]) == [257, 0, 2]
    assert outputs["size"].dtype == np.int32


def test_specs(toy):
    specs = toy.find_signature("").inputs
    assert specs.keys() == {"x"}
    assert specs["x"].dtype == tf.float32
    assert specs["x"].shape.as_list() == [None, None]
    assert toy.find_signature("image").inputs["image_bytes"].dtype == tf.string


@pytest.mark.parametrize(
    ("signature", "expected"),
    [("", True), ("image", True), ("add", True), ("total", False)],
)
def test_which_signatures_take_batches(toy, signature, expected):
    assert toy.find_signature(signature).is_batchable == expected


def test_unknown_signature(toy):
    code, message = get_error(toy.find_signature, "other")
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "no signature 'other', only add, image" in message


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("add", {}, "'add' takes the inputs a, b; the request has none"),
        ("total", {"x": np.zeros(3, np.int64), "y": np.zeros(3)}, "request has x, y"),
        ("", {"x": np.array([[True]])}, "'x' is of type bool, but must be of float32"),
        ("", {"x": make_strings(b"a")}, "'x' is of type string"),
        ("image", {"image_bytes": np.zeros(1)}, "must be of string"),
        ("total", {"x": np.zeros(3, np.int32)}, "is of type int32"),
        ("", {"x": np.zeros(3, np.float32)}, "has the shape [3], but its signature"),
        ("", {"x": np.zeros((), np.float32)}, "takes [None, None]"),
        ("total", {"x": np.zeros(4, np.int64)}, "has the shape [4], but its"),
    ],
)
def test_wrong_inputs(toy, signature, inputs, message):
    code, sentence = get_error(toy.find_signature(signature).check, inputs, ())
    assert code == INVALID
    assert message in sentence


@pytest.mark.parametrize("names", [["z"], ["y", "y"]])
def test_wrong_outputs(toy, names):
    inputs = {"x": np.zeros((1, 1), np.float32)}
    toy.find_signature("").check(inputs, ("y",))
    code, message = get_error(toy.find_signature("").check, inputs, names)
    assert code == INVALID and "has the outputs batch, y; the request asks" in message


def test_what_a_failed_graph_says(toy):
    inputs = {"image_bytes": make_strings(b"bad image")}
    code, message = get_error(toy.find_signature("image"), inputs)
    assert code == INVALID
    assert "It is bad." in message
    assert "node" not in message


def test_warm_up(toy, write_warmup):
    assert toy.warm_up() == 0
    write_warmup(
        toy.path,
        [("", {"x": np.ones((1, 2), np.float32)}), ("image", {"image_bytes": [b"a"]})],
    )
    assert toy.warm_up() == 2


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (("other", {}), "no signature 'other'"),
        (("image", {"image_bytes": [b"bad"]}), "It is bad"),
    ],
)
def test_a_warm_up_that_fails(toy, write_warmup, request_, message):
    write_warmup(toy.path, [request_])
    _, sentence = get_error(toy.warm_up)
    assert message in sentence


def test_warm_up_that_is_no_record(toy):
    path = toy.path / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    path.write_bytes(b"no TFRecord at all, but long enough for a header")
    with pytest.raises(tf.errors.DataLossError):
        toy.warm_up()


def test_a_folder_without_a_serving_graph(toy):
    model = parse(toy.path)
    del model.meta_graphs[0].meta_info_def.tags[:]
    (toy.path / "saved_model.pb").write_bytes(model.SerializeToString())
    with pytest.raises(RuntimeError, match="serve"):
        Servable(toy.path)


def test_a_graph_of_tensorflow_1(tmp_path):
    """Its variables are references, which functions of TensorFlow 2 can't return."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        step = v1.placeholder(tf.float32, (), name="step")
        counter = v1.get_variable("counter", initializer=1.0, use_resource=False)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(
            session, str(tmp_path / "1"), {"step": step}, {"sum": counter + step}
        )
    servable = Servable(tmp_path / "1")
    assert ask(servable, "", step=np.array(2, np.float32))["sum"] == 3


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "Graph execution error:\n\nDetected at node 'a/b' defined at (most recent "
            "call last):\n  File \"x.py\", line 8, in <module>\nNode: 'a/b'\nName: "
            "<unknown>, Feature: x is required.\n\t [[{{node a/b}}]]",
            "Name: <unknown>, Feature: x is required.",
        ),
        (
            "2 root error(s) found.\n {{function_node f}} It is bad.\n\t[[{{node a}}]]",
            "It is bad.",
        ),
        ("", "The graph failed."),
    ],
)
def test_one_line_of_an_error(said, expected):
    error = tf.errors.InvalidArgumentError(None, None, said)
    assert explain_failure(error).message == expected
    assert explain_failure(error).code == INVALID
