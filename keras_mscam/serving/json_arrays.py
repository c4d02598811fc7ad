"""A JSON value as an array of a given type."""

import binascii
import math
from itertools import chain

import grpc
import numpy as np

from keras_mscam.serving.errors import ServingError, refuse
from keras_mscam.serving.json_parsing import INFINITY, MINUS_INFINITY, shorten

#: What Python makes of the values that a tensor may hold. A bool is no number, and a
#: number with a fraction or exponent no integer, even `1.0`.
_LEAVES = {
    **{name: {int, float} for name in ("float32", "float64")},
    **{name: {int} for name in ("int8", "int16", "int32", "int64")},
    **{name: {int} for name in ("uint8", "uint32", "uint64")},
    "bool": {bool},
    "string": {str, dict},
}
_TYPE_NAMES = {"float32": "float", "float64": "double"}
_JSON_NAMES = {
    type(None): "Null",
    bool: "Bool",
    int: "Number",
    float: "Number",
    str: "String",
    list: "Array",
    dict: "Object",
}


def make_array(value, dtype: str, place: str) -> np.ndarray:
    """Return the array of a JSON value: a number, string, object or nested lists.

    Args:
        value: as `parse_object` returns it.
        dtype: as TensorFlow names it, such as `"float32"`.
        place: of the value, for messages. `[]` in it stands for the first index.

    Returns:
        The array; strings as `bytes` objects.

    Raises:
        ServingError: INVALID_ARGUMENT: the value is of another type or ragged.
            UNIMPLEMENTED: JSON has no form for `dtype`.
    """
    if dtype not in _LEAVES:
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"{place}: JSON can't be converted to type {dtype}; use gRPC.",
        )
    leaves, shape = _flatten(value, place)
    if not _LEAVES[dtype].issuperset(map(type, leaves)):
        index = next(i for i, v in enumerate(leaves) if type(v) not in _LEAVES[dtype])
        raise refuse(
            f"{_locate(place, index, shape)}: JSON Value: {shorten(leaves[index])} "
            f"Type: {_JSON_NAMES[type(leaves[index])]} is not of expected type: "
            f"{_TYPE_NAMES.get(dtype, dtype)}."
        )
    if dtype == "string":
        strings = np.empty(len(leaves), object)
        for index, leaf in enumerate(leaves):
            try:
                strings[index] = _read_bytes(leaf)
            except ValueError as error:
                at = _locate(place, index, shape)
                raise refuse(f"{at}: JSON Value: {shorten(leaf)} {error}.") from error
        return strings.reshape(shape)
    return _make_numbers(leaves, dtype, place).reshape(shape)


def _make_numbers(leaves: list, dtype: str, place: str) -> np.ndarray:
    try:
        # A double beyond the range of a float is infinite, as it is in TF Serving.
        with np.errstate(over="ignore", under="ignore"):
            array = np.array(leaves, dtype)
    except OverflowError as error:
        kind = "double" if dtype.startswith("float") else dtype
        raise refuse(f"{place}: Number too big to be stored in {kind}.") from error
    if array.dtype.kind == "f" and np.isinf(array).any():
        for leaf in leaves:
            # Written as a number, like 1e400, not as one of the tokens.
            if (
                leaf is not INFINITY
                and leaf is not MINUS_INFINITY
                and (type(leaf) is float and math.isinf(leaf))
            ):
                raise refuse(f"{place}: Number too big to be stored in double.")
    return array


def _flatten(value, place: str) -> tuple[list, tuple[int, ...]]:
    """Return the values of nested lists in C order, and the shape of the lists."""
    level, shape = [value], ()
    while types := set(map(type, level)):
        if list not in types:
            break
        if len(types) > 1 or len(sizes := set(map(len, level))) > 1:
            raise _describe_ragged(level, shape, place)
        shape += (sizes.pop(),)
        level = list(chain.from_iterable(level))
    return level, shape


def _describe_ragged(level: list, shape: tuple[int, ...], place: str) -> ServingError:
    lengths = [len(item) if type(item) is list else None for item in level]
    index = next(i for i, length in enumerate(lengths) if length != lengths[0])
    expected, got = level[0], level[index]
    sizes = _count_values(expected), _count_values(got)
    if sizes[0] != sizes[1]:
        reason = f"Expecting tensor size: {sizes[0]} but got: {sizes[1]}"
    else:
        reason = f"Expecting shape {_get_shape(expected)} but got: {_get_shape(got)}"
    return refuse(f"{_locate(place, index, shape)}: {reason}, as lists must be equal.")


def _count_values(value) -> int:
    count, level = 0, [value]
    while level:
        lists = [item for item in level if type(item) is list]
        count += len(level) - len(lists)
        level = list(chain.from_iterable(lists))
    return count


def _get_shape(value) -> list[int]:
    shape = []
    while type(value) is list:
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _locate(place: str, index: int, shape: tuple[int, ...]) -> str:
    """Return where an element is, such as `instances[2].image[0][3]`."""
    path = [f"[{i}]" for i in np.unravel_index(index, shape)]
    if "[]" in place:
        place = place.replace("[]", path.pop(0), 1)
    return place + "".join(path)


def is_base64(value) -> bool:
    """Return whether a JSON value is `{"b64": "..."}`, which stands for bytes."""
    return (
        isinstance(value, dict)
        and value.keys() == {"b64"}
        and isinstance(value["b64"], str)
    )


def _read_bytes(leaf: str | dict) -> bytes:
    if isinstance(leaf, str):
        try:
            return leaf.encode()
        except UnicodeEncodeError as error:
            raise ValueError("has half of a surrogate pair") from error
    if not is_base64(leaf):
        raise ValueError("not formatted correctly for base64 data")
    try:
        return _decode_base64(leaf["b64"].encode("ascii"))
    except ValueError as error:
        raise ValueError("can't be decoded: Unable to base64 decode") from error


def _decode_base64(text: bytes) -> bytes:
    # White space is skipped, and the padding may be left out, as in TF Serving.
    text = b"".join(text.split())
    digits = text.rstrip(b"=")
    missing = -len(digits) % 4
    if len(text) - len(digits) not in (0, missing):
        raise ValueError("wrong padding")
    return binascii.a2b_base64(digits + b"=" * missing, strict_mode=True)
