"""Nobody waits any more: what to do when a client goes away."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc

from keras_mscam.serving.errors import ServingError


async def cancel_on_disconnect(
    receive: Callable[[], Awaitable[dict]], prediction: Awaitable
):
    """Await a prediction, which is cancelled when its client goes away.

    Args:
        receive: of ASGI, after the whole body was read.
        prediction: what the client waits for.

    Returns:
        What the prediction returns.

    Raises:
        ServingError: CANCELLED: the client went away.
    """
    work = asyncio.ensure_future(prediction)
    gone = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise ServingError(grpc.StatusCode.CANCELLED, "The client went away.")
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _wait_for_disconnect(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
