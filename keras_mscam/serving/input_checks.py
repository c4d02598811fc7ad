"""What inputs must be, in TF Serving's words where it has some."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from keras_mscam.serving.errors import refuse


def complete(
    inputs: Mapping[str, np.ndarray],
    wanted: Mapping[str, meta_graph_pb2.TensorInfo],
    defaults: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Return exactly the inputs that are wanted, some of them by default.

    Raises:
        ServingError: INVALID_ARGUMENT: others were sent, or some are missing.
    """
    # The order and the sentences of predict_util.cc and cc/saved_model/util.cc.
    too_few = len(inputs) < len(wanted) and not defaults
    if len(inputs) > len(wanted) or too_few:
        sent, needed = set(inputs), set(wanted)
        raise refuse(
            f"input size does not match signature: {len(sent)}!={len(needed)} "
            f"len({{{_join(sent)}}}) != len({{{_join(needed)}}}). "
            f"Sent extra: {{{_join(sent - needed)}}}. "
            f"Missing but required: {{{_join(needed - sent)}}}."
        )
    for name in sorted(wanted):
        if name not in inputs and name not in defaults:
            raise refuse(
                f"Signature input alias: {name}(feed name: {wanted[name].name}) not "
                "found in request and no default value provided. Inputs expected to "
                f"be in the request {{{_join(inputs)}}}, or default input alias set: "
                f"{_join(defaults)}"
            )
    if not inputs.keys() <= wanted.keys():
        raise refuse(
            "Inputs contains invalid name. Used request inputs: "
            f"{_join(inputs.keys() & wanted.keys())}, request input: {_join(inputs)}"
        )
    return {**defaults, **inputs}


def check_type(name: str, place: int, value: np.ndarray, dtype: tf.DType) -> np.ndarray:
    """Return an input, strings as `object` of bytes.

    Args:
        name: of the input.
        place: of its name among all.
        value: the input.
        dtype: that it must have.

    Raises:
        ServingError: INVALID_ARGUMENT: it has another type.
    """
    is_text = value.dtype.kind in "OSU"
    sent = tf.string if is_text else tf.as_dtype(value.dtype)
    if sent != dtype:
        raise refuse(
            f"Expects arg[{place}] to be {_say(dtype)} but {_say(sent)} is provided "
            f"(input {name!r})."
        )
    if not is_text:
        return value
    strings = [v.encode() if isinstance(v, str) else v for v in value.flat]
    if not all(isinstance(string, bytes) for string in strings):
        raise refuse(f"Input {name!r} holds something that is no string.")
    array = np.empty(value.size, object)
    array[:] = strings
    return array.reshape(value.shape)


def check_shape(name: str, shape: tuple[int, ...], wanted: tf.TensorShape) -> None:
    """Refuse an input of another rank, or with another size where that is fixed.

    Raises:
        ServingError: INVALID_ARGUMENT: it has.
    """
    if not wanted.is_compatible_with(shape):
        sizes = ["?" if size is None else size for size in wanted]
        raise refuse(
            f"Input {name!r} has shape {_list(shape)}, but its signature takes "
            f"{_list(sizes)}."
        )


def _say(dtype: tf.DType) -> str:
    # As DataTypeString: float, double, int64, string.
    return types_pb2.DataType.Name(dtype.as_datatype_enum)[3:].lower()


def _list(sizes) -> str:
    return f"[{','.join(map(str, sizes))}]"


def _join(names) -> str:
    return ",".join(sorted(names))
