"""Cases "of TF Serving" are those of tensorflow_serving/util/json_tensor_test.cc."""

import base64
import json
import time
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from keras_mscam.serving import json_parsing
from keras_mscam.serving.errors import ServingError
from keras_mscam.serving.json_parsing import parse_object
from keras_mscam.serving.json_tensors import (
    read_inputs,
    read_signature_name,
    write_outputs,
)


def make_specs(**dtypes):
    return {
        name: SimpleNamespace(dtype=SimpleNamespace(name=dtype))
        for name, dtype in dtypes.items()
    }


def read(text, **dtypes):
    body = text if isinstance(text, bytes) else text.encode()
    inputs, _ = read_inputs(parse_object(body), make_specs(**dtypes))
    return inputs


def read_one(text, dtype):
    return read(text, x=dtype)["x"]


def refuse(text, **dtypes):
    with pytest.raises(ServingError) as raised:
        read(text, **dtypes)
    assert raised.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert len(raised.value.message) < 400
    return raised.value.message


def test_rows_and_columns_of_the_only_input():
    # SingleUnnamedTensor and SingleUnnamedTensorColumnarFormat of TF Serving.
    rows = read_one('{"instances": [[1,2],[3,4],[5,6]]}', "int32")
    assert rows.dtype == np.int32 and rows.tolist() == [[1, 2], [3, 4], [5, 6]]
    for text in (
        '{"inputs": {"x": [[[1,2],[3,4],[5,6]]]}}',
        '{"inputs": [[[1,2],[3,4],[5,6]]]}',
        '{"instances": [{"x": [[1,2],[3,4],[5,6]]}]}',
    ):
        assert read_one(text, "int32").tolist() == [[[1, 2], [3, 4], [5, 6]]]


def test_whether_rows():
    specs = make_specs(x="int32")
    assert read_inputs(parse_object(b'{"instances": [1]}'), specs)[1] is True
    assert read_inputs(parse_object(b'{"inputs": [1]}'), specs)[1] is False


def test_several_named_inputs():
    # MultipleNamedTensor of TF Serving.
    inputs = read(
        """{"instances": [
          {"int_tensor": [[1,2],[3,4],[5,6]], "str_tensor": ["foo", "bar"],
           "float_tensor": [1.0, NaN], "dbl_tensor": [NaN]},
          {"int_tensor": [[7,8],[9,0],[1,2]], "str_tensor": ["baz", "bat"],
           "float_tensor": [2.0, Infinity], "dbl_tensor": [-Infinity]}]}""",
        int_tensor="int32",
        str_tensor="string",
        float_tensor="float32",
        dbl_tensor="float64",
    )
    assert inputs["int_tensor"].tolist() == [
        [[1, 2], [3, 4], [5, 6]],
        [[7, 8], [9, 0], [1, 2]],
    ]
    assert inputs["str_tensor"].tolist() == [[b"foo", b"bar"], [b"baz", b"bat"]]
    expected = np.array([[1, np.nan], [2, np.inf]], np.float32)
    np.testing.assert_array_equal(inputs["float_tensor"], expected)
    assert inputs["float_tensor"].dtype == np.float32
    np.testing.assert_array_equal(inputs["dbl_tensor"], [[np.nan], [-np.inf]])


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


def test_bytes_in_lists():
    # SingleUnnamedTensorBase64Lists of TF Serving.
    text = '{"instances": [[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]}'
    assert read_one(text, "string").tolist() == [[b"hello"], [b"world"]]


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_numbers_are_floats(dtype):
    # MixedInputForFloatTensor of TF Serving.
    array = read_one('{"instances": [1, 2.0, 3e0, 5.003, -0.0]}', dtype)
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, np.array([1, 2, 3, 5.003, 0], dtype))


def test_floats_lose_precision():
    # FloatTensorWithPrecisionLoss of TF Serving and api_rest.md, "Floating Point
    # Precision": 1435774380 becomes 1435774336.
    for number in ("1435774380", "1435774380.0"):
        assert read_one(f'{{"instances": [{number}]}}', "float32") == 1435774336


