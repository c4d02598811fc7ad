"""Who may ask over gRPC: a bearer token."""

import hmac
from collections.abc import Awaitable, Callable

import grpc


class BearerTokenInterceptor(grpc.aio.ServerInterceptor):
    """Let calls pass that carry `authorization: Bearer TOKEN` in their metadata.

    Others are answered with UNAUTHENTICATED before their message is parsed.

    Args:
        token: that clients must know. It is compared in constant time.
    """

    def __init__(self, token: str):
        self.token = token.encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable],
        handler_call_details: grpc.HandlerCallDetails,
    ):
        """Pass a call on, or put a refusal in its place."""
        metadata = dict(handler_call_details.invocation_metadata or ())
        sent = metadata.get("authorization", "")
        scheme, _, token = sent.partition(" ") if isinstance(sent, str) else ("",) * 3
        is_known = hmac.compare_digest(token.strip().encode(), self.token)
        if is_known and scheme.lower() == "bearer":
            return await continuation(handler_call_details)
        return grpc.unary_unary_rpc_method_handler(_refuse)


async def _refuse(_, context: grpc.aio.ServicerContext) -> None:
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "A valid token is needed: send 'authorization: Bearer TOKEN' as metadata.",
    )
