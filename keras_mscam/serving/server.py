"""Both protocols on one event loop: from binding ports to the last answer."""

import asyncio
import contextlib
import math
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc
import uvicorn

from keras_mscam.errors import UserError
from keras_mscam.serving.core import Core
from keras_mscam.serving.errors import ServingError
from keras_mscam.serving.grpc_services import build_grpc_server
from keras_mscam.serving.rest import build_app
from keras_mscam.serving.rest_connections import limit_heads


@dataclass(frozen=True)
class ServerOptions:
    """How a server is reached, and what it allows.

    Args:
        host: name or address to listen at.
        rest_port: 0 for any that is free.
        grpc_port: likewise.
        token: that requests must carry. `None`: none.
        max_request_bytes: of a request.
        timeout: seconds that an answer may take.
        poll_interval: seconds between looks at the folders of models.
        drain: seconds that requests in flight may take when the server ends.
    """

    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    token: str | None = None
    max_request_bytes: int = 1 << 26
    timeout: float = 30.0
    poll_interval: float = 2.0
    drain: float = 30.0


async def run_server(
    core: Core, options: ServerOptions, announce: Callable[[str, str], None]
) -> bool:
    """Load the models and serve them until SIGTERM or Ctrl-C.

    Args:
        core: that knows the models.
        options: see there.
        announce: called with the URLs of REST and gRPC when requests are taken.

    Returns:
        Whether nothing is left running: no request, and no loading of a model.

    Raises:
        UserError: a port is in use, or no model can be loaded.
    """
    with _bind(options.host, options.rest_port) as rest_socket:
        grpc_server, grpc_port = _build_grpc(core, options)
        rest_server = _build_rest(core, options)
        with _catch_signals() as stop:
            if not await _load(core, stop):
                return False
            await grpc_server.start()
            serving = asyncio.create_task(rest_server.serve(sockets=[rest_socket]))
            while not (rest_server.started or serving.done()):
                await asyncio.sleep(0.01)
            announce(
                f"http://{_join(options.host, rest_socket.getsockname()[1])}",
                f"grpc://{_join(options.host, grpc_port)}",
            )
            await _watch_until(stop, core, options.poll_interval)
        # From here on a second signal ends the process at once.
        rest_server.should_exit = True
        await asyncio.gather(serving, grpc_server.stop(options.drain))
    return await core.drain(0.1)


@contextlib.contextmanager
def _catch_signals() -> Iterator[asyncio.Event]:
    """Give an event that SIGTERM and Ctrl-C set."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _watch_until(stop: asyncio.Event, core: Core, interval: float) -> None:
    watching = asyncio.create_task(core.repository.watch(interval))
    await stop.wait()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


class _RestServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        """Leave signals to `run_server`, which has two servers to end."""
        yield


def _build_rest(core: Core, options: ServerOptions) -> _RestServer:
    app = build_app(
        core,
        core.metrics,
        token=options.token,
        max_request_bytes=options.max_request_bytes,
        timeout=options.timeout,
    )
    config = uvicorn.Config(
        app,
        http=limit_heads(options.timeout),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=core.most_at_once,
        timeout_graceful_shutdown=math.ceil(options.drain),
    )
    return _RestServer(config)


def _build_grpc(core: Core, options: ServerOptions) -> tuple[grpc.aio.Server, int]:
    server = build_grpc_server(
        core,
        token=options.token,
        max_request_bytes=options.max_request_bytes,
        timeout=options.timeout,
    )
    # gRPC's own complaint about a port in use is several lines.
    _bind(options.host, options.grpc_port).close()
    address = _join(options.host, options.grpc_port)
    try:
        return server, server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(f"Cannot listen at {address}: {error}.") from error


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"Cannot listen at {_join(host, port)}: {error.strerror}; choose another "
            "--host, --rest-port or --grpc-port."
        ) from error


async def _load(core: Core, stop: asyncio.Event) -> bool:
    """Load the models; return whether nobody asked to stop meanwhile."""
    loading = asyncio.create_task(core.repository.refresh())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        loading.cancel()
        return False
    stopping.cancel()
    if not any(core.repository.list_available().values()):
        raise UserError(f"No model can be served: {_describe_failures(core)}.")
    return True


def _describe_failures(core: Core) -> str:
    reasons = []
    for name in core.repository.models:
        try:
            states = core.get_states(name)
        except ServingError:
            reasons.append(f"{name} has no version that is wanted")
            continue
        reasons += [
            f"{name}/{s.version}: {s.error_message.rstrip('.')}" for s in states
        ]
    return "; ".join(reasons)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