def test_doubles_beyond_float():
    # FloatTensorThatExceedsMaxReturnsInf and ...MinReturnsZero of TF Serving.
    text = '{"instances": [1.79e308, -1.79e308, 2.3e-308, 1e-400]}'
    array = read_one(text, "float32")
    assert array.tolist() == [np.inf, -np.inf, 0, 0]


@pytest.mark.parametrize(
    ("dtype", "least", "most"),
    [
        ("int8", -(2**7), 2**7 - 1),
        ("uint8", 0, 2**8 - 1),
        ("int16", -(2**15), 2**15 - 1),
        ("int32", -(2**31), 2**31 - 1),
        ("uint32", 0, 2**32 - 1),
        ("int64", -(2**63), 2**63 - 1),
        ("uint64", 0, 2**64 - 1),
    ],
)
def test_integers_have_the_range_of_their_type(dtype, least, most):
    array = read_one(f'{{"instances": [{least}, {most}]}}', dtype)
    assert array.dtype == dtype and array.tolist() == [least, most]
    for number in (least - 1, most + 1):
        text = f'{{"instances": [{number}]}}'
        assert f"too big to be stored in {dtype}" in refuse(text, x=dtype)


def test_bools():
    assert read_one('{"instances": [true, false]}', "bool").tolist() == [True, False]


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ('"x"', "float32", 'JSON Value: "x" Type: String is not of expected type: flo'),
        ("null", "float32", "Type: Null is not of expected type: float."),
        ("true", "float64", "Type: Bool is not of expected type: double."),
        ('{"b64": "AA=="}', "float32", "Type: Object is not of expected type: float."),
        ("1.0", "int32", "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ("1e2", "uint8", "not of expected type: uint8"),
        ("true", "int32", "not of expected type: int32"),
        ("NaN", "int64", "not of expected type: int64"),
        ("1", "bool", "not of expected type: bool"),
        ("1", "string", "not of expected type: string"),
        ("null", "string", "not of expected type: string"),
    ],
)
def test_types_are_not_converted(value, dtype, message):
    # PredictRequestErrors of http_rest_api_handler_test.cc: "not of expected type".
    assert message in refuse(f'{{"instances": [{value}]}}', x=dtype)
    assert message in refuse(f'{{"inputs": {{"x": {value}}}}}', x=dtype)


def test_the_place_is_named():
    message = refuse('{"instances": [[[1, 2]], [[3, "a"]]]}', x="int32")
    assert message.startswith('instances[1][0][1]: JSON Value: "a"')
    message = refuse('{"instances": [{"x": [1], "y": [1, 2.5]}]}', x="int8", y="int8")
    assert message.startswith("instances[0].y[1]: JSON Value: 2.5")
    message = refuse('{"inputs": {"x": [[1, 2], [3, null]]}}', x="int8")
    assert message.startswith("inputs.x[1][1]: JSON Value: null")
    message = refuse('{"inputs": "%s"}' % ("a" * 1000), x="int8")
    assert message.startswith('inputs: JSON Value: "aaa')


