"""TensorFlow Serving's gRPC services, over the core."""

# ruff: noqa: N802  # methods are named as in the services' definitions

import asyncio
import hmac
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
)

from keras_mscam.serving.batching import count_bytes
from keras_mscam.serving.core import Answer, Core
from keras_mscam.serving.served_models import Version
from keras_mscam.serving.serving_error import FAILED, ServingError, refuse

#: What `grpcurl` and its like may ask the server about.
_SERVICES = (
    prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
    reflection.SERVICE_NAME,
)
_METADATA_FIELD = "signature_def"
#: Of a TensorProto, by type of its array. Clients of TensorFlow Serving read these,
#: `outputs["y"].float_val`, where `tf.make_tensor_proto` would pack bytes.
_FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "int_val"),
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
}
_log = logging.getLogger(__name__)


def build_grpc_server(core: Core) -> grpc.aio.Server:
    """Return a server of PredictionService and ModelService, without a port yet."""
    most_bytes = min(core.options.max_request_bytes, 2**31 - 1)
    server = grpc.aio.server(
        interceptors=[_Guard(core.token, core.options.timeout)],
        maximum_concurrent_rpcs=core.most_at_once,
        options=[
            ("grpc.max_receive_message_length", most_bytes),
            ("grpc.max_send_message_length", -1),
            # Else a second server would take half of the requests to this port.
            ("grpc.so_reuseport", 0),
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _PredictionService(core), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _ModelService(core), server
    )
    reflection.enable_server_reflection(_SERVICES, server)
    return server


class _Guard(grpc.aio.ServerInterceptor):
    """Refuses calls without the token, and messages that are late or can't be parsed.

    gRPC itself would say UNKNOWN of the last, as of a defect of the server. And it
    would wait for a message for ever before it calls anything. So a call is a stream
    here, of one message; clients see no difference.
    """

    def __init__(self, token: str | None, timeout: float):
        self.token = token
        self.timeout = timeout

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable],
        handler_call_details: grpc.HandlerCallDetails,
    ):
        """Put a refusal, or the parsing of the message, into the method."""

        async def refuse_stranger(_, context):
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "A valid token is needed: send 'authorization: Bearer TOKEN'.",
            )

        async def parse_and_answer(parts, context):
            try:
                async with asyncio.timeout(self.timeout):
                    data = await anext(aiter(parts))
                request = handler.request_deserializer(data)
            except TimeoutError:
                await context.abort(
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    f"The request was not there after {self.timeout:g} s.",
                )
            except StopAsyncIteration:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, "The request has no message."
                )
            except DecodeError:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "The message of the request cannot be parsed.",
                )
            return await handler.unary_unary(request, context)

        metadata = dict(handler_call_details.invocation_metadata or ())
        if not has_token(metadata.get("authorization", ""), self.token):
            return grpc.stream_unary_rpc_method_handler(refuse_stranger)
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        return grpc.stream_unary_rpc_method_handler(
            parse_and_answer, response_serializer=handler.response_serializer
        )


def has_token(sent: str | bytes, token: str | None) -> bool:
    """Return whether `Bearer TOKEN` was sent, or none is asked for."""
    sent = sent.encode("latin-1", "replace") if isinstance(sent, str) else sent
    scheme, _, known = sent.partition(b" ")
    return token is None or (
        hmac.compare_digest(known.strip(), token.encode())
        and scheme.lower() == b"bearer"
    )


async def _decline(_, request, context):
    await context.abort(
        grpc.StatusCode.UNIMPLEMENTED,
        "This server has Predict, GetModelMetadata and GetModelStatus alone.",
    )


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    Classify = Regress = MultiInference = _decline

    def __init__(self, core: Core):
        self.core = core

    async def Predict(self, request, context):
        """Run a signature of a model."""
        headers = dict(context.invocation_metadata() or ())
        request_id = headers.get("x-request-id")
        async with _aborting(context):
            with self.core.metrics.record("GRPC", request_id) as record:
                model, options = _read_spec(request), self.core.options
                inputs = await self.core.convert(
                    request.ByteSize(), decode_inputs,
                    request.inputs, options.max_request_bytes,
                )  # fmt: skip
                remaining = context.time_remaining()
                timeout = math.inf if remaining is None else remaining
                answer = await self.core.predict(
                    record, *model,
                    signature=request.model_spec.signature_name, inputs=inputs,
                    output_filter=request.output_filter,
                    timeout=min(options.timeout, timeout),
                )  # fmt: skip
                size = sum(array.nbytes for array in answer.outputs.values())
                return await self.core.convert(size, _build_response, model[0], answer)

    async def GetModelMetadata(self, request, context):
        """Return the signatures of a version."""
        async with _aborting(context):
            model = _read_spec(request)
            if set(request.metadata_field) != {_METADATA_FIELD}:
                raise refuse(f"The metadata_field must be {_METADATA_FIELD!r}.")
            version = self.core.models.find(*model)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = model[0]
            response.model_spec.version.value = version.number
            response.metadata[_METADATA_FIELD].Pack(get_signatures(version))
            return response


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    HandleReloadConfigRequest = _decline

    def __init__(self, core: Core):
        self.core = core

    async def GetModelStatus(self, request, context):
        """Return the states of all versions of a model, or of one."""
        async with _aborting(context):
            versions = self.core.models.list_versions(*_read_spec(request))
            return describe_states(versions)


