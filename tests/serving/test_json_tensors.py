"""Cases "of TF Serving" are those of tensorflow_serving/util/json_tensor_test.cc."""

import base64
import json
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.serving.json_tensors import (
    MOST_ELEMENTS,
    parse_document,
    read_inputs,
    write_outputs,
)
from keras_mscam.serving.serving_error import ServingError


def read(text, **dtypes):
    body = text if isinstance(text, bytes) else text.encode()
    specs = {name: tf.TensorSpec(None, dtype) for name, dtype in dtypes.items()}
    inputs, _ = read_inputs(parse_document(body), specs)
    return inputs


def read_one(text, dtype):
    return read(text, x=dtype)["x"]


def refuse(text, **dtypes):
    with pytest.raises(ServingError) as raised:
        read(text, **dtypes)
    assert raised.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.message.endswith(".") and len(raised.value.message) < 400
    return raised.value.message


def test_rows_and_columns_of_the_only_input():
    # SingleUnnamedTensor and SingleUnnamedTensorColumnarFormat of TF Serving.
    rows = read_one('{"instances": [[1,2],[3,4],[5,6]]}', "int32")
    assert rows.dtype == np.int32 and rows.tolist() == [[1, 2], [3, 4], [5, 6]]
    for text in (
        '{"inputs": {"x": [[[1,2],[3,4],[5,6]]]}}',
        '{"inputs": [[[1,2],[3,4],[5,6]]]}',
        '{"instances": [{"x": [[1,2],[3,4],[5,6]]}]}',
        '\ufeff{"instances": [[[1,2],[3,4],[5,6]]]}',
    ):
        assert read_one(text, "int32").tolist() == [[[1, 2], [3, 4], [5, 6]]]


def test_whether_rows():
    specs = {"x": tf.TensorSpec(None, "int32")}
    assert read_inputs({"instances": [1]}, specs)[1] is True
    assert read_inputs({"inputs": [1]}, specs)[1] is False


def test_several_named_inputs():
    # MultipleNamedTensor of TF Serving.
    inputs = read(
        """{"instances": [
          {"int_tensor": [[1,2],[3,4]], "str_tensor": ["foo", "bar"], "dbl": [1.5]},
          {"int_tensor": [[7,8],[9,0]], "str_tensor": ["baz", "bat"], "dbl": [2]}]}""",
        int_tensor="int32",
        str_tensor="string",
        dbl="float64",
    )
    assert inputs["int_tensor"].tolist() == [[[1, 2], [3, 4]], [[7, 8], [9, 0]]]
    assert inputs["str_tensor"].tolist() == [[b"foo", b"bar"], [b"baz", b"bat"]]
    assert inputs["dbl"].tolist() == [[1.5], [2]]


def test_columns_may_differ_in_their_first_dimension():
    # MultipleNamedTensorColumnarFormat of TF Serving: an object of bytes is a scalar.
    inputs = read(
        '{"inputs": {"a": [[1],[2]], "b": ["foo"], "c": {"b64": "aGVsbG8="}, "no": 1}}',
        a="int64",
        b="string",
        c="string",
    )
    assert inputs["a"].shape == (2, 1) and inputs["b"].tolist() == [b"foo"]
    assert inputs["c"].shape == () and inputs["c"].item() == b"hello"


@pytest.mark.parametrize(
    "text",
    [
        '{"instances": [{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}]}',
        '{"instances": [{"x": {"b64": "aGVsbG8="}}, {"x": {"b64": "d29ybGQ="}}]}',
        '{"inputs": [{"b64": "aGVsbG8="}, "world"]}',
        # As abseil reads base64: white space is skipped, padding may be left out.
        '{"inputs": [{"b64": "aGVs\\nbG8"}, {"b64": " d29y bGQ= "}]}',
    ],
)
def test_bytes(text):
    # SingleUnnamedTensorBase64Scalars of TF Serving.
    assert read_one(text, "string").tolist() == [b"hello", b"world"]


def test_every_byte_survives():
    content = bytes(range(256)) * 3 + b"\0\0"
    text = json.dumps({"instances": [{"b64": base64.b64encode(content).decode()}]})
    # PHP writes each slash as \/.
    for body in (text, text.replace("/", "\\/")):
        assert read_one(body, "string").tolist() == [content]


def test_strings_are_utf8():
    text = '{"instances": ["\\u00e9", "é", "\\ud83e\\ude7b", "a\\u0000"]}'
    expected = [b"\xc3\xa9", b"\xc3\xa9", b"\xf0\x9f\xa9\xbb", b"a\0"]
    assert read_one(text, "string").tolist() == expected