@pytest.mark.parametrize(
    ("value", "message"),
    [
        # SingleUnnamedTensorErrors of TF Serving.
        ("[[1,2],[3,4],[5,6,7]]", "[2]: Expecting tensor size: 2 but got: 3"),
        ("[[1,2],[3,4],[[5,6]]]", "[2]: Expecting shape [2] but got: [1, 2]"),
        ("[1, [1]]", "[1]: Expecting shape [] but got: [1]"),
        # MultipleNamedTensorErrors.
        ("[[[1],[2]], [[[3],[4]]]]", "[1]: Expecting shape [2, 1] but got: [1, 2, 1]"),
        ("[[[1],[2]], [[3]]]", "[1]: Expecting tensor size: 2 but got: 1"),
        ("[[1], 2]", "[1]: Expecting shape [1] but got: []"),
        ("[[], [1]]", "[1]: Expecting tensor size: 0 but got: 1"),
        ("[[[1, 2], [3, 4]], [[5, 6], [7]]]", "[1][1]: Expecting tensor size: 2 but"),
    ],
)
def test_ragged_lists(value, message):
    place, rest = message.split(": ", 1)
    assert f"instances{place}: {rest}" in refuse(f'{{"instances": {value}}}', x="int32")
    assert f"inputs{place}: {rest}" in refuse(f'{{"inputs": {value}}}', x="int32")
    index, _, deeper = place[1:].partition("]")
    rows = json.dumps({"instances": [{"x": row} for row in json.loads(value)]})
    assert f"instances[{index}].x{deeper}: {rest}" in refuse(rows, x="int32")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # SingleUnnamedTensorErrors of TF Serving.
        ("", "document is empty"),
        (" \n", "document is empty"),
        ('{"instances": [1], "inputs": [1]}', "Not formatted correctly"),
        # PredictRequestErrors of http_rest_api_handler_test.cc.
        ("instances = [1, 2]", "JSON Parse error: Invalid value"),
        ("[1]", "Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": {"x": 1}}', "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"instances": [{"y": 1}]}', "instances[0]: keys must be equal to: x"),
        ('{"instances": [{"x": 1, "y": 1}]}', "keys must be equal to: x"),
        ('{"inputs": {"y": 1}}', "Missing named input: x in 'inputs' object"),
        # MultipleNamedTensorErrors.
        ('{"instances": [{"x": 1}, [1]]}', "Expecting object but got list at item 1"),
        ('{"instances": [[1], {"x": [1]}]}', "Expecting value/list but got object at"),
        ('{"instances": [1], "instances": [2]}', 'has the key "instances" twice'),
        ('{"instances": [1,]}', "JSON Parse error"),
        ('{"instances": [01]}', "JSON Parse error"),
        ('{"instances": [1', "JSON Parse error"),
        ("{'instances': [1]}", "JSON Parse error"),
        ('{"instances": [Nan]}', "JSON Parse error"),
        ('{"instances": ["\n"]}', "JSON Parse error"),
    ],
)
def test_wrong_requests(text, message):
    assert message in refuse(text, x="int32")


def test_a_plain_list_for_several_inputs():
    assert "expecting list of objects" in refuse(
        '{"instances": [1]}', x="int8", y="int8"
    )
    assert "expecting an object" in refuse('{"inputs": [1]}', x="int8", y="int8")
    message = refuse('{"inputs": {"b64": "AA=="}}', x="string", y="string")
    assert "expecting an object" in message


@pytest.mark.parametrize(
    "value",
    ['{"b64": 1}', '{"b64": "AA==", "c": 1}', "{}", '{"b65": "AA=="}', '{"b64": null}'],
)
def test_objects_that_are_no_bytes(value):
    message = refuse(f'{{"inputs": {{"x": {value}}}}}', x="string")
    assert "not formatted correctly for base64 data" in message


@pytest.mark.parametrize(
    "value",
    [
        "A",
        "AAAAA",
        "A=A=",
        "=",
        "AA=",
        "AAA==",
        "é",
        "A-_A",
        "AAAA=",
        "AAAA====",
        "\\u0000",
    ],
)
def test_wrong_base64(value):
    message = refuse(f'{{"inputs": {{"x": {{"b64": "{value}"}}}}}}', x="string")
    assert "Unable to base64 decode" in message


def test_signature_names():
    # SingleUnnamedTensorWithSignature of TF Serving; the key is optional.
    assert read_signature_name({"signature_name": "predict_images"}) == "predict_images"
    assert read_signature_name({}) == ""
    for name in (5, None, ["hello"], "a\nb", "\ud800"):
        with pytest.raises(ServingError, match="signature_name"):
            read_signature_name({"signature_name": name})
    with pytest.raises(ServingError, match="key must be a string value"):
        read_signature_name({"signature_name": 100})


def test_what_stands_around_the_object():
    # rapidjson stops when the object is done, and skips a byte order mark.
    text = b'\xef\xbb\xbf \r\n\t{"instances": [1], "more": {"any": [null]}} X [ {'
    assert read(text, x="int32")["x"].tolist() == [1]


