"""The body of a request, read within bounds."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import grpc
from starlette.datastructures import Headers

from keras_mscam.serving.errors import ServingError, refuse


class BodyError(ServingError):
    """A body that HTTP has a status of its own for.

    Args:
        status: of HTTP.
        code: of gRPC, the nearest one, for counts and logs.
        message: one sentence.
    """

    def __init__(self, status: int, code: grpc.StatusCode, message: str):
        super().__init__(code, message)
        self.status = status


async def read_body(
    headers: Headers,
    receive: Callable[[], Awaitable[dict]],
    most_bytes: int,
    timeout: float | None,
) -> bytes:
    """Read a body; with `Content-Encoding: gzip`, unpack it.

    Args:
        headers: of the request.
        receive: of ASGI.
        most_bytes: that are taken, before and after unpacking.
        timeout: seconds until the body must be there.

    Returns:
        The plain body.

    Raises:
        BodyError: it is too large (413), in an unknown encoding (415), or too slow
            (408).
        ServingError: CANCELLED: the client went away. INVALID_ARGUMENT: not gzip.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise BodyError(
            415,
            grpc.StatusCode.INVALID_ARGUMENT,
            f"Content-Encoding {encoding[:40]!r} is not known; use gzip or none.",
        )
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > most_bytes):
        raise _too_large(most_bytes)
    try:
        async with asyncio.timeout(timeout):
            body = await _receive_all(receive, most_bytes)
    except TimeoutError as error:
        raise BodyError(
            408,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"The body of the request was not there after {timeout:g} s.",
        ) from error
    if encoding in ("gzip", "x-gzip"):
        return await asyncio.to_thread(_unpack, body, most_bytes)
    return body


async def _receive_all(receive, most_bytes: int) -> bytes:
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ServingError(
                grpc.StatusCode.CANCELLED,
                "The client went away with its body half sent.",
            )
        body += message.get("body", b"")
        if len(body) > most_bytes:
            raise _too_large(most_bytes)
        more = message.get("more_body", False)
    return bytes(body)


def _unpack(body: bytes, most_bytes: int) -> bytes:
    # 16 asks for the header and checksum of gzip.
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        # One byte more than allowed tells an end from a cut.
        plain = unpacker.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise refuse("The body is not gzip, as its Content-Encoding says.") from error
    if len(plain) > most_bytes:
        raise _too_large(most_bytes)
    if not unpacker.eof:
        raise refuse("The body is cut: its gzip stream does not end.")
    return plain


def _too_large(most_bytes: int) -> BodyError:
    return BodyError(
        413,
        grpc.StatusCode.OUT_OF_RANGE,
        f"The body of the request is larger than {most_bytes} bytes; send fewer images "
        "at a time.",
    )
