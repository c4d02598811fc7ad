"""Both protocols on one event loop: from binding ports to the last answer."""

import asyncio
import math
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn

from keras_mscam.errors import UserError
from keras_mscam.serving.core import Core
from keras_mscam.serving.grpc_server import build_grpc_server
from keras_mscam.serving.rest import build_app, watch_connections

#: Connections per request that may be answered at once.
_CONNECTIONS = 4
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _RestServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `run_server`: this would end REST alone."""
        yield


async def run_server(core: Core, announce: Callable[[str, str], None]) -> None:
    """Load the models and serve them until SIGTERM or Ctrl-C.

    What has been begun by then is answered, as long as `drain` allows. When requests
    are taken, `announce` is called with the URLs of REST and gRPC.

    Raises:
        UserError: a port is in use, or no model can be loaded.
    """
    options, stop = core.options, asyncio.Event()
    # gRPC's own complaint about a port in use is several lines.
    _bind(options.host, options.grpc_port).close()
    grpc_server = build_grpc_server(core)
    grpc_port = grpc_server.add_insecure_port(_join(options.host, options.grpc_port))
    config = uvicorn.Config(
        build_app(core),
        http=cast(Any, watch_connections(options.timeout)),  # that makes protocols
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Of connections, also idle ones; of requests there are fewer.
        limit_concurrency=_CONNECTIONS * core.most_at_once,
        timeout_graceful_shutdown=math.ceil(options.drain),
    )
    rest_server = _RestServer(config)
    with _bind(options.host, options.rest_port) as rest_socket:
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        if not await _load(core, stop):
            return
        await grpc_server.start()
        serving = asyncio.create_task(rest_server.serve(sockets=[rest_socket]))
        while not (rest_server.started or serving.done()):
            await asyncio.sleep(0.01)
        announce(
            f"http://{_join(options.host, rest_socket.getsockname()[1])}",
            f"grpc://{_join(options.host, grpc_port)}",
        )
        watching = asyncio.create_task(core.models.watch(options.poll_interval))
        await stop.wait()
        for number in _SIGNALS:  # a second one ends it at once
            asyncio.get_running_loop().remove_signal_handler(number)
        watching.cancel()
        rest_server.should_exit = True
        await asyncio.gather(serving, grpc_server.stop(options.drain))


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        both = host == "::" and socket.has_dualstack_ipv6()  # IPv4 as well, as gRPC
        return socket.create_server((host, port), family=family, dualstack_ipv6=both)
    # A port above 65535, a name that no host can have.
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"Cannot listen at {_join(host, port)}: {reason}; choose another --host, "
            "--rest-port or --grpc-port."
        ) from error


async def _load(core: Core, stop: asyncio.Event) -> bool:
    """Load the models; return whether nobody asked to stop meanwhile."""
    loading = asyncio.create_task(core.models.refresh())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        loading.cancel()
        return False
    stopping.cancel()
    if not any(core.models.list_available().values()):
        raise UserError(f"No model can be served: {core.models.describe_failures()}.")
    return True


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
