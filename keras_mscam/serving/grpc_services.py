"""TF Serving's gRPC services, over a core that predicts."""

import functools
import hmac
import logging

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from keras_mscam.serving.core import Core
from keras_mscam.serving.errors import ServingError, refuse
from keras_mscam.serving.logs import PROTOCOL
from keras_mscam.serving.tensor_protos import read_tensor, write_tensor

_SIGNATURE_DEF = "signature_def"

_log = logging.getLogger(__name__)


def build_server(
    core: Core, *, token: str | None, max_request_bytes: int, timeout: float | None
) -> grpc.aio.Server:
    """Return a server of PredictionService and ModelService, without a port.

    Args:
        core: that knows the models.
        token: that requests must carry as `authorization: Bearer TOKEN`, or `None`.
        max_request_bytes: of a request.
        timeout: seconds that an answer may take; a client may ask for less.
    """
    server = grpc.aio.server(
        interceptors=[BearerInterceptor(token)] if token else [],
        options=[
            ("grpc.max_receive_message_length", max_request_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a port that is in use is an error
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(core, max_request_bytes, timeout), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        ModelService(core), server
    )
    return server


def _answer(method):
    """Decorate a method: what it raises becomes the status of the call."""

    @functools.wraps(method)
    async def call(self, request: Message, context: grpc.aio.ServicerContext):
        PROTOCOL.set("gRPC")
        try:
            return await method(self, request, context)
        except ServingError as error:
            code, message = error.code, error.message
        except Exception:
            _log.exception("%s failed.", method.__name__)
            code = grpc.StatusCode.INTERNAL
            message = "The server failed at this request; its log says why."
        await context.abort(code, message)

    return call


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata. See `build_server` for the arguments."""

    def __init__(self, core: Core, max_request_bytes: int, timeout: float | None):
        self.core = core
        self.max_request_bytes = max_request_bytes
        self.timeout = timeout

    @_answer
    async def Predict(self, request, context):  # noqa: N802  as the service names it
        spec = _read_spec(request)
        inputs = {
            name: read_tensor(name, proto, self.max_request_bytes)
            for name, proto in request.inputs.items()
        }
        answer = await self.core.predict(
            **spec,
            signature=request.model_spec.signature_name,
            inputs=inputs,
            output_filter=tuple(request.output_filter),
            timeout=self._get_timeout(context),
        )
        response = predict_pb2.PredictResponse(
            outputs={name: write_tensor(v) for name, v in answer.outputs.items()}
        )
        response.model_spec.CopyFrom(_write_spec(spec["name"], answer.version))
        response.model_spec.signature_name = answer.signature
        return response

    @_answer
    async def GetModelMetadata(self, request, context):  # noqa: N802
        spec = _read_spec(request)
        if not request.metadata_field:
            raise refuse(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise refuse(f"Metadata field {field} is not supported")
        version, signatures = self.core.get_signatures(**spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=_write_spec(spec["name"], version)
        )
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    @_answer
    async def Classify(self, request, context):  # noqa: N802
        raise _not_offered("Classify")

    @_answer
    async def Regress(self, request, context):  # noqa: N802
        raise _not_offered("Regress")

    @_answer
    async def MultiInference(self, request, context):  # noqa: N802
        raise _not_offered("MultiInference")

    def _get_timeout(self, context) -> float | None:
        """Return the client's time or the server's, whichever ends first."""
        given = [context.time_remaining(), self.timeout]
        return min((seconds for seconds in given if seconds is not None), default=None)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus."""

    def __init__(self, core: Core):
        self.core = core

    @_answer
    async def GetModelStatus(self, request, context):  # noqa: N802
        response = get_model_status_pb2.GetModelStatusResponse()
        for state in self.core.get_states(**_read_spec(request)):
            entry = response.model_version_status.add(
                version=state.version, state=state.state
            )
            entry.status.error_code = (
                entry.status.DESCRIPTOR.fields_by_name["error_code"]
                .enum_type.values_by_name[state.error_code]
                .number
            )
            entry.status.error_message = state.error_message
        return response

    @_answer
    async def HandleReloadConfigRequest(self, request, context):  # noqa: N802
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            "This server finds new versions in its folder; start it anew for another "
            "configuration.",
        )


class BearerInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls that don't carry the token.

    Args:
        token: that they must carry.
    """

    def __init__(self, token: str):
        self._wanted = f"Bearer {token}".encode()

    async def intercept_service(self, continuation, details):
        handler = await continuation(details)
        metadata = dict(details.invocation_metadata)
        given = str(metadata.get("authorization", "")).encode()
        if handler is None or hmac.compare_digest(given, self._wanted):
            return handler
        return grpc.unary_unary_rpc_method_handler(
            _abort_unauthenticated,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


async def _abort_unauthenticated(request, context):
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "The call carries no valid token; send authorization: Bearer TOKEN.",
    )


def _read_spec(request) -> dict:
    """Return name, version and label that a request asks for."""
    if not request.HasField("model_spec"):
        raise refuse("Missing ModelSpec")
    spec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    return {
        "name": spec.name,
        "version": spec.version.value if choice == "version" else None,
        "label": spec.version_label if choice == "version_label" else None,
    }


def _write_spec(name: str, version: int) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name)
    spec.version.value = version
    return spec


def _not_offered(method: str) -> ServingError:
    return ServingError(
        grpc.StatusCode.UNIMPLEMENTED, f"This server does not {method}; use Predict."
    )
