"""TensorProtos from arrays, and arrays from TensorProtos that anybody may have sent."""

import math
from collections.abc import Mapping

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from keras_mscam.serving.errors import ServingError, refuse

#: The field that holds the values of a type.
_FIELDS = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_BFLOAT16: "half_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_COMPLEX64: "scomplex_val",
    types_pb2.DT_COMPLEX128: "dcomplex_val",
}
#: Fields whose values protobuf writes as they lie in memory.
_PACKED = {"float_val", "double_val", "scomplex_val", "dcomplex_val"}
#: Bytes of an array for each of its strings, beside what the string holds.
_REFERENCE = 8


def decode_inputs(
    protos: Mapping[str, tensor_pb2.TensorProto], most_bytes: int | None = None
) -> dict[str, np.ndarray]:
    """Return the tensors of a request as arrays.

    What a tensor claims to be is compared with what it holds before memory is taken:
    a shape may claim any size, since TensorFlow repeats the last value to fill it.

    Args:
        protos: tensor by name.
        most_bytes: of all arrays together; any by default.

    Returns:
        Arrays by name; strings as `object` of bytes.

    Raises:
        ServingError: INVALID_ARGUMENT: one is malformed, or they are too large.
    """
    arrays, left = {}, math.inf if most_bytes is None else most_bytes
    for name, proto in protos.items():
        try:
            arrays[name] = _decode(proto, left)
        except _MalformedError as error:
            raise refuse(f"tensor parsing error: {name}: {error}") from error
        left -= _measure(arrays[name])
    return arrays


def encode(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Return an array as a TensorProto, in the field of its type as TF Serving does.

    Raises:
        ServingError: UNIMPLEMENTED: there is no field for it.
    """
    is_text = array.dtype.kind in "OSU"
    kind = tf.string if is_text else tf.as_dtype(array.dtype)
    kind = kind.as_datatype_enum
    if kind not in _FIELDS:
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Outputs of type {array.dtype.name} are not supported.",
        )
    proto = tensor_pb2.TensorProto(dtype=kind)
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    field = _FIELDS[kind]
    flat = np.ascontiguousarray(array).reshape(-1)
    if field in _PACKED:
        # A hundred times faster than value by value.
        number = tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[field].number
        head = bytes([number << 3 | 2]) + _encode_varint(flat.nbytes)
        proto.MergeFromString(head + flat.tobytes())
        return proto
    values = flat.view(np.uint16) if field == "half_val" else flat
    getattr(proto, field).extend(values.tolist())
    return proto


def _encode_varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes(digits) + bytes([number])


class _MalformedError(Exception):
    """Says what is wrong with a tensor."""


def _decode(proto: tensor_pb2.TensorProto, most_bytes: float) -> np.ndarray:
    if proto.dtype not in _FIELDS:
        known = proto.dtype in types_pb2.DataType.values()
        name = types_pb2.DataType.Name(proto.dtype) if known else proto.dtype
        raise _MalformedError(f"its type {name} is not supported.")
    shape = _read_shape(proto)
    count = math.prod(shape)
    if proto.dtype == types_pb2.DT_STRING:
        return _decode_strings(proto, shape, count, most_bytes)
    dtype = np.dtype(tf.as_dtype(proto.dtype).as_numpy_dtype)
    if count * dtype.itemsize > most_bytes:
        raise _too_large(shape)
    if proto.tensor_content:
        values = proto.tensor_content
        if len(values) != count * dtype.itemsize:
            raise _MalformedError(
                f"its content has {len(values)} bytes, but {list(shape)} of "
                f"{dtype.name} has {count * dtype.itemsize}."
            )
        return np.frombuffer(values, dtype).reshape(shape)
    return _fill(_read_values(proto, dtype), shape, count)


def _read_shape(proto: tensor_pb2.TensorProto) -> tuple[int, ...]:
    if proto.tensor_shape.unknown_rank:
        raise _MalformedError("its rank is unknown.")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if len(shape) > 32:
        raise _MalformedError(f"it has {len(shape)} dimensions, and 32 at most may be.")
    if any(size < 0 for size in shape):
        raise _MalformedError(f"its shape {list(shape)} has a negative dimension.")
    # Beside a 0, sizes may be what they like for TensorFlow; NumPy counts bytes.
    if math.prod(size for size in shape if size) >= 1 << 58:
        raise _too_large(shape)
    return shape


def _read_values(proto: tensor_pb2.TensorProto, dtype: np.dtype) -> np.ndarray:
    field = _FIELDS[proto.dtype]
    values = getattr(proto, field)
    if field == "half_val":
        return np.array(values, np.int32).astype(np.uint16).view(dtype)
    if dtype.kind == "c":
        if len(values) % 2:
            raise _MalformedError("it holds half a complex number.")
        return np.array(values, np.dtype(f"f{dtype.itemsize // 2}")).view(dtype)
    wide = {"int_val": np.int32, "bool_val": np.bool_}.get(field, dtype)
    # As in C++: what is too large for a small integer wraps around.
    return np.array(values, wide).astype(dtype)


def _fill(values: np.ndarray, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Repeat the last value until the shape is full; without any value it is 0."""
    if len(values) == count:
        return values.reshape(shape)
    if len(values) > count:
        raise _MalformedError(
            f"it holds {len(values)} values, but its shape {list(shape)} has {count}."
        )
    full = np.full(count, values[-1] if len(values) else 0, values.dtype)
    full[: len(values)] = values
    return full.reshape(shape)


def _decode_strings(
    proto: tensor_pb2.TensorProto,
    shape: tuple[int, ...],
    count: int,
    most_bytes: float,
) -> np.ndarray:
    if count * _REFERENCE > most_bytes:
        raise _too_large(shape)
    strings = (
        _split_content(proto.tensor_content, count)
        if proto.tensor_content
        else list(proto.string_val)
    )
    if len(strings) > count:
        raise _MalformedError(
            f"it holds {len(strings)} strings, but its shape {list(shape)} has {count}."
        )
    last = strings[-1] if strings else b""
    repeated = count - len(strings)
    held = sum(map(len, strings)) + repeated * len(last)
    if count * _REFERENCE + held > most_bytes:
        raise _too_large(shape)
    array = np.empty(count, object)
    array[:] = strings + [last] * repeated
    return array.reshape(shape)


def _split_content(content: bytes, count: int) -> list[bytes]:
    """Read strings as TensorFlow packs them: all lengths as varints, then all bytes."""
    sizes, place = [], 0
    for _ in range(count):
        size, shift = 0, 0
        while True:
            if place == len(content) or shift > 28:
                raise _MalformedError("the lengths of its strings are damaged.")
            byte = content[place]
            size |= (byte & 127) << shift
            place, shift = place + 1, shift + 7
            if byte < 128:
                break
        sizes.append(size)
    if place + sum(sizes) != len(content):
        raise _MalformedError("its strings are not as long as its content says.")
    strings = []
    for size in sizes:
        strings.append(content[place : place + size])
        place += size
    return strings


def _measure(array: np.ndarray) -> int:
    if array.dtype != object:
        return array.nbytes
    return array.nbytes + sum(map(len, array.flat))


def _too_large(shape: tuple[int, ...]) -> _MalformedError:
    return _MalformedError(f"its shape {list(shape)} is larger than this server takes.")
