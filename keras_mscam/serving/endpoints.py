"""REST and gRPC in one event loop: started together, stopped together."""

import asyncio
import contextlib
import socket

import uvicorn

from keras_mscam.errors import UserError
from keras_mscam.serving.grpc_services import build_server
from keras_mscam.serving.rest import build_app

#: Connections at once; each may hold a request of the largest size.
_CONNECTIONS = 256


class Endpoints:
    """Both protocols over one core.

    Args:
        core: that knows the models.
        metrics: that REST shows.
        options: host, ports and limits, see `keras_mscam.serve.ServeOptions`.
        token: that requests must carry, or `None`.
    """

    def __init__(self, core, metrics, options, token: str | None):
        limits = {
            "token": token,
            "max_request_bytes": options.max_request_bytes,
            "timeout": options.timeout,
        }
        self.host = options.host
        self.ports = options.rest_port, options.grpc_port
        self._grpc = build_server(core, **limits)
        self._rest = _Rest(
            uvicorn.Config(
                build_app(core, metrics, **limits),
                log_config=None, access_log=False, lifespan="off",
                limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=int(options.drain_seconds) or 1,
            )
        )  # fmt: skip
        self._serving: asyncio.Task | None = None

    async def start(self) -> list[str]:
        """Listen at both ports; return the addresses.

        Raises:
            UserError: a port can't be listened at.
        """
        rest_port, grpc_port = self.ports
        listening = _listen(self.host, rest_port)
        try:
            grpc_port = self._grpc.add_insecure_port(f"{self.host}:{grpc_port}")
        except RuntimeError as error:
            listening.close()
            raise _taken(self.host, grpc_port) from error
        await self._grpc.start()
        self._serving = asyncio.create_task(self._rest.serve([listening]))
        while not self._rest.started:
            await asyncio.sleep(0.01)
        rest_port = listening.getsockname()[1]
        return [f"http://{self.host}:{rest_port}", f"grpc://{self.host}:{grpc_port}"]

    async def stop(self, seconds: float) -> None:
        """Take no more, and give what is in flight some seconds to end."""
        self._rest.should_exit = True
        await asyncio.gather(self._grpc.stop(seconds), self._serving)


class _Rest(uvicorn.Server):
    """Leaves signals to the process that it is a part of."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        raise _taken(host, port) from error
    return listening


def _taken(host: str, port: int) -> UserError:
    return UserError(
        f"Can't listen at {host}:{port}: it is in use, or no address of this machine; "
        "choose another --host, --rest-port or --grpc-port."
    )
