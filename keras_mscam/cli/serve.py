"""`keras_mscam-serve`: one machine answers as TensorFlow Serving does."""

import asyncio
import dataclasses
import importlib.util
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from keras_mscam.cli.options import parse
from keras_mscam.errors import UserError, command
from keras_mscam.serving.server_options import ServerOptions

_NAME = "keras_mscam-serve"
_PACKAGES = (
    "tensorflow", "grpc", "grpc_reflection", "tensorflow_serving", "starlette",
    "uvicorn", "prometheus_client", "orjson",
)  # fmt: skip


@dataclass(frozen=True)
class ServeOptions:
    """Serve exported models over REST and gRPC, with TensorFlow Serving's protocols.

    Clients must send the token of KERAS_MSCAM_TOKEN or --token-file, if there is one,
    as `Authorization: Bearer TOKEN`. The server ends at SIGTERM or Ctrl-C, after it has
    answered what it had begun.
    """

    models: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODELS")]
    """Folder that keras_mscam-export made: of several models, or of one."""
    options: Annotated[ServerOptions, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=ServerOptions
    )


@command
def main() -> None:
    """Console script `keras_mscam-serve`."""
    parsed = parse(_NAME, sys.argv[1:], ServeOptions)
    models, options = parsed.models, parsed.options
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"Serving needs {', '.join(missing)}: pip install 'keras_mscam[serve]'."
        )
    # Else what gRPC logs comes between the lines of JSON.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from keras_mscam.serving.core import Core
    from keras_mscam.serving.monitoring import set_up_logs
    from keras_mscam.serving.server import run_server

    def announce(rest: str, grpc: str) -> None:
        available = core.models.list_available()
        served = "; ".join(
            f"{name} {', '.join(map(str, numbers))}"
            for name, numbers in available.items()
            if numbers
        )
        print(f"Ready: {rest} and {grpc} serve {served}.", flush=True)
        for label, number in core.models.labels.items():
            if not any(number in numbers for numbers in available.values()):
                log.warning(
                    "The label %s names version %d, which is not served: requests for "
                    "it are refused until it is.", label, number,
                )  # fmt: skip

    core = Core(models, options)
    set_up_logs()
    log = logging.getLogger("keras_mscam.serving")
    if core.token is None and not options.host.startswith(("localhost", "::1", "127.")):
        log.warning(
            "Whoever reaches %s can ask this server: it has no token.", options.host
        )
    asyncio.run(run_server(core, announce))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that still compute or load would keep the process


if __name__ == "__main__":
    main()
