"""`keras_mscam-serve`: one machine answers as TF Serving does."""

import asyncio
import importlib.util
import logging
import math
import os
import sys
from pathlib import Path
from typing import Annotated

import tyro

from keras_mscam.errors import UserError, command

_PACKAGES = (
    "tensorflow", "grpc", "grpc_reflection", "tensorflow_serving", "starlette",
    "uvicorn", "prometheus_client", "tenacity",
)  # fmt: skip


@command
def main() -> None:
    """Console script `keras_mscam-serve`."""
    tyro.cli(_serve_command, prog="keras_mscam-serve")


def _serve_command(
    models: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODELS")],
    host: str = "127.0.0.1",
    rest_port: int = 8501,
    grpc_port: int = 8500,
    versions: Annotated[tuple[str, ...], tyro.conf.arg(metavar="POLICY")] = ("latest",),
    labels: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LABEL=VERSION")] = (),
    max_batch_size: int = 32,
    batch_timeout: float = 0.005,
    max_queue: int = 1024,
    max_queue_bytes: int = 1 << 30,
    max_request_bytes: int = 1 << 26,
    timeout: float = 30.0,
    poll_interval: float = 2.0,
    drain: float = 30.0,
    token_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Serve exported models over REST and gRPC, with TF Serving's protocols.

    Clients must send the token of KERAS_MSCAM_TOKEN or --token-file, if there is one,
    as `Authorization: Bearer TOKEN`. The server ends at SIGTERM or Ctrl-C, after it has
    answered what it had begun.

    Args:
        models: Folder that keras_mscam-export made: of several models, or of one.
        host: Name or address to listen at; 0.0.0.0 for all of this machine.
        rest_port: Port of the REST API, and of metrics for Prometheus.
        grpc_port: Port of the gRPC API.
        versions: latest [N], all, or specific N [N ...].
        labels: Names of versions: stable=1 canary=2, or a JSON file {"stable": 1}.
        max_batch_size: Images that run at once.
        batch_timeout: Seconds that an image waits for others to run with.
        max_queue: Images that may wait; more are refused at once.
        max_queue_bytes: Memory that waiting images may take.
        max_request_bytes: Size of a request at most.
        timeout: Seconds that an answer may take.
        poll_interval: Seconds between looks for new versions.
        drain: Seconds that the last requests may take when the server ends.
        token_file: File with the token.
    """
    _check_packages()
    for port in (rest_port, grpc_port):
        _check(port, "a port", 0, 65_535)
    _check(max_request_bytes, "--max-request-bytes", 1, (1 << 31) - 1)
    _check(max_batch_size, "--max-batch-size", 1)
    _check(max_queue, "--max-queue", 1)
    _check(max_queue_bytes, "--max-queue-bytes", 1)
    _check(batch_timeout, "--batch-timeout", 0)
    _check(timeout, "--timeout", 0.001)
    _check(poll_interval, "--poll-interval", 0.01)
    _check(drain, "--drain", 0)
    # Else what gRPC logs comes between the lines of JSON.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from keras_mscam.serving.batching import BatchOptions
    from keras_mscam.serving.options import parse_labels, parse_versions, read_token
    from keras_mscam.serving.server import ServerOptions
    from keras_mscam.serving.version_folders import find_models

    folders = find_models(models)
    _serve(
        folders,
        parse_versions(versions),
        parse_labels(labels, list(folders)),
        BatchOptions(max_batch_size, batch_timeout, max_queue, max_queue_bytes),
        ServerOptions(
            host, rest_port, grpc_port, read_token(token_file), max_request_bytes,
            timeout, poll_interval, drain,
        ),
    )  # fmt: skip


def _serve(folders, policy, labels, batches, options) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from keras_mscam.serving.core import Core
    from keras_mscam.serving.logs import set_up_logs
    from keras_mscam.serving.metrics import Metrics
    from keras_mscam.serving.repository import ModelRepository
    from keras_mscam.serving.server import run_server

    def announce(rest: str, grpc: str) -> None:
        available = "; ".join(
            f"{name} {', '.join(map(str, numbers))}"
            for name, numbers in repository.list_available().items()
            if numbers
        )
        print(f"Ready: {rest} and {grpc} serve {available}.", flush=True)

    set_up_logs()
    if options.token is None and not _is_loopback(options.host):
        logging.getLogger("keras_mscam.serving").warning(
            "Whoever reaches %s can ask this server: it has no token.", options.host
        )
    metrics = Metrics()
    repository = ModelRepository(
        folders, ThreadPoolExecutor(1, "load"), policy,
        labels_by_model=labels, on_load=metrics.count_load,
    )  # fmt: skip
    core = Core(repository, metrics, batches)
    if asyncio.run(run_server(core, options, announce)):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that go on would keep the process


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _check_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"Serving needs {', '.join(missing)}: pip install 'keras_mscam[serve]'."
        )


def _check(number: float, what: str, least: float, most: float = math.inf) -> None:
    if not least <= number <= most:
        limits = f"{least} at least" if most == math.inf else f"{least} to {most}"
        raise UserError(f"{number} is no value for {what}: it must be {limits}.")


if __name__ == "__main__":
    main()
