"""Messages that can't be parsed: the client's mistake, not the server's."""

from collections.abc import Awaitable, Callable

import grpc
from google.protobuf.message import DecodeError

from keras_mscam.serving.logs import PROTOCOL, log_request
from keras_mscam.serving.metrics import Metrics


class MessageInterceptor(grpc.aio.ServerInterceptor):
    """Answer what is no message of its method with INVALID_ARGUMENT.

    gRPC itself would say UNKNOWN, as of an error in the server, and log a traceback.

    Args:
        metrics: to count in.
    """

    def __init__(self, metrics: Metrics):
        self.metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable],
        handler_call_details: grpc.HandlerCallDetails,
    ):
        """Put the parsing of the message into the method."""
        handler = await continuation(handler_call_details)
        is_one = handler is not None and not handler.request_streaming
        if not is_one or handler.request_deserializer is None:
            return handler

        async def answer(data: bytes, context: grpc.aio.ServicerContext):
            try:
                request = handler.request_deserializer(data)
            except DecodeError:
                await self._refuse(context)
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=handler.response_serializer
        )

    async def _refuse(self, context: grpc.aio.ServicerContext) -> None:
        code = grpc.StatusCode.INVALID_ARGUMENT
        PROTOCOL.set("GRPC")
        self.metrics.count_request("", "", code, 0.0, "GRPC")
        log_request("", None, "", 0, code, 0.0)
        await context.abort(code, "The message of the request cannot be parsed.")