def get_signatures(version: Version) -> get_model_metadata_pb2.SignatureDefMap:
    """Return the signatures of a version, as GetModelMetadata gives them."""
    definitions = version.get_servable().signature_defs
    return get_model_metadata_pb2.SignatureDefMap(signature_def=definitions)


def describe_states(
    versions: list[Version],
) -> get_model_status_pb2.GetModelStatusResponse:
    """Return the states of versions, as GetModelStatus gives them."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        status = {"error_code": version.error_code, "error_message": version.error}
        response.model_version_status.add(
            version=version.number, state=version.state, status=status
        )
    return response


def decode_inputs(
    protos: Mapping[str, tensor_pb2.TensorProto], most_bytes: int
) -> dict[str, np.ndarray]:
    """Return the tensors of a request as arrays of so many bytes at most in all.

    A shape may claim any size, since the last value is repeated to fill it: it is
    compared with what is left before memory is taken. What is malformed, or too large,
    is a `ServingError`.
    """
    arrays = {}
    for name, proto in protos.items():
        try:
            sides = [dim.size for dim in proto.tensor_shape.dim]
            if any(side < 0 for side in sides) or proto.tensor_shape.unknown_rank:
                raise ValueError("its shape has a size that is unknown")
            if len(sides) > 32:  # more than NumPy and TensorFlow can do
                raise ValueError(f"it has {len(sides)} dimensions")
            try:
                itemsize = np.dtype(tf.as_dtype(proto.dtype).as_numpy_dtype).itemsize
            except (KeyError, TypeError):
                raise ValueError(f"type {proto.dtype} is not supported") from None
            # Beside a 0, sizes may be anything for TensorFlow; NumPy counts bytes.
            if math.prod(max(side, 1) for side in sides) * itemsize > most_bytes:
                raise ValueError(f"its shape {sides} is too large")
            arrays[name] = tf.make_ndarray(proto)
            if arrays[name].dtype == object and not all(
                isinstance(string, bytes) for string in arrays[name].flat
            ):
                raise ValueError("it holds no strings")
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise refuse(f"The tensor {name!r} is malformed: {error}.") from error
        most_bytes -= count_bytes({name: arrays[name]})
        if most_bytes < 0:
            raise refuse(f"The tensor {name!r} is larger than this server takes.")
    return arrays


def encode_output(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Return an array as a TensorProto, in the field of its type."""
    if array.dtype == object:
        return tf.make_tensor_proto(array, tf.string)
    field = _FIELDS.get(array.dtype.name)
    if field is None:
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(
        dtype=tf.as_dtype(array.dtype).as_datatype_enum,
        tensor_shape=tf.TensorShape(array.shape).as_proto(),
    )
    getattr(proto, field).extend(array.ravel().tolist())
    return proto


@asynccontextmanager
async def _aborting(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """End a call with the error that is raised."""
    try:
        try:
            yield
        except ServingError as error:
            await context.abort(error.code, error.message)
        except Exception:
            _log.exception("A request failed.")
            await context.abort(grpc.StatusCode.INTERNAL, FAILED)
    except grpc.aio.InternalError as error:
        # The client is gone, often since its own deadline was over a moment earlier.
        # gRPC would log a traceback of this, but not of a call that is cancelled.
        raise asyncio.CancelledError from error


def _read_spec(request) -> tuple[str, int | None, str | None]:
    """Return name, version and label of the model that is meant."""
    spec: model_pb2.ModelSpec = request.model_spec
    if not spec.name:
        raise refuse("The model_spec has no name.")
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _build_response(name: str, answer: Answer) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = name
    response.model_spec.version.value = answer.version
    response.model_spec.signature_name = answer.signature
    for key, array in answer.outputs.items():
        response.outputs[key].CopyFrom(encode_output(array))
    return response
