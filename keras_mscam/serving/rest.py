"""TensorFlow Serving's REST API, over the core."""

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable

import grpc
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tensorflow_serving.apis import model_pb2
from uvicorn.protocols.http.h11_impl import H11Protocol

from keras_mscam.serving.core import Core
from keras_mscam.serving.grpc_server import describe_states, get_signatures, has_token
from keras_mscam.serving.json_tensors import parse_document, read_inputs, write_outputs
from keras_mscam.serving.serving_error import FAILED, ServingError, refuse

_BEHIND_GZIP = "There are bytes behind the end of the body's gzip stream."
METRICS_PATH = "/monitoring/prometheus/metrics"
#: Answers as long as the process does, to anybody. TensorFlow Serving has no such path.
LIVENESS_PATH = "/healthz"
#: As TensorFlow Serving maps them; others are 500.
_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}


def build_app(core: Core) -> Starlette:
    """Return the ASGI application that speaks TensorFlow Serving's REST API.

    Errors are `{"error": "one sentence"}`.
    """
    api = _Api(core)
    routes = [Route(LIVENESS_PATH, api.live), Route(METRICS_PATH, api.show_metrics)]
    for place in ("", "/versions/{version}", "/labels/{label}"):
        model = "/v1/models/{name}" + place
        routes.append(Route(model + "/metadata", api.show_metadata))
        routes.append(Route(model + ":{action}", api.act, methods=["POST"]))
        routes.append(Route(model, api.show_status))
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(_BearerToken, token=core.token),
            Middleware(_Ceiling, most=core.most_at_once),
        ],
        exception_handlers=dict.fromkeys(
            (ServingError, HTTPException, Exception), _answer_error
        ),
    )
    app.router.redirect_slashes = False  # "/v1/models/NAME/" is no path of the API
    return app


class _BearerToken:
    """Answers requests without `Authorization: Bearer TOKEN` before reading a body."""

    def __init__(self, app, token: str | None):
        self.app = app
        self.token = token

    async def __call__(self, scope, receive, send):
        sent = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope.get("path") != LIVENESS_PATH and not has_token(sent, self.token):
            message = "A valid token is needed: send 'Authorization: Bearer TOKEN'."
            headers = {"WWW-Authenticate": "Bearer"}
            response = JSONResponse({"error": message}, 401, headers)
            return await response(scope, receive, send)
        return await self.app(scope, receive, send)


class _Ceiling:
    """Refuses more than so many requests at once; `LIVENESS_PATH` doesn't count."""

    def __init__(self, app, most: int):
        self.app = app
        self.most = most
        self.count = 0

    async def __call__(self, scope, receive, send):
        if scope.get("path") == LIVENESS_PATH:
            return await self.app(scope, receive, send)
        if self.count >= self.most:
            message = f"{self.count} requests are being answered; try again later."
            return await JSONResponse({"error": message}, 503)(scope, receive, send)
        self.count += 1
        try:
            return await self.app(scope, receive, send)
        finally:
            self.count -= 1


class _Api:
    def __init__(self, core: Core):
        self.core = core

    async def live(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def show_metrics(self, request: Request) -> Response:
        page, content_type = self.core.metrics.render()
        return Response(page, headers={"Content-Type": content_type})

    async def show_status(self, request: Request) -> Response:
        if ":" in request.url.path.rpartition("/")[2]:  # NAME:predict
            raise HTTPException(405, headers={"Allow": "POST"})
        versions = self.core.models.list_versions(*_read_model(request))
        return JSONResponse(_to_json(describe_states(versions)))

    async def show_metadata(self, request: Request) -> Response:
        name, number, label = _read_model(request)
        version = self.core.models.find(name, number, label)
        spec = model_pb2.ModelSpec(name=name)
        spec.version.value = version.number
        metadata = {"signature_def": _to_json(get_signatures(version))}
        return JSONResponse({"model_spec": _to_json(spec), "metadata": metadata})

    async def act(self, request: Request) -> Response:
        action = request.path_params["action"]
        if action != "predict":
            raise ServingError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"This server does not {action!r}; ask with :predict.",
            )
        core, request_id = self.core, request.headers.get("x-request-id")
        with core.metrics.record("REST", request_id) as record:
            model = _read_model(request)
            signature, inputs, rows = await self._read(request, model)
            prediction = core.predict(
                record, *model,
                signature=signature, inputs=inputs, timeout=core.options.timeout,
            )  # fmt: skip
            answer = await _unless_gone(request, prediction)
            size = sum(array.nbytes for array in answer.outputs.values())
            content = await core.convert(size, write_outputs, answer.outputs, rows)
        return Response(content, media_type="application/json")

    async def _read(self, request: Request, model: tuple):
        """Read signature, inputs and whether they are rows; keep nothing else of it."""
        core, body = self.core, bytearray()
        try:
            await _read_body(request, core, body)
            document = await core.convert(len(body), parse_document, body)
            signature = document.get("signature_name", "")
            servable = core.models.find(*model).get_servable()
            specs = servable.find_signature(signature).inputs
            inputs, rows = await core.convert(len(body), read_inputs, document, specs)
            return signature, inputs, rows
        finally:
            core.bytes_read -= len(body)


