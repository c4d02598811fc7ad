"""A request that gets no answer."""

import grpc

#: Told where the server is at fault.
FAILED = "The server failed at this request; its log says why."
#: Of a message: gRPC sends it in a header, which may have 8 KB, and in which every byte
#: of what isn't ASCII takes three.
_MOST_BYTES = 1000


class ServingError(Exception):
    """A request that gets no answer.

    Args:
        code: of gRPC; REST translates it.
        message: one sentence, for the client. It may quote what the client sent: line
            breaks and the like become spaces, and a long one is cut.
        http_status: in place of the translation of `code`.
    """

    def __init__(self, code: grpc.StatusCode, message: str, http_status: int = 0):
        message = "".join(c if c.isprintable() else " " for c in message)
        message = message.encode(errors="replace")[:_MOST_BYTES].decode(errors="ignore")
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status


def refuse(message: str) -> ServingError:
    """Return the error of a request that is wrong in itself."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