def test_types_without_a_form_in_json():
    with pytest.raises(ServingError) as raised:
        read('{"instances": [1]}', x="bfloat16")
    assert raised.value.code == grpc.StatusCode.UNIMPLEMENTED
    assert "bfloat16" in raised.value.message


# Hostile documents.

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"instances": ' + DEEP + b"}", "nested more than 64 levels"),
        (b'{"instances": [1], "nested": ' + DEEP + b"}", "nested more than 64 levels"),
        (b'{"a":' * 100_000, "nested more than 64 levels"),
        (
            b'{"instances": [' + b"1," * 10_000_000 + b"1]}",
            "more than 5000000 elements",
        ),
        (
            b'{"instances": [' + b"[]," * 5_000_000 + b"1]}",
            "more than 5000000 elements",
        ),
        (
            b'{"instances": [' + b'"",' * 5_000_000 + b"1]}",
            "more than 5000000 elements",
        ),
        (b'{"instances": [1e400]}', "Number too big to be stored in double"),
        (b'{"instances": [-1e400]}', "Number too big to be stored in double"),
        (b'{"instances": [1e99999999999999999999]}', "Number too big"),
        (b'{"instances": [1' + b"0" * 400 + b"]}", "Number too big"),
        (b'{"instances": [' + b"1" * 5_000_000 + b"]}", "Number too big"),
        (b'{"instances": ["\\ud800"]}', "not of expected type"),
        (b'{"instances": "\\ud800"}', "Expecting 'instances' to be an list"),
        (b'{"\\ud800": 1, "\\ud800": 2}', 'has the key "\\ud800" twice'),
        (b'{"instances": ["\xff\xfe"]}', "not UTF-8 at offset: 16"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8 at offset: 0"),
        (b"\0" * 1000, "JSON Parse error"),
        (b'"' * 5_000_001, "Is not object"),
        (b"\\" * 5_000_001, "JSON Parse error"),
        (b'{"' + b'\\"' * 2_000_000, "JSON Parse error"),
        (b"]" * 1_000_000, "JSON Parse error"),
    ],
)
def test_hostile_documents_are_refused_soon(body, message):
    start = time.perf_counter()
    assert message in refuse(body, x="float32")
    # 0.5 s at most on one core; a machine may be busy.
    assert time.perf_counter() - start < 5


def test_lone_surrogates_are_no_text():
    message = refuse('{"instances": ["a", "\\udc00"]}', x="string")
    assert message.startswith("instances[1]: JSON Value:")
    assert "half of a surrogate pair" in message
    assert "Unable to base64" in refuse('{"inputs": {"b64": "\\ud800"}}', x="string")


def test_random_bytes_are_refused_with_a_sentence():
    generator = np.random.default_rng(0)
    alphabet = np.frombuffer(b'{}[]",:\\0159.eE+-NaInfinityb64 \n\xff\0tru', np.uint8)
    for number in range(3000):
        letters = generator.integers(0, 256, generator.integers(1, 60), np.uint8)
        body = alphabet[letters % len(alphabet)].tobytes()
        bodies = (body, b'{"instances": ' + body + b"}", b'{"inputs": [' + body)
        try:
            read(bodies[number % 3], x="string")
        except ServingError as error:
            assert error.code == grpc.StatusCode.INVALID_ARGUMENT
            assert error.message.endswith(".") and len(error.message) < 500


def test_brackets_in_strings_do_not_count():
    text = json.dumps({"instances": ["[" * 200 + '"\\', "\\", ',"[[' * 100]})
    with pytest.MonkeyPatch.context() as patch:
        # Three commas and brackets outside of strings: { [ , ,
        patch.setattr(json_parsing, "MOST_ELEMENTS", 4)
        assert read_one(text, "string").shape == (3,)
        patch.setattr(json_parsing, "MOST_ELEMENTS", 3)
        with pytest.raises(ServingError, match="more than 3 elements"):
            read_one(text, "string")


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_strings_across_chunks(chunk, monkeypatch):
    # The border of a chunk may fall anywhere in a string.
    monkeypatch.setattr(json_parsing, "_CHUNK", chunk)
    monkeypatch.setattr(json_parsing, "MOST_DEPTH", 3)
    text = json.dumps({"a": ["[[[[", 'b"[[', {}], "instances": [1, 2], "]]": "{{{{"})
    assert read_one(text, "int32").tolist() == [1, 2]
    with pytest.raises(ServingError, match="nested more than 3"):
        read_one('{"a": "x", "b": [[[0]]]}', "int32")


