"""What goes wrong between a client and a server."""

from keras_mscam.errors import UserError


class ServiceError(UserError):
    """A server refused a request, or can't be reached.

    Args:
        message: one sentence, with the server's own.
        code: name of the status, as of gRPC: `"INVALID_ARGUMENT"`.
        may_pass: whether the same request may succeed later.
    """

    def __init__(self, message: str, code: str, may_pass: bool):
        super().__init__(message)
        self.code = code
        self.may_pass = may_pass


#: Statuses that say nothing against the request itself.
PASSING = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
