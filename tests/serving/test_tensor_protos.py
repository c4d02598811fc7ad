"""TensorProtos: TensorFlow's own functions are the other implementation."""

import time
import tracemalloc

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2

from keras_mscam.serving.errors import ServingError
from keras_mscam.serving.tensor_protos import decode_inputs, encode

TYPES = (
    "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128",
)  # fmt: skip
STRINGS = np.array([[b"a\0", b""], [b"x" * 300, bytes(range(256))]], object)


def decode(proto, most_bytes=None):
    return decode_inputs({"x": proto}, most_bytes)["x"]


def make(kind, shape, **fields):
    proto = tensor_pb2.TensorProto(dtype=kind, **fields)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return proto


def sample(name):
    dtype = tf.as_dtype(name).as_numpy_dtype
    values = np.random.default_rng(0).uniform(0, 100, (4, 3))
    if name.startswith("complex"):
        values = values + 1j * values[::-1]
    return values.astype(dtype)


@pytest.mark.parametrize("name", TYPES)
def test_numbers_there_and_back(name):
    array = sample(name)
    # In the field of the type; in bytes, as Python clients send them; one, repeated.
    for proto in (encode(array), tf.make_tensor_proto(array)):
        np.testing.assert_array_equal(tf.make_ndarray(proto), array)
        decoded = decode(proto)
        assert decoded.dtype == array.dtype
        np.testing.assert_array_equal(decoded, array)
    one = tf.make_tensor_proto(array[0, 0], shape=(2, 3))
    np.testing.assert_array_equal(decode(one), np.full((2, 3), array[0, 0]))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (np.float32([1.5, -2]), "float_val"),
        (np.float64([1.5, -2]), "double_val"),
        (np.int32([3, -4]), "int_val"),
        (np.uint8([3, 255]), "int_val"),
        (np.int64([3, -4]), "int64_val"),
        (np.array([True, False]), "bool_val"),
        (np.array([b"a", b"b"], object), "string_val"),
    ],
)
def test_fields_are_those_of_tf_serving(values, field):
    # Clients of TF Serving read `outputs["y"].float_val`.
    proto = encode(values)
    assert list(getattr(proto, field)) == values.tolist()
    assert not proto.tensor_content


def test_large_floats_are_not_copied_one_by_one():
    array = np.random.default_rng(0).random((300, 1000), np.float32)
    start = time.perf_counter()
    proto = encode(array)
    assert time.perf_counter() - start < 1
    assert len(proto.float_val) == array.size
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)


def test_strings_there_and_back():
    np.testing.assert_array_equal(tf.make_ndarray(encode(STRINGS)), STRINGS)
    np.testing.assert_array_equal(decode(encode(STRINGS)), STRINGS)
    np.testing.assert_array_equal(decode(tf.make_tensor_proto(STRINGS)), STRINGS)


def test_strings_as_c_plus_plus_packs_them():
    # Lengths as varints: 300 is 0b10_0101100, so 0xAC 0x02; then the bytes.
    content = bytes([2, 0xAC, 2, 0]) + b"ab" + b"x" * 300
    array = decode(make(tf.string.as_datatype_enum, [3], tensor_content=content))
    assert list(array) == [b"ab", b"x" * 300, b""]


def test_a_last_value_is_repeated():
    # As documented for the fields: a tensor's last value fills what is missing.
    array = decode(make(1, [2, 2], float_val=[1, 2]))
    np.testing.assert_array_equal(array, [[1, 2], [2, 2]])
    np.testing.assert_array_equal(decode(make(1, [2])), [0, 0])
    assert list(decode(make(7, [3], string_val=[b"a", b"b"]))) == [b"a", b"b", b"b"]
    assert decode(make(1, [0, 3])).shape == (0, 3)
    assert decode(make(3, [], int_val=[5])).shape == ()


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (make(1, [3], tensor_content=bytes(11)), "its content has 11 bytes, but"),
        (make(1, [2], float_val=[1, 2, 3]), "holds 3 values, but its shape [2] has 2"),
        (make(1, [-1], float_val=[1]), "negative"),
        (make(1, [1 << 40], float_val=[1]), "larger than this server takes"),
        (make(1, [1 << 62, 1 << 62]), "larger than this server takes"),
        (make(1, [1 << 62, 1 << 62, 0]), "larger than this server takes"),
        (make(1, [0, 1 << 62]), "larger than this server takes"),
        (make(18, [1 << 60, 0]), "larger than this server takes"),
        (make(7, [0, 1 << 61]), "larger than this server takes"),
        (make(7, [1 << 40]), "larger than this server takes"),
        (make(7, [1000], string_val=[bytes(10_000)]), "larger than this server takes"),
        (make(7, [1], string_val=[b"a", b"b"]), "holds 2 strings"),
        (make(7, [2], tensor_content=b"\x05\x01abc"), "not as long as"),
        (make(7, [2], tensor_content=b"\xff\xff"), "lengths of its strings"),
        (make(7, [1], tensor_content=b"\xff" * 9), "lengths of its strings"),
        (make(8, [1], scomplex_val=[1]), "half a complex number"),
        (make(1, [1] * 100, float_val=[1]), "100 dimensions"),
        (make(0, [1]), "DT_INVALID is not supported"),
        (make(20, [1]), "DT_RESOURCE is not supported"),
        (make(21, [1]), "DT_VARIANT is not supported"),
        (make(11, [1]), "DT_QINT8 is not supported"),
        (make(101, [1]), "DT_FLOAT_REF is not supported"),
        (make(9999, [1]), "type 9999 is not supported"),
    ],
)
def test_malformed(proto, message):
    with pytest.raises(ServingError) as error:
        decode(proto, 1_000_000)
    assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.message.startswith("tensor parsing error: x: ")
    assert message in error.value.message


def test_unknown_rank():
    proto = tensor_pb2.TensorProto(dtype=1)
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(ServingError, match="rank is unknown"):
        decode(proto)


def test_claims_take_no_memory():
    tracemalloc.start()
    for proto in (make(1, [250_001]), make(7, [1000], string_val=[bytes(1000)])):
        with pytest.raises(ServingError):
            decode(proto, 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


def test_all_inputs_together_are_bounded():
    protos = {name: make(1, [100], float_val=[1]) for name in "abc"}
    assert decode_inputs(protos, 1200).keys() == {"a", "b", "c"}
    with pytest.raises(ServingError, match="larger"):
        decode_inputs(protos, 1199)


def test_random_protos_are_read_or_refused():
    rng = np.random.default_rng(0)
    whole = [encode(sample(name)) for name in TYPES] + [encode(STRINGS)]
    outcomes = set()
    for _ in range(3000):
        content = bytearray(whole[rng.integers(len(whole))].SerializeToString())
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            content[place] = rng.integers(256)
        try:
            proto = tensor_pb2.TensorProto.FromString(bytes(content))
        except DecodeError:
            continue
        try:
            assert decode(proto, 100_000).nbytes <= 100_000
            outcomes.add("read")
        except ServingError as error:
            assert error.code == grpc.StatusCode.INVALID_ARGUMENT
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_type_without_a_field():
    with pytest.raises(ServingError, match="not supported"):
        encode(np.zeros(1, tf.dtypes.experimental.float8_e5m2.as_numpy_dtype))
