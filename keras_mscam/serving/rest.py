"""TF Serving's REST API, over any core that predicts."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import quote

import grpc
import numpy as np
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from tensorflow_serving.apis import get_model_status_pb2, model_pb2, status_pb2

from keras_mscam.serving.errors import ServingError
from keras_mscam.serving.json_parsing import parse_object
from keras_mscam.serving.json_tensors import (
    read_inputs,
    read_signature_name,
    write_outputs,
)
from keras_mscam.serving.logs import log_request
from keras_mscam.serving.rest_bodies import BodyError, read_body
from keras_mscam.serving.rest_disconnect import cancel_on_disconnect
from keras_mscam.serving.rest_paths import PREFIX, Resource, parse_path
from keras_mscam.serving.rest_token import BearerToken

METRICS_PATH = "/monitoring/prometheus/metrics"
#: Answers as long as the process does. An addition to TF Serving's paths.
LIVENESS_PATH = "/healthz"
#: As `http_server.cc` of TF Serving maps them.
_HTTP_STATUS = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
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
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
#: Of an error, which may quote what the client sent.
_MOST_CHARACTERS = 1000
#: From there on, JSON is read and written beside the event loop.
_LARGE = 1 << 16
#: Large documents that are read or written at a time. Python runs one thread at a time,
#: so that more would take memory and give no speed.
_WORKERS = 2
_log = logging.getLogger(__name__)


def build_app(
    core,
    metrics,
    *,
    token: str | None,
    max_request_bytes: int,
    timeout: float | None,
) -> Starlette:
    """Return the ASGI application that speaks TF Serving's REST API.

    Args:
        core: that knows the models; `keras_mscam.serving.core.Core`.
        metrics: to count in and to show; `keras_mscam.serving.metrics.Metrics`.
        token: that requests must carry, also those for metrics. `None`: none.
        max_request_bytes: of a body, before and after unpacking.
        timeout: seconds for a body to arrive, and for a prediction. `None`: no limit.

    Returns:
        The application. Errors are `{"error": "one sentence"}`.
    """
    middleware = []
    if token is not None:
        free = frozenset((LIVENESS_PATH,))
        middleware.append(Middleware(BearerToken, token=token, open_paths=free))
    api = _Api(core, metrics, max_request_bytes, timeout)
    return Starlette(routes=[Mount("", api)], middleware=middleware)


@dataclass(frozen=True)
class _Request:
    signature: str
    inputs: dict[str, np.ndarray]
    rows: bool


class _Api:
    def __init__(self, core, metrics, max_request_bytes, timeout):
        self.core = core
        self.metrics = metrics
        self.max_request_bytes = max_request_bytes
        self.timeout = timeout
        self.pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="json")

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})
        try:
            response = await self._answer(scope, receive)
        except ServingError as error:
            own = isinstance(error, BodyError)
            status = error.status if own else _HTTP_STATUS[error.code]
            response = _make_error(status, error.message)
        except Exception:
            _log.exception("%s %r failed.", scope["method"], scope["path"])
            response = _make_error(
                500, "The server failed at this request; its log says why."
            )
        return await response(scope, receive, send)

    async def _answer(self, scope, receive) -> Response:
        path = _get_sent_path(scope)
        if path == LIVENESS_PATH:
            return JSONResponse({"status": "ok"})
        if path == METRICS_PATH:
            page, content_type = self.metrics.render()
            return Response(page, headers={"Content-Type": content_type})
        if not path.lower().startswith(PREFIX):
            return _make_error(404, f"There is nothing at {path[:200]}.")
        headers = Headers(scope=scope)
        if scope["method"] == "OPTIONS":
            return _answer_preflight(headers)
        if query := scope["query_string"].decode("latin-1"):
            path = f"{path}?{query}"
        resource = parse_path(scope["method"], path)
        if resource.action == "status":
            return self._answer_status(resource)
        if resource.action == "metadata":
            return self._answer_metadata(resource)
        if resource.action != "predict":
            raise ServingError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"This server does not {resource.action}; ask with :predict.",
            )
        return await self._answer_predict(resource, headers, receive)

    def _answer_status(self, resource: Resource) -> Response:
        states = self.core.get_states(resource.name, resource.version, resource.label)
        message = get_model_status_pb2.GetModelStatusResponse(
            model_version_status=[
                get_model_status_pb2.ModelVersionStatus(
                    version=state.version,
                    state=state.state,
                    status=status_pb2.StatusProto(
                        error_code=state.error_code, error_message=state.error_message
                    ),
                )
                for state in sorted(states, key=lambda s: s.version, reverse=True)
            ]
        )
        return JSONResponse(_to_json(message))

    def _answer_metadata(self, resource: Resource) -> Response:
        version, signatures = self.core.get_signatures(
            resource.name, resource.version, resource.label
        )
        spec = model_pb2.ModelSpec(name=resource.name)
        spec.version.value = version
        metadata = {"signature_def": _to_json(signatures)}
        return JSONResponse({"model_spec": _to_json(spec), "metadata": metadata})

    async def _answer_predict(
        self, resource: Resource, headers: Headers, receive
    ) -> Response:
        model = (resource.name, resource.version, resource.label)
        start = time.perf_counter()
        try:
            request = await self._read_request(model, headers, receive)
        except ServingError as error:
            # The core counts and logs what it sees; it does not see this.
            seconds = time.perf_counter() - start
            self.metrics.count_request("", "", error.code, seconds)
            log_request("", None, "", 0, error.code, seconds)
            raise
        prediction = self.core.predict(
            resource.name,
            version=resource.version,
            label=resource.label,
            signature=request.signature,
            inputs=request.inputs,
            timeout=self.timeout,
        )
        result = await cancel_on_disconnect(receive, prediction)
        size = sum(array.nbytes for array in result.outputs.values())
        body = await self._run(size, write_outputs, result.outputs, request.rows)
        return Response(body, media_type="application/json")

    async def _read_request(self, model: tuple, headers: Headers, receive):
        body = await read_body(headers, receive, self.max_request_bytes, self.timeout)
        document = await self._run(len(body), parse_object, body)
        signature = read_signature_name(document)
        specs = self.core.get_input_specs(*model, signature)
        inputs, rows = await self._run(len(body), read_inputs, document, specs)
        return _Request(signature, inputs, rows)

    async def _run(self, size: int, function: Callable, *arguments):
        if size < _LARGE:
            return function(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, function, *arguments)


def _answer_preflight(headers: Headers) -> Response:
    # TF Serving without --rest_api_enable_cors_support: allowed, but nothing is said
    # about other origins, so that browsers keep to their own.
    if re.search("https?://", headers.get("origin", "")):
        return Response(b"", media_type="application/json")
    return _make_error(400, "Origin header is missing in CORS preflight.")


def _get_sent_path(scope) -> str:
    raw = scope.get("raw_path")
    return raw.decode("latin-1") if raw else quote(scope["path"])


def _make_error(status: int, message: str) -> Response:
    # Escaped, since a message may quote half a surrogate pair of the request.
    body = json.dumps({"error": message[:_MOST_CHARACTERS]})
    return Response(body, status_code=status, media_type="application/json")


def _to_json(message) -> dict:
    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
