"""What a server is told; light, so that a command can refuse its options at once."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from keras_mscam.errors import UserError

TOKEN_VARIABLE = "KERAS_MSCAM_TOKEN"
_POSITIVE = (
    "max_batch_size", "max_queue", "max_queue_bytes", "max_request_bytes", "timeout",
    "poll_interval",
)  # fmt: skip
_WAITS = ("batch_timeout", "drain")  # which may be 0


@dataclass(frozen=True)
class ServerOptions:
    """How a server is reached, what it serves and what it allows.

    Args:
        host: Name or address to listen at; 0.0.0.0 for all of this machine.
        rest_port: Port of the REST API, and of metrics for Prometheus; 0 for any.
        grpc_port: Port of the gRPC API; likewise.
        versions: latest [N], all, or specific N [N ...]; those with a label are served
            in any case.
        labels: Names of versions: stable=1 canary=2.
        max_batch_size: Images that run at once.
        batch_timeout: Seconds that an image waits for others to run with.
        max_queue: Images that may wait; more are refused at once.
        max_queue_bytes: Memory that waiting images may take.
        max_request_bytes: Size of a request at most.
        timeout: Seconds that an answer may take.
        poll_interval: Seconds between looks for new versions.
        drain: Seconds that the last requests may take when the server ends.
        token_file: File with the token.

    Raises:
        UserError: an option can't have that value.
    """

    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    versions: tuple[str, ...] = ("latest",)
    labels: tuple[str, ...] = ()
    max_batch_size: int = 32
    batch_timeout: float = 0.005
    max_queue: int = 1024
    max_queue_bytes: int = 1 << 30
    max_request_bytes: int = 1 << 26
    timeout: float = 30.0
    poll_interval: float = 2.0
    drain: float = 30.0
    token_file: Path | None = None

    def __post_init__(self):
        for name in (*_POSITIVE, *_WAITS):
            value, option = getattr(self, name), f"--{name.replace('_', '-')}"
            if name in _POSITIVE and not 0 < value < math.inf:
                raise UserError(f"{option} is {value}; it must be positive and finite.")
            if not 0 <= value < math.inf:
                raise UserError(f"{option} is {value}; it must be 0 or more, finite.")

    def parse_labels(self) -> dict[str, int]:
        """Return the version of each label."""
        labels = {}
        for word in self.labels:
            label, _, version = word.partition("=")
            if not (label and version.isascii() and version.isdigit()):
                raise UserError(
                    f"--labels {word} is not understood: write LABEL=VERSION, such as "
                    "stable=1."
                )
            labels[label] = int(version)
        return labels

    def read_token(self) -> str | None:
        """Return the token of the file, or else of the environment, if there is one."""
        place = self.token_file or TOKEN_VARIABLE
        try:
            token = os.environ.get(TOKEN_VARIABLE)
            if self.token_file:
                token = self.token_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"Cannot read the token of {place}: {error}.") from error
        if token is None:
            return None
        token = token.strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise UserError(f"The token of {place} must be visible ASCII characters.")
        return token