async def _answer_error(request: Request, error: Exception) -> Response:
    if isinstance(error, ServingError):
        status = error.http_status or _HTTP_STATUS.get(error.code, 500)
        return JSONResponse({"error": error.message}, status)
    if isinstance(error, HTTPException):
        path = f"{request.method} {request.url.path}"[:200]
        message = f"Malformed request: {path}: {error.detail}."
        return JSONResponse({"error": message}, error.status_code, error.headers)
    # The web server logs the traceback.
    return JSONResponse({"error": FAILED}, 500)


def _read_model(request: Request) -> tuple[str, int | None, str | None]:
    """Return name, version and label of the model in the path."""
    place = request.path_params
    version = place.get("version")
    if version is not None and not re.fullmatch("[0-9]{1,19}", version):
        raise refuse(f"{version[:40]!r} is no version of a model.")
    return place["name"], None if version is None else int(version), place.get("label")


async def _read_body(request: Request, core: Core, body: bytearray) -> None:
    """Read a body within bounds; with `Content-Encoding: gzip`, unpack it.

    Its bytes are added to those that the core counts.

    Raises:
        ServingError: it is too large (413), in an unknown encoding (415), too slow
            (408), or no gzip; too much is being read (429); or the client went away.
    """
    options = core.options
    most_bytes, timeout = options.max_request_bytes, options.timeout
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    unpacker = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    if encoding not in ("identity", "gzip"):
        raise ServingError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"Content-Encoding {encoding[:40]!r} is not known; use gzip or none.",
            http_status=415,
        )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > most_bytes):
        raise _too_large(most_bytes)
    try:
        async with asyncio.timeout(timeout):
            async for part in request.stream():
                if unpacker and part:
                    if unpacker.eof:
                        raise refuse(_BEHIND_GZIP)
                    # One byte more than allowed tells an end from a cut.
                    part = unpacker.decompress(part, most_bytes - len(body) + 1)
                    if unpacker.unused_data:
                        raise refuse(_BEHIND_GZIP)
                body += part
                core.bytes_read += len(part)
                if len(body) > most_bytes:
                    raise _too_large(most_bytes)
                if len(body) < core.bytes_read > options.max_queue_bytes:
                    raise ServingError(
                        grpc.StatusCode.RESOURCE_EXHAUSTED,
                        f"Requests of {core.bytes_read} bytes are being read, and no "
                        f"more than {options.max_queue_bytes} may; try again later.",
                    )
    except TimeoutError as error:
        raise ServingError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"The body of the request was not there after {timeout:g} s.",
            http_status=408,
        ) from error
    except ClientDisconnect as error:
        raise _client_left() from error
    except zlib.error as error:
        raise refuse("The body is not gzip, as its Content-Encoding says.") from error
    if unpacker and not unpacker.eof:
        raise refuse("The body is cut: its gzip stream does not end.")


async def _unless_gone(request: Request, prediction: Awaitable):
    """Await a prediction, which is cancelled when its client goes away."""
    work = asyncio.ensure_future(prediction)
    gone = asyncio.ensure_future(request.receive())  # nothing else comes after a body
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise _client_left()
        return work.result()
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


def _client_left() -> ServingError:
    return ServingError(grpc.StatusCode.CANCELLED, "The client went away.")


def _too_large(most_bytes: int) -> ServingError:
    return ServingError(
        grpc.StatusCode.OUT_OF_RANGE,
        f"The body of the request is larger than {most_bytes} bytes; send fewer images "
        "at a time.",
        http_status=413,
    )


def _to_json(message) -> dict:
    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def watch_connections(seconds: float) -> Callable[..., H11Protocol]:
    """Return what makes a connection in `uvicorn.Config(http=...)` that can't be idle.

    One that has had no request in progress for so many seconds, twice as many at most,
    and whose client has read nothing of its answer meanwhile, is closed: uvicorn itself
    waits for ever for the end of a head, and takes only so many connections. (Its other
    implementation, `httptools`, takes a head of any size.)
    """

    def watch(connection: H11Protocol, before) -> None:
        cycle = connection.cycle  # the latest request and its answer, or None
        unread = connection.transport.get_write_buffer_size()
        if connection.transport.is_closing() and not unread:
            return
        idle = cycle is None or cycle.response_complete
        if idle and (cycle, unread) == before:
            connection.transport.abort()  # to close would wait for its client
            return
        before = (cycle, unread) if idle else None
        connection.loop.call_later(seconds, watch, connection, before)

    def connect(**options) -> H11Protocol:
        connection = H11Protocol(**options)
        connection.loop.call_later(seconds, watch, connection, (None, 0))
        return connection

    return connect
