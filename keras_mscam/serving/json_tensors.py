"""Requests and answers of `:predict` in JSON, as TensorFlow Serving writes them."""

import base64
import codecs
import json
import operator
from collections.abc import Mapping

import grpc
import numpy as np
import orjson
import tensorflow as tf

from keras_mscam.serving.serving_error import ServingError, refuse

#: Values, lists and objects of a document. An image of 2048x2048 numbers passes; at
#: most 80 bytes each, a document takes less than 400 MB.
MOST_ELEMENTS = 5_000_000


def parse_document(body: bytes | bytearray) -> dict:
    """Parse the body of a request.

    Raises:
        ServingError: it is no JSON object, which has no NaN, or has too many elements.
    """
    # Commas in strings count too: there are none in base64.
    if sum(map(body.count, (b",", b"[", b"{"))) > MOST_ELEMENTS:
        raise refuse(
            f"The JSON document has more than {MOST_ELEMENTS} elements; send an image "
            "as base64 of its file, or use gRPC."
        )
    try:
        document = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise refuse(f"The body is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise refuse("The body is not a JSON object.")
    if not isinstance(document.get("signature_name", ""), str):
        raise refuse("The 'signature_name' must be a string.")
    return document


def read_inputs(
    document: dict, specs: Mapping[str, tf.TensorSpec]
) -> tuple[dict[str, np.ndarray], bool]:
    """Return the arrays of a request, strings as `object` of bytes, and if it has rows.

    Rows are `{"instances": [...]}`: for each example the value of the only input, or an
    object of all. Columns are `{"inputs": ...}`: the only input, or an object of all.
    Bytes are `{"b64": "..."}`. Shapes are what the request gives; the signature checks
    them.

    Raises:
        ServingError: the request is wrong, or an input is of a type that JSON lacks.
    """
    rows = "instances" in document
    if rows == ("inputs" in document):
        raise refuse("The request must have either 'instances' or 'inputs'.")
    if rows:
        columns = _turn_rows(document["instances"], specs)
    else:
        columns = document["inputs"]
        if not isinstance(columns, dict) or _is_base64(columns):
            columns = dict.fromkeys([_get_only(specs)], columns)
    for name in specs:
        if name not in columns:
            raise refuse(f"The input {name!r} is missing.")
    return {name: _make_array(columns[name], name, specs[name]) for name in specs}, rows


def _turn_rows(instances, specs: Mapping[str, tf.TensorSpec]) -> dict[str, list]:
    if not isinstance(instances, list) or not instances:
        raise refuse("The 'instances' must be a list of at least one example.")
    is_named = {isinstance(row, dict) and not _is_base64(row) for row in instances}
    if is_named == {False}:
        return {_get_only(specs): instances}
    for place, row in enumerate(instances):
        if not isinstance(row, dict) or row.keys() != specs.keys():
            raise refuse(f"instances[{place}] must have the keys {', '.join(specs)}.")
    return {name: [row[name] for row in instances] for name in specs}


def _get_only(specs: Mapping[str, tf.TensorSpec]) -> str:
    if len(specs) != 1:
        raise refuse(
            f"The signature has {len(specs)} inputs ({', '.join(sorted(specs))}): send "
            "an object of all by name."
        )
    return next(iter(specs))


def _is_base64(value) -> bool:
    is_alone = isinstance(value, dict) and value.keys() == {"b64"}
    return is_alone and isinstance(value["b64"], str)


def _make_array(value, name: str, spec: tf.TensorSpec) -> np.ndarray:
    """Return the array of nested lists. A bool is no number, and 1.0 no integer."""
    dtype = spec.dtype
    if dtype == tf.string:
        allowed = {str, dict}
    elif dtype == tf.bool:
        allowed = {bool}
    elif dtype.is_integer or dtype in (tf.float32, tf.float64):
        allowed = {int} if dtype.is_integer else {int, float}
    else:
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"The input {name!r} is of type {dtype.name}, which JSON lacks; use gRPC.",
        )
    try:
        # As objects: else one long text would be as long in every element.
        array = np.array(value, object)
        if array.ndim > 32:  # more than NumPy and TensorFlow can do
            raise ValueError("lists are nested too deeply")
        if array.size and not allowed.issuperset(map(type, array.flat)):
            raise ValueError("there are values of another type, or lists are ragged")
        if dtype == tf.string:
            read = np.fromiter(map(_read_bytes, array.flat), object, array.size)
            return read.reshape(array.shape)
        # A double beyond the range of a float is infinite, as in TensorFlow Serving.
        with np.errstate(over="ignore"):
            return array.astype(dtype.as_numpy_dtype)
    except (ValueError, OverflowError) as error:
        raise refuse(
            f"The input {name!r} is no {dtype.name} tensor: {error}."
        ) from error


def _read_bytes(leaf: str | dict) -> bytes:
    if isinstance(leaf, str):
        return leaf.encode()
    if not _is_base64(leaf):
        raise ValueError('an object is not {"b64": "..."}')
    # White space is skipped, and the padding may be left out, as in TensorFlow Serving.
    text = "".join(leaf["b64"].split())
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def write_outputs(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """Write the answer: `{"predictions": [...]}` for rows, or `{"outputs": ...}`.

    The value of a single output stands without its name. Strings of an output whose
    name ends in `_bytes` are `{"b64": "..."}`, others are UTF-8. `NaN` and `Infinity`
    stand as such, which JavaScript's and other strict parsers refuse.

    Raises:
        ServingError: outputs differ in their batch and can't be rows, or one is of a
            type that JSON lacks.
    """
    for name, array in outputs.items():
        if array.dtype.kind not in "bfiuO" or array.dtype == np.float16:
            raise ServingError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"The output {name!r} is of type {array.dtype.name}, which JSON lacks.",
            )
    sizes = {len(array) if array.ndim else -1 for array in outputs.values()}
    if rows and (len(sizes) > 1 or -1 in sizes):
        raise refuse(
            "The outputs have no common batch size; ask with 'inputs' instead of "
            "'instances'."
        )
    plain = {name: _write_strings(array, name) for name, array in outputs.items()}
    examples = [
        _strip_name({name: value[place] for name, value in plain.items()})
        for place in range(max(sizes) if rows else 0)
    ]
    document = {"predictions": examples} if rows else {"outputs": _strip_name(plain)}
    as_list = operator.methodcaller("tolist")
    if all(np.isfinite(a).all() for a in outputs.values() if a.dtype.kind == "f"):
        return orjson.dumps(document, as_list, orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, default=as_list).encode()  # writes NaN and Infinity


def _strip_name(values: dict):
    return next(iter(values.values())) if len(values) == 1 else values


def _write_strings(array: np.ndarray, name: str):
    """Return strings as lists of what JSON has, and numbers as they are."""
    if array.dtype != object:
        return array
    written = (
        {"b64": base64.b64encode(value).decode()}
        if name.endswith("_bytes")
        else value.decode("utf-8", "replace")
        for value in array.flat
    )
    return np.fromiter(written, object, array.size).reshape(array.shape).tolist()
