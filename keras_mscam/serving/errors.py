"""What a request can get wrong, or a server run out of."""

import re

import grpc
import tensorflow as tf

_CODES = {code.value[0]: code for code in grpc.StatusCode}
#: What TensorFlow puts around the sentence of an operation that failed.
_AROUND = re.compile(
    r"Graph execution error:|\d+ root error\(s\) found\.|<stack traces unavailable>"
    r"|Detected at node .*|^Node: .*|^  File .*|\{\{function_node [^}]*\}\}"
    r"|\[\[\{\{node .*|\[Op:.*",
    re.MULTILINE,
)


class ServingError(Exception):
    """A request that gets no answer.

    Args:
        code: of gRPC; REST translates it.
        message: one sentence, for the client. It may quote what the client sent: line
            breaks and the like become spaces.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        message = "".join(c if c.isprintable() else " " for c in message)
        super().__init__(message)
        self.code = code
        self.message = message


def refuse(message: str) -> ServingError:
    """Return the error of a request that is wrong in itself."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """Return the error of a request for what isn't there."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def from_tensorflow(error: tf.errors.OpError) -> ServingError:
    """Return what a failed graph says, under its own code, in one line."""
    lines = _AROUND.sub("", error.message or "").splitlines()
    said = next((line.strip() for line in lines if line.strip()), "The graph failed.")
    return ServingError(_CODES.get(error.error_code, grpc.StatusCode.INTERNAL), said)
