"""TF Serving's gRPC PredictionService, from the client's side."""

import asyncio

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from keras_mscam.serving.client_errors import PASSING, ServiceError
from keras_mscam.serving.client_inputs import keep_bytes

#: Answers with all maps are larger than gRPC's 4 MB.
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Else nothing is tried for a second after a connection that failed, and the
    # client's own tries would all be over by then.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5000),
]
#: What gRPC says of a message over the limit, with the code of a full queue.
_TOO_LARGE = "larger than max"


class GrpcTransport:
    """Sends inputs and takes outputs as TensorProtos.

    Args:
        url: `grpc://HOST:PORT`, or `grpcs://` over TLS.
        name: of the model.
        version: its number, or `None`.
        label: of the version, or `None`.
        token: bearer token, or `None`.
        timeout: seconds.
    """

    def __init__(self, url, name, version, label, token, timeout):
        scheme, _, self.target = url.rstrip("/").partition("://")
        self.secure = scheme == "grpcs"
        self._spec = name, version, label
        self._options = {
            "timeout": timeout,
            "metadata": [("authorization", f"Bearer {token}")] if token else [],
        }
        self._channel: grpc.Channel | None = None
        self._async_channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def call(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """Send a request and wait for its answer."""
        self._channel = self._channel or self._connect(grpc)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        try:
            answer = stub.Predict(self._build(signature, inputs), **self._options)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        return _decode(answer)

    async def call_async(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """As `call`."""
        channel = self._find_async_channel()
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            answer = await stub.Predict(self._build(signature, inputs), **self._options)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        return _decode(answer)

    def close(self) -> None:
        """Close the channel of `call`."""
        if self._channel:
            self._channel.close()
            self._channel = None

    async def close_async(self) -> None:
        """Close the channel of `call_async`."""
        if self._async_channel and self._loop is asyncio.get_running_loop():
            await self._async_channel.close()
        self._async_channel = self._loop = None

    def _find_async_channel(self) -> grpc.aio.Channel:
        # A channel works in the event loop that it was made in, and in no other.
        loop = asyncio.get_running_loop()
        if self._async_channel is None or self._loop is not loop:
            self._async_channel, self._loop = self._connect(grpc.aio), loop
        return self._async_channel

    def _connect(self, module):
        if self.secure:
            credentials = grpc.ssl_channel_credentials()
            return module.secure_channel(self.target, credentials, options=_OPTIONS)
        return module.insecure_channel(self.target, options=_OPTIONS)

    def _build(self, signature: str, inputs: dict) -> predict_pb2.PredictRequest:
        name, version, label = self._spec
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        for key, values in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(keep_bytes(values)))
        return request

    def _explain(self, error: grpc.RpcError) -> ServiceError:
        code, details = error.code().name, " ".join((error.details() or "").split())
        return ServiceError(
            f"{self.target} gave no answer, but {code}: {details}",
            code,
            may_pass=code in PASSING and _TOO_LARGE not in details,
        )


def _decode(answer: predict_pb2.PredictResponse) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(proto) for name, proto in answer.outputs.items()}
