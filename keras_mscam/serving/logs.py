"""One line of JSON for each request and event; never what an image holds."""

import itertools
import json
import logging
import sys
import time
from contextvars import ContextVar

import grpc

#: By which protocol the request came that a task works on.
PROTOCOL: ContextVar[str] = ContextVar("protocol", default="REST")

_numbers = itertools.count(1)
_log = logging.getLogger("keras_mscam.serving.requests")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; what `extra={"fields": ...}` gives comes along."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime(
                "%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)
            ) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }  # fmt: skip
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def set_up_logs(level: str = "INFO") -> None:
    """Send everything that this package logs to standard error, as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("keras_mscam.serving")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False


def log_request(
    name: str,
    version: int | None,
    signature: str,
    images: int,
    code: grpc.StatusCode,
    seconds: float,
) -> None:
    """Log that a request ended."""
    _log.info(
        "request",
        extra={
            "fields": {
                "request": next(_numbers),
                "protocol": PROTOCOL.get(),
                "model": name,
                "version": version,
                "signature": signature,
                "images": images,
                "status": code.name,
                "milliseconds": round(1e3 * seconds, 1),
            }
        },
    )
