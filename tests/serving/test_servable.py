"""One version, loaded: signatures, checks of inputs, warm-up.

Sentences "of TF Serving" are those of servables/tensorflow/predict_util.cc, of its test
and of cc/saved_model/util.cc of TensorFlow.
"""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_mscam.serving.errors import ServingError, from_tensorflow
from keras_mscam.serving.servable import Servable

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def toy(tmp_path, make_version):
    return Servable(make_version(tmp_path, 1, 2), 1)


def get_error(call, *arguments):
    with pytest.raises(ServingError) as error:
        call(*arguments)
    assert "\n" not in error.value.message
    return error.value.code, error.value.message


def ask(servable, signature, **inputs):
    return servable.run(signature, servable.check_inputs(signature, inputs))


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
    strings = make_strings(bytes(range(256)) + b"\0", b"", "ü")
    outputs = ask(toy, "image", image_bytes=strings)
    assert list(outputs["copy_bytes"]) == [bytes(range(256)) + b"\0", b"", b"\xc3\xbc"]
    assert list(outputs["size"]) == [257, 0, 2]
    assert outputs["size"].dtype == np.int32


def test_specs(toy):
    specs = toy.get_input_specs("")
    assert specs.keys() == {"x"}
    assert specs["x"].dtype == tf.float32
    assert specs["x"].shape.as_list() == [None, None]
    assert toy.get_input_specs("image")["image_bytes"].dtype.name == "string"


@pytest.mark.parametrize(
    ("signature", "expected"),
    [("", True), ("image", True), ("add", True), ("total", False), ("work", False)],
)
def test_which_signatures_take_batches(toy, signature, expected):
    assert toy.is_batchable(signature) == expected


def test_unknown_signature(toy):
    # TF Serving: FAILED_PRECONDITION over gRPC, INVALID_ARGUMENT over REST.
    code, message = get_error(toy.check_inputs, "other", {})
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert message == 'Serving signature key "other" not found.'
    code, message = get_error(toy.get_input_specs, "other")
    assert code == INVALID
    assert message == 'Serving signature name: "other" not found in signature def'


@pytest.mark.parametrize(
    ("names", "message"),
    [
        # Of TF Serving.
        (
            "",
            "input size does not match signature: 0!=2 len({}) != len({a,b}). Sent "
            "extra: {}. Missing but required: {a,b}.",
        ),
        (
            "abc",
            "input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). "
            "Sent extra: {c}. Missing but required: {}.",
        ),
        (
            "bd",
            "Signature input alias: a(feed name: add_a:0) not found in request and no "
            "default value provided. Inputs expected to be in the request {b,d}, or "
            "default input alias set: ",
        ),
    ],
)
def test_wrong_names_of_inputs(toy, names, message):
    inputs = {name: np.zeros((1, 2), np.int32) for name in names}
    assert get_error(toy.check_inputs, "add", inputs) == (INVALID, message)


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        # Of TF Serving: "Expects arg[0] to be float but bool is provided".
        ("", {"x": np.array([[True]])}, "Expects arg[0] to be float but bool is"),
        ("", {"x": make_strings(b"a")}, "to be float but string is provided"),
        ("image", {"image_bytes": np.zeros(1)}, "to be string but double is provided"),
        ("total", {"x": np.zeros(3, np.int32)}, "to be int64 but int32 is provided"),
        ("image", {"image_bytes": make_strings(1)}, "'image_bytes' holds something"),
        ("", {"x": np.zeros(3, np.float32)}, "'x' has shape [3], but its signature"),
        ("", {"x": np.zeros((), np.float32)}, "takes [?,?]"),
        ("total", {"x": np.zeros(4, np.int64)}, "has shape [4], but its signature"),
    ],
)
def test_wrong_inputs(toy, signature, inputs, message):
    code, sentence = get_error(toy.check_inputs, signature, inputs)
    assert code == INVALID
    assert message in sentence


def test_wrong_outputs(toy):
    toy.check_outputs("", ("y",))
    # Of TF Serving.
    assert get_error(toy.check_outputs, "", ("z",)) == (
        INVALID,
        "output tensor alias not found in signature: z Outputs expected to be in the "
        "set {batch,y}.",
    )
    assert get_error(toy.check_outputs, "", ("y", "y")) == (
        INVALID,
        "duplicate output tensor alias: y",
    )


def test_what_a_failed_graph_says(toy):
    inputs = {"image_bytes": make_strings(b"bad image")}
    code, message = get_error(toy.run, "image", inputs)
    assert code == INVALID
    assert "It is bad." in message
    assert "node" not in message


def test_default_inputs(tmp_path):
    """A signature may say what an input is that isn't sent."""
    path = tmp_path / "1"
    module = tf.Module()

    @tf.function(
        input_signature=[
            tf.TensorSpec((None,), tf.float32, name="x"),
            tf.TensorSpec((), tf.float32, name="scale"),
        ]
    )
    def multiply(x, scale):
        return {"y": x * scale}

    module.multiply = multiply
    tf.saved_model.save(module, str(path), {"serving_default": multiply})
    model = parse(path)
    signature = model.meta_graphs[0].signature_def["serving_default"]
    signature.defaults["scale"].CopyFrom(tf.make_tensor_proto(3.0))
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    servable = Servable(path, 1)
    x = np.array([1, 2], np.float32)
    np.testing.assert_array_equal(ask(servable, "", x=x)["y"], [3, 6])
    sent = ask(servable, "", x=x, scale=np.array(5, np.float32))
    np.testing.assert_array_equal(sent["y"], [5, 10])
    # Of TF Serving.
    code, message = get_error(servable.check_inputs, "", {"x": x, "other": x})
    assert code == INVALID
    assert message == (
        "Inputs contains invalid name. Used request inputs: x, request input: other,x"
    )


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
        (("other", {}), '"other" not found'),
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
        Servable(toy.path, 1)


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
    servable = Servable(tmp_path / "1", 1)
    assert not servable.is_batchable("")
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
    assert from_tensorflow(error).message == expected
    assert from_tensorflow(error).code == INVALID
