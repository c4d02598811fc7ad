"""Requests and answers of `:predict` in JSON, as TF Serving writes them."""

import base64
from collections.abc import Mapping
from itertools import chain

import numpy as np
import orjson

from keras_mscam.serving.errors import refuse
from keras_mscam.serving.json_arrays import is_base64, make_array

#: What TF Serving writes as numbers, beside strings and bools.
_NUMBERS = frozenset(
    (
        *("bool", "float32", "float64", "int8", "int16", "int32", "int64"),
        *("uint8", "uint32", "uint64"),
    )
)


def read_signature_name(document: dict) -> str:
    """Return the signature that a request names, `""` for the default one.

    Raises:
        ServingError: INVALID_ARGUMENT: it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise refuse("The 'signature_name' key must be a string value.")
    if not name.isprintable():
        raise refuse("The 'signature_name' has characters that no name has.")
    return name


def read_inputs(document: dict, specs: Mapping) -> tuple[dict[str, np.ndarray], bool]:
    """Turn a request into arrays.

    Rows are `{"instances": [...]}`: values of the only input, or an object an example.
    Columns are `{"inputs": ...}`: the only input, or an object of all. Bytes are
    `{"b64": "..."}`.

    Args:
        document: of `parse_object`.
        specs: name to the specification of an input, whose `dtype` is a `tf.DType`.

    Returns:
        Arrays by name (strings as arrays of `bytes` objects), and whether these were
        rows. Shapes are what the request gives; the model checks them.

    Raises:
        ServingError: INVALID_ARGUMENT: the request is wrong. UNIMPLEMENTED: the input
            is of a type that JSON has no form for.
    """
    if "instances" in document and "inputs" in document:
        raise refuse(
            "Not formatted correctly: expecting only one of 'inputs' and 'instances'."
        )
    if not specs:
        raise refuse("Failed to get input map for signature: it has no inputs.")
    if "instances" in document:
        return _read_rows(document["instances"], specs), True
    if "inputs" in document:
        return _read_columns(document["inputs"], specs), False
    raise refuse("Missing 'inputs' or 'instances' key.")


def _read_rows(rows, specs: Mapping) -> dict[str, np.ndarray]:
    if not isinstance(rows, list):
        raise refuse("Expecting 'instances' to be an list/array.")
    if not rows:
        raise refuse("No values in 'instances' array.")
    named = _is_object(rows[0])
    if not named and len(specs) > 1:
        raise refuse(
            "'instances' is a plain list, but expecting list of objects, as there are "
            f"several inputs: {', '.join(sorted(specs))}."
        )
    for index, row in enumerate(rows):
        if _is_object(row) != named:
            expected, got = ("object", "list") if named else ("value/list", "object")
            raise refuse(
                f"Expecting {expected} but got {got} at item {index} of input list."
            )
        if named and row.keys() != specs.keys():
            raise refuse(
                f"instances[{index}]: keys must be equal to: {','.join(sorted(specs))}."
            )
    if named:
        columns = {name: [row[name] for row in rows] for name in specs}
        return {
            name: make_array(column, specs[name].dtype.name, f"instances[].{name}")
            for name, column in columns.items()
        }
    ((name, spec),) = specs.items()
    return {name: make_array(rows, spec.dtype.name, "instances[]")}


def _read_columns(columns, specs: Mapping) -> dict[str, np.ndarray]:
    if not _is_object(columns):
        if len(specs) > 1:
            raise refuse(
                "'inputs' is a plain value/list, but expecting an object, as there are "
                f"several inputs: {', '.join(sorted(specs))}."
            )
        ((name, spec),) = specs.items()
        return {name: make_array(columns, spec.dtype.name, "inputs")}
    for name in specs:
        if name not in columns:
            raise refuse(f"Missing named input: {name} in 'inputs' object.")
    return {
        name: make_array(columns[name], spec.dtype.name, f"inputs.{name}")
        for name, spec in specs.items()
    }


def _is_object(value) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def write_outputs(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """Write the answer to a request.

    The value of a single output stands without its name. Strings of an output whose
    name ends in `_bytes` are `{"b64": "..."}`, others are UTF-8. Numbers are the
    shortest that give the same float32 or float64 again; `NaN` and `Infinity` stand as
    such, which JavaScript's and other strict parsers refuse.

    Args:
        outputs: name to array; numbers, bools, or `bytes` objects.
        rows: write one value or object an example, as for `instances`.

    Returns:
        `{"predictions": [...]}` for rows, else `{"outputs": ...}`.

    Raises:
        ServingError: INVALID_ARGUMENT: an output can't be written in this form.
    """
    if not outputs:
        raise refuse("Cannot convert empty tensor map to JSON.")
    for name, array in outputs.items():
        if array.dtype.name not in _NUMBERS and array.dtype.kind not in "OSU":
            raise refuse(
                f"Failed to write JSON value of output {name} for tensor type: "
                f"{array.dtype.name}."
            )
    if not rows:
        values = {name: _write(array, name) for name, array in outputs.items()}
        return b'{"outputs":' + _join(values) + b"}"
    size = _read_batch_size(outputs)
    examples = [
        _join({name: _write(array[i, ...], name) for name, array in outputs.items()})
        for i in range(size)
    ]
    return b'{"predictions":[' + b",".join(examples) + b"]}"


def _read_batch_size(outputs: Mapping[str, np.ndarray]) -> int:
    size = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise refuse(f"Tensor name: {name} has no shape information.")
        if size is not None and len(array) != size:
            raise refuse(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} "
                f"expecting: {size}; ask with 'inputs' instead of 'instances'."
            )
        size = len(array)
    return size


def _join(values: dict[str, bytes]) -> bytes:
    if len(values) == 1:
        return next(iter(values.values()))
    members = (orjson.dumps(name) + b":" + text for name, text in values.items())
    return b"{" + b",".join(members) + b"}"


def _write(array: np.ndarray, name: str) -> bytes:
    if array.dtype.kind in "OSU":
        write = _write_bytes if name.endswith("_bytes") else _write_string
        return orjson.dumps(array.tolist(), default=write)
    if array.size == 0:
        return orjson.dumps(array.tolist())
    value = np.ascontiguousarray(array) if array.ndim else array[()]
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    if array.dtype.kind != "f" or (finite := np.isfinite(array)).all():
        return text
    # orjson writes null for what strict JSON has no form for.
    tokens = map(_name_constant, array[~finite])
    between = text.split(b"null")
    rest = zip(tokens, between[1:], strict=True)
    return between[0] + b"".join(chain.from_iterable(rest))


def _name_constant(value: np.floating) -> bytes:
    return b"NaN" if np.isnan(value) else b"Infinity" if value > 0 else b"-Infinity"


def _write_bytes(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode("ascii")}


def _write_string(value: bytes) -> str:
    return value.decode("utf-8", "replace")