# Answers.


def write(rows=True, **outputs):
    return json.loads(write_outputs(outputs, rows))


def test_single_output_has_no_name():
    # FromJsonSingleTensor and FromJsonSingleScalarTensor of TF Serving.
    values = [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]]
    array = np.array(values, np.int32)
    assert write(True, int_tensor=array) == {"predictions": values}
    assert write(False, int_tensor=array) == {"outputs": values}
    array = np.array([1, 2, 3, 4, 5], np.int32)
    assert write(True, int_tensor=array) == {"predictions": [1, 2, 3, 4, 5]}
    assert write(False, int_tensor=array) == {"outputs": [1, 2, 3, 4, 5]}


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


def test_whole_floats_keep_their_point():
    # FromJsonSingleFloatTensorSixDigitPrecision of TF Serving, whose exponents are
    # written as decimals here: the numbers are the same.
    values = [9e6, 999999.0, 0.5, 0.0003, 0.00003, 555557.5]
    text = write_outputs({"x": np.array(values, np.float32)}, True)
    assert text == b'{"predictions":[9000000.0,999999.0,0.5,0.0003,0.00003,555557.5]}'


def test_numbers_read_back_as_they_were():
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2**32, 20_000, np.uint32)
    floats = bits.view(np.float32)
    floats = floats[np.isfinite(floats)]
    answer = write(False, x=floats)["outputs"]
    assert np.array_equal(np.array(answer, np.float32), floats)
    assert max(len(repr(number)) for number in answer) < 20  # no digits of noise


def test_numbers_that_json_lacks():
    # FromJsonSingleFloatTensorNonFinite of TF Serving.
    values = np.array([[np.nan, np.inf], [3, -np.inf]], np.float32)
    text = write_outputs({"x": values}, True)
    assert text == b'{"predictions":[[NaN,Infinity],[3.0,-Infinity]]}'
    text = write_outputs({"x": values[:, 0]}, True)
    assert text == b'{"predictions":[NaN,3.0]}'


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int64", "uint8", "uint32", "uint64"]
)
def test_integers_of_every_type(dtype):
    limits = np.iinfo(dtype)
    array = np.array([limits.min, limits.max], dtype)
    assert write(True, x=array) == {"predictions": [limits.min, limits.max]}


def test_bools_are_written_as_such():
    assert write_outputs({"x": np.array([True, False])}, True) == (
        b'{"predictions":[true,false]}'
    )


def test_strides_and_scalars():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert write(True, x=array.T) == {"predictions": array.T.tolist()}
    assert write(False, x=np.array(2.5, np.float32)) == {"outputs": 2.5}
    assert write(False, a_bytes=np.array(b"\0", object)) == {"outputs": {"b64": "AA=="}}


def test_strings():
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


def test_empty_values():
    assert write(True, x=np.zeros((2, 0), np.float32)) == {"predictions": [[], []]}


@pytest.mark.parametrize(
    ("rows", "outputs", "message"),
    [
        # FromJsonSingleTensorErrors and FromJsonMultipleNamedTensorsErrors.
        (True, {}, "empty tensor map"),
        (False, {"x": np.zeros(2, np.complex64)}, "tensor type: complex64"),
        (False, {"x": np.zeros(2, np.float16)}, "tensor type: float16"),
        (True, {"x": np.array(1, np.int32)}, "no shape information"),
        (True, {"x": np.zeros(2), "y": np.zeros(1)}, "inconsistent batch size"),
    ],
)
def test_outputs_that_cannot_be_written(rows, outputs, message):
    with pytest.raises(ServingError, match=message) as raised:
        write_outputs(outputs, rows)
    assert raised.value.code == grpc.StatusCode.INVALID_ARGUMENT