def test_floats():
    # MixedInputForFloatTensor, ...PrecisionLoss and ...ExceedsMax of TF Serving.
    array = read_one(
        '{"instances": [1, 2.0, 3e0, 5.003, 1435774380, 1e300]}', "float32"
    )
    expected = np.array([1, 2, 3, 5.003, 1435774336, np.inf], np.float32)
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_integers_have_the_range_of_their_type(dtype):
    limits = np.iinfo(dtype)
    array = read_one(f'{{"instances": [{limits.min}, {limits.max}]}}', dtype)
    assert array.dtype == dtype and array.tolist() == [limits.min, limits.max]
    for number in (limits.min - 1, limits.max + 1):
        assert f"no {dtype} tensor" in refuse(f'{{"instances": [{number}]}}', x=dtype)


def test_bools_and_empty_lists():
    assert read_one('{"instances": [true, false]}', "bool").tolist() == [True, False]
    for dtype in ("int32", "float32", "string", "bool"):
        assert read_one('{"inputs": [[], []]}', dtype).shape == (2, 0)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ('"x"', "float32"), ('"1"', "float32"), ("null", "float32"),
        ("true", "float64"), ('{"b64": "AA=="}', "float32"), ("[1, true]", "float32"),
        ("1.0", "int32"), ("1e2", "uint8"), ("true", "int32"), ("1", "bool"),
        ("1", "string"), ("null", "string"), ("[[1,2],[3]]", "int32"),
        ("[1,[1]]", "int32"), ('[["a"],["b","c"]]', "string"),
        ('{"b64": 1}', "string"), ('{"b64": "AA==", "c": 1}', "string"),
        ("{}", "string"), ('{"b64": "A"}', "string"), ('{"b64": "A=A="}', "string"),
        ('{"b64": "A-_A"}', "string"), ('{"b64": "é"}', "string"),
        ("[" * 70 + "1" + "]" * 70, "int32"), ("[" * 70 + '"a"' + "]" * 70, "string"),
    ],
)  # fmt: skip
def test_types_are_not_converted(value, dtype):
    message = refuse(f'{{"inputs": {{"x": {value}}}}}', x=dtype)
    assert message.startswith(f"The input 'x' is no {dtype} tensor: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        (" \n", "not JSON"),
        ("instances = [1, 2]", "not JSON"),
        ('{"instances": [1,]}', "not JSON"),
        ('{"instances": [NaN]}', "not JSON"),
        ('{"instances": [1', "not JSON"),
        ('{"instances": [1e400]}', "not JSON"),
        ('{"instances": ["\\ud800"]}', "not JSON"),
        (b'{"instances": ["\xff\xfe"]}', "not JSON"),
        (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"signature_name": 5, "inputs": [1]}', "'signature_name' must be a string"),
        ('{"instances": [1], "inputs": [1]}', "either 'instances' or 'inputs'"),
        ("{}", "either 'instances' or 'inputs'"),
        ('{"instances": {"x": 1}}', "must be a list"),
        ('{"instances": []}', "at least one example"),
        ('{"instances": [{"y": 1}]}', "instances[0] must have the keys x"),
        ('{"instances": [{"x": 1, "y": 1}]}', "instances[0] must have the keys x"),
        ('{"instances": [{"x": 1}, [1]]}', "instances[1] must have the keys x"),
        ('{"inputs": {"y": 1}}', "'x' is missing"),
    ],
)
def test_wrong_requests(text, message):
    assert message in refuse(text, x="int32")


@pytest.mark.parametrize("text", ['{"instances": [1]}', '{"inputs": [1]}'])
def test_a_plain_list_for_several_inputs(text):
    assert "has 2 inputs (x, y)" in refuse(text, x="int8", y="int8")


def test_types_without_a_form_in_json():
    with pytest.raises(ServingError, match="bfloat16") as raised:
        read('{"instances": [1]}', x="bfloat16")
    assert raised.value.code == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("element", [b"1,", b"[],", b'"",', b"{},"])
def test_too_many_elements_take_neither_memory_nor_time(element):
    body = b'{"instances": [' + element * (MOST_ELEMENTS + 1) + b"1]}"
    start = time.perf_counter()
    assert "more than 5000000 elements" in refuse(body, x="float32")
    assert time.perf_counter() - start < 2


def test_a_long_text_among_many_is_refused_without_a_wide_array():
    # As text of NumPy, each of the 200,000 elements would take 4 MB.
    body = json.dumps({"instances": ["x" * 1_000_000, *[""] * 200_000]})
    assert "another type" in refuse(body, x="float32")


def test_random_bytes_are_refused_with_a_sentence():
    generator = np.random.default_rng(0)
    alphabet = np.frombuffer(b'{}[]",:\\0159.eE+-NaInfinityb64 \n\xff\0tru', np.uint8)
    for number in range(2000):
        letters = generator.integers(0, 256, generator.integers(1, 60), np.uint8)
        body = alphabet[letters % len(alphabet)].tobytes()
        bodies = (body, b'{"instances": ' + body + b"}", b'{"inputs": [' + body + b"]}")
        try:
            read(bodies[number % 3], x="string")
        except ServingError as error:
            assert error.code == grpc.StatusCode.INVALID_ARGUMENT
            assert error.message.endswith(".") and len(error.message) < 500


