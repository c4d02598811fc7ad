"""TF Serving's gRPC services, over the core."""

# ruff: noqa: N802  # methods are named as in the services' definitions

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    status_pb2,
)

from keras_mscam.serving.core import Answer, Core
from keras_mscam.serving.errors import ServingError, refuse
from keras_mscam.serving.grpc_messages import MessageInterceptor
from keras_mscam.serving.grpc_token import BearerTokenInterceptor
from keras_mscam.serving.logs import PROTOCOL, REQUEST_ID, log_request, read_request_id
from keras_mscam.serving.reload_config import reload_config
from keras_mscam.serving.tensor_protos import decode_inputs, encode

#: Of an error: gRPC sends it in a header, which may have 8 KB, in which every byte of
#: what isn't ASCII takes three.
_MOST_BYTES = 1000
#: From there on, tensors are read and written beside the event loop.
_LARGE = 1 << 16
#: What `grpcurl` and its like may ask the server about.
_SERVICES = (
    prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
    reflection.SERVICE_NAME,
)
_METADATA_FIELD = "signature_def"
_log = logging.getLogger(__name__)


def build_grpc_server(
    core: Core,
    *,
    token: str | None,
    max_request_bytes: int,
    timeout: float | None,
) -> grpc.aio.Server:
    """Return a server of PredictionService and ModelService, without a port yet.

    Args:
        core: that knows the models.
        token: that requests must carry as `authorization: Bearer TOKEN`. `None`: none.
        max_request_bytes: of a message, and of the tensors in it.
        timeout: seconds for an answer at most. `None`: the client's deadline counts.
    """
    guards = [BearerTokenInterceptor(token)] if token else []
    server = grpc.aio.server(
        interceptors=[*guards, MessageInterceptor(core.metrics)],
        maximum_concurrent_rpcs=core.most_at_once,
        options=[
            ("grpc.max_receive_message_length", max_request_bytes),
            ("grpc.max_send_message_length", -1),
            # Else a second server would take half of the requests to this port.
            ("grpc.so_reuseport", 0),
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(core, max_request_bytes, timeout), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        ModelService(core), server
    )
    reflection.enable_server_reflection(_SERVICES, server)
    return server


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata.

    Args:
        core: that knows the models.
        max_request_bytes: of the tensors of a request.
        timeout: seconds, see `build_grpc_server`.
    """

    def __init__(self, core: Core, max_request_bytes: int, timeout: float | None):
        self.core = core
        self.max_request_bytes = max_request_bytes
        self.timeout = timeout
        self.pool = ThreadPoolExecutor(2, thread_name_prefix="protobuf")

    async def Predict(self, request, context):
        """Run a signature of a model."""
        async with _answering(context):
            spec = request.model_spec
            inputs = await self._read(request)
            answer = await self.core.predict(
                spec.name,
                **_read_version(spec),
                signature=spec.signature_name,
                inputs=inputs,
                output_filter=request.output_filter,
                timeout=_find_timeout(context, self.timeout),
            )
            size = sum(array.nbytes for array in answer.outputs.values())
            return await self._run(size, _build_response, spec.name, answer)

    async def GetModelMetadata(self, request, context):
        """Return the signatures of a version."""
        async with _answering(context):
            spec = _check_spec(request)
            if not request.metadata_field:
                raise refuse(
                    "GetModelMetadataRequest must specify at least one metadata_field"
                )
            for field in request.metadata_field:
                if field != _METADATA_FIELD:
                    raise refuse(f"Metadata field {field} is not supported")
            version, signatures = self.core.get_signatures(
                spec.name, **_read_version(spec)
            )
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = spec.name
            response.model_spec.version.value = version
            response.metadata[_METADATA_FIELD].Pack(signatures)
            return response

    async def Classify(self, request, context):
        """Not of this server."""
        await _decline(context, "Classify")

    async def Regress(self, request, context):
        """Not of this server."""
        await _decline(context, "Regress")

    async def MultiInference(self, request, context):
        """Not of this server."""
        await _decline(context, "MultiInference")

    async def _read(self, request: predict_pb2.PredictRequest) -> dict:
        start = time.perf_counter()
        try:
            _check_spec(request)
            return await self._run(
                request.ByteSize(),
                decode_inputs,
                request.inputs,
                self.max_request_bytes,
            )
        except ServingError as error:
            # The core counts and logs what it sees; it does not see this.
            seconds = time.perf_counter() - start
            self.core.metrics.count_request("", "", error.code, seconds, "GRPC")
            log_request("", None, "", 0, error.code, seconds)
            raise

    async def _run(self, size: int, function: Callable, *arguments):
        if size < _LARGE:
            return function(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, function, *arguments)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """States of versions, and which are wanted.

    Args:
        core: that knows the models.
    """

    def __init__(self, core: Core):
        self.core = core

    async def GetModelStatus(self, request, context):
        """Return the states of all versions of a model, or of one."""
        async with _answering(context):
            spec = _check_spec(request)
            response = get_model_status_pb2.GetModelStatusResponse()
            for state in self.core.get_states(spec.name, **_read_version(spec)):
                response.model_version_status.add(
                    version=state.version,
                    state=state.state,
                    status=status_pb2.StatusProto(
                        error_code=state.error_code, error_message=state.error_message
                    ),
                )
            return response

    async def HandleReloadConfigRequest(self, request, context):
        """Change which versions are wanted, and their labels."""
        async with _answering(context):
            await reload_config(self.core.repository, request.config)
            return model_management_pb2.ReloadConfigResponse(
                status=status_pb2.StatusProto(error_code="OK")
            )


@asynccontextmanager
async def _answering(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """Say by which protocol the request came, and end it if an error is raised."""
    PROTOCOL.set("GRPC")
    metadata = dict(context.invocation_metadata() or ())
    REQUEST_ID.set(read_request_id(metadata.get("x-request-id")))
    try:
        yield
    except ServingError as error:
        await _abort(context, error.code, _cut(error.message))
    except Exception:
        _log.exception("A request failed.")
        await _abort(
            context,
            grpc.StatusCode.INTERNAL,
            "The server failed at this request; its log says why.",
        )


async def _abort(
    context: grpc.aio.ServicerContext, code: grpc.StatusCode, message: str
) -> None:
    try:
        await context.abort(code, message)
    except grpc.aio.InternalError as error:
        # The client is gone, often since its own deadline was over a moment earlier.
        # gRPC would log a traceback of this, but not of a call that is cancelled.
        raise asyncio.CancelledError from error


def _cut(message: str) -> str:
    return message.encode()[:_MOST_BYTES].decode(errors="ignore")


async def _decline(context: grpc.aio.ServicerContext, method: str) -> None:
    await context.abort(
        grpc.StatusCode.UNIMPLEMENTED,
        f"This server has no {method}; ask with Predict.",
    )


def _check_spec(request) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise refuse("Missing ModelSpec")
    if not request.model_spec.name:
        raise refuse("ModelSpec has no name specified.")
    return request.model_spec


def _read_version(spec: model_pb2.ModelSpec) -> dict:
    choice = spec.WhichOneof("version_choice")
    return {
        "version": spec.version.value if choice == "version" else None,
        "label": spec.version_label if choice == "version_label" else None,
    }


def _find_timeout(
    context: grpc.aio.ServicerContext, timeout: float | None
) -> float | None:
    limits = (context.time_remaining(), timeout)
    return min((limit for limit in limits if limit is not None), default=None)


def _build_response(name: str, answer: Answer) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = name
    response.model_spec.version.value = answer.version
    response.model_spec.signature_name = answer.signature
    for key, array in answer.outputs.items():
        response.outputs[key].CopyFrom(encode(array))
    return response
