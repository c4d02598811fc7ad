"""`keras_mscam-serve`: a model repository behind TF Serving's protocols."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from keras_mscam.errors import UserError, command

_EXTRA = "Serving needs more packages: pip install 'keras_mscam[serve]'."
#: Environment variable of the bearer token.
TOKEN = "KERAS_MSCAM_TOKEN"


@dataclass(frozen=True)
class ServeOptions:
    """Serve a model repository over TF Serving's REST and gRPC protocols."""

    models: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODELS")]
    """Repository, or folder of one model, that keras_mscam-export made."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 is every one."""
    rest_port: int = 8501
    """Port of REST; 0 for any free one."""
    grpc_port: int = 8500
    """Port of gRPC; 0 for any free one."""
    max_batch_size: int = 32
    """Images that run at once."""
    batch_timeout_ms: float = 5.0
    """Milliseconds that a request waits for others to run with."""
    max_queue: int = 512
    """Images that may wait; a request beyond is refused."""
    max_request_bytes: int = 64 << 20
    """Bytes of a request."""
    timeout: float = 60.0
    """Seconds that an answer may take."""
    poll: float = 2.0
    """Seconds between looks for new versions."""
    versions: tuple[int, ...] | None = None
    """Serve these; the newest alone by default."""
    latest: int = 1
    """Serve so many of the newest; 0 for all."""
    labels: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LABEL=VERSION")] = ()
    """Names for versions, such as stable=1 canary=2."""
    token_file: Path | None = None
    """File with the bearer token that requests must carry."""
    drain_seconds: float = 30.0
    """Seconds that requests in flight have to end, when the server is stopped."""
    log: Literal["INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is logged; requests are INFO."""


def serve(options: ServeOptions) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what is in flight and return.

    Args:
        options: what to serve, where and how.

    Raises:
        UserError: there is no model, none can be loaded, a port can't be listened at,
            or an option is out of its range.
    """
    _check(options)
    try:
        import grpc  # noqa: F401
        import orjson  # noqa: F401
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(_EXTRA) from error
    asyncio.run(_serve(options, read_token(options.token_file)))


def read_token(path: Path | None) -> str | None:
    """Return the bearer token: of a file, else of the environment, else `None`.

    Raises:
        UserError: the file can't be read, or the token is empty or not ASCII.
    """
    if path is None:
        token = os.environ.get(TOKEN)
    else:
        try:
            token = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"The token in {path} can't be read: {error}.") from error
    if token is not None and not (token.isascii() and token.isprintable() and token):
        raise UserError("The token must be one or more printable ASCII characters.")
    return token


def parse_labels(labels: tuple[str, ...]) -> dict[str, int]:
    """Turn `stable=1` into `{"stable": 1}`.

    Raises:
        UserError: one isn't of that form.
    """
    table = {}
    for item in labels:
        name, _, number = item.partition("=")
        if not name or not (number.isascii() and number.isdigit()):
            raise UserError(f"The label {item!r} must be of the form NAME=VERSION.")
        table[name] = int(number)
    return table


def _check(options: ServeOptions) -> None:
    for name, least in {
        "max_batch_size": 1, "batch_timeout_ms": 0, "max_queue": 1, "latest": 0,
        "max_request_bytes": 1, "rest_port": 0, "grpc_port": 0,
    }.items():  # fmt: skip
        if getattr(options, name) < least:
            option = name.replace("_", "-")
            raise UserError(f"--{option} must be at least {least}.")
    for name in ("timeout", "poll", "drain_seconds"):
        if not getattr(options, name) > 0:
            option = name.replace("_", "-")
            raise UserError(f"--{option} must be more than 0.")


async def _serve(options: ServeOptions, token: str | None) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from keras_mscam.serving.batching import BatchOptions
    from keras_mscam.serving.core import Core
    from keras_mscam.serving.endpoints import Endpoints
    from keras_mscam.serving.logs import set_up_logs
    from keras_mscam.serving.metrics import Metrics
    from keras_mscam.serving.repository import (
        ModelRepository,
        VersionPolicy,
        find_models,
    )

    set_up_logs(options.log)
    metrics = Metrics()
    repository = ModelRepository(
        find_models(options.models),
        ThreadPoolExecutor(1, thread_name_prefix="load"),
        VersionPolicy(options.latest or None, tuple(options.versions or ())),
        parse_labels(options.labels),
        metrics.count_load,
    )
    stop = _listen_for_signals()
    await repository.refresh()
    _check_loaded(repository, options)
    batching = BatchOptions(
        options.max_batch_size, options.batch_timeout_ms / 1000, options.max_queue
    )
    core = Core(repository, metrics, batching)
    endpoints = Endpoints(core, metrics, options, token)
    urls = await endpoints.start()
    watching = asyncio.create_task(repository.watch(options.poll))
    print(f"Serving {_describe(repository)} at {' and '.join(urls)}", flush=True)
    await stop.wait()
    print("Stopping: answering what is in flight.", file=sys.stderr, flush=True)
    watching.cancel()
    await endpoints.stop(options.drain_seconds)
    await core.drain(options.drain_seconds)


def _listen_for_signals() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def _check_loaded(repository, options: ServeOptions) -> None:
    if any(repository.list_available().values()):
        return
    reason = repository.explain() or "none of the versions asked for is there"
    raise UserError(f"Nothing in {options.models} can be served: {reason}.")


def _describe(repository) -> str:
    return ", ".join(
        f"{name}/{number}"
        for name, numbers in repository.list_available().items()
        for number in numbers
    )


@command
def main() -> None:
    """Console script `keras_mscam-serve`."""
    serve(tyro.cli(ServeOptions, prog="keras_mscam-serve"))


if __name__ == "__main__":
    main()