# Answers.


def write(rows=True, **outputs):
    return json.loads(write_outputs(outputs, rows))


def test_single_output_has_no_name():
    # FromJsonSingleTensor and FromJsonSingleScalarTensor of TF Serving.
    values = [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]]
    array = np.array(values, np.int32)
    assert write(True, int_tensor=array) == {"predictions": values}
    assert write(False, int_tensor=array) == {"outputs": values}
    assert write(True, x=np.array([1, 2], np.int32)) == {"predictions": [1, 2]}


def test_several_outputs():
    # FromJsonMultipleNamedTensors of TF Serving.
    strings = np.array([[b"hello", b"world"], [b"tf", b"serving"]], object)
    outputs = {
        "double_scalar_tensor": np.array([8.0, 9.0]),
        "float_tensor": np.array([[1.0], [2.0]], np.float32),
        "str_tensor": np.array([[b"foo", b"bar"], [b"baz", b"bat"]], object),
        "str_tensor_bytes": strings,
    }
    first = {
        "double_scalar_tensor": 8.0,
        "float_tensor": [1.0],
        "str_tensor": ["foo", "bar"],
        "str_tensor_bytes": [{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}],
    }
    second = {
        "double_scalar_tensor": 9.0,
        "float_tensor": [2.0],
        "str_tensor": ["baz", "bat"],
        "str_tensor_bytes": [{"b64": "dGY="}, {"b64": "c2VydmluZw=="}],
    }
    assert write(True, **outputs) == {"predictions": [first, second]}
    assert write(False, **outputs) == {
        "outputs": {name: [first[name], second[name]] for name in outputs}
    }


def test_numbers_read_back_as_they_were():
    bits = np.random.default_rng(0).integers(0, 2**32, 5000, np.uint32)
    floats = bits.view(np.float32)
    floats = floats[np.isfinite(floats)]
    answer = write(False, x=floats)["outputs"]
    assert np.array_equal(np.array(answer, np.float32), floats)
    assert max(len(repr(number)) for number in answer) < 20  # no digits of noise


def test_numbers_that_json_lacks():
    # FromJsonSingleFloatTensorNonFinite of TF Serving.
    values = np.array([[np.nan, np.inf], [3, -np.inf]], np.float32)
    text = write_outputs({"x": values, "s_bytes": np.array([b"a", b"b"], object)}, True)
    first, second = text.split(b"}, {")
    assert b"[NaN, Infinity]" in first and b"[3.0, -Infinity]" in second


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "uint64"])
def test_integers_of_every_type(dtype):
    limits = np.iinfo(dtype)
    array = np.array([limits.min, limits.max], dtype)
    assert write(True, x=array) == {"predictions": [limits.min, limits.max]}


def test_bools_strides_scalars_and_strings():
    assert write(x=np.array([True, False])) == {"predictions": [True, False]}
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert write(True, x=array.T) == {"predictions": array.T.tolist()}
    assert write(False, x=np.array(2.5, np.float32)) == {"outputs": 2.5}
    assert write(False, a_bytes=np.array(b"\0", object)) == {"outputs": {"b64": "AA=="}}
    array = np.array(['"é\n'.encode(), b"\xff", b"a\0"], object)
    # Bytes that are no UTF-8 can't stand in JSON.
    assert write(True, x=array) == {"predictions": ['"é\n', "\ufffd", "a\0"]}
    assert write(True, x_bytes=array)["predictions"][2] == {"b64": "YQA="}


@pytest.mark.parametrize("shape", [(0, 2), (0,), (0, 3, 4)])
def test_empty_batches(shape):
    # FromJsonSingleZeroBatchTensor and FromJsonMultipleZeroBatchTensors.
    array = np.zeros(shape, np.int32)
    assert write(True, x=array) == {"predictions": []}
    assert write(True, x=array, y=np.empty((0, 1), object)) == {"predictions": []}
    assert write(False, x=array) == {"outputs": []}


@pytest.mark.parametrize(
    ("rows", "outputs", "code"),
    [
        (False, {"x": np.zeros(2, np.complex64)}, "UNIMPLEMENTED"),
        (False, {"x": np.zeros(2, np.float16)}, "UNIMPLEMENTED"),
        (True, {"x": np.array(1, np.int32)}, "INVALID_ARGUMENT"),
        (True, {"x": np.zeros(2), "y": np.zeros(1)}, "INVALID_ARGUMENT"),
    ],
)
def test_outputs_that_cannot_be_written(rows, outputs, code):
    with pytest.raises(ServingError) as raised:
        write_outputs(outputs, rows)
    assert raised.value.code.name == code
