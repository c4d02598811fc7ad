"""One line of JSON for each request and event; never what an image holds."""

import json
import logging
import re
import sys
import time
import uuid
from contextvars import ContextVar

import grpc

#: By which protocol the request came that a task works on: REST or GRPC.
PROTOCOL: ContextVar[str] = ContextVar("protocol", default="REST")
#: What the client calls its request; see `read_request_id`.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
_log = logging.getLogger("keras_mscam.serving.requests")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; what `extra={"fields": ...}` gives comes along."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def set_up_logs(level: str = "INFO") -> None:
    """Send what the server logs to standard error, as lines of JSON.

    Args:
        level: from which this package logs; the libraries below log what is wrong.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name, least in (
        ("keras_mscam.serving", level),
        ("uvicorn", "WARNING"),
        ("grpc", "WARNING"),
        ("asyncio", "WARNING"),
        ("tensorflow", "ERROR"),
    ):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(least)
        logger.propagate = False


def read_request_id(sent: str | None) -> str:
    """Return a name of a request that is fit for a log: what was sent, or empty."""
    return sent if sent and re.fullmatch(r"[\w.:-]{1,64}", sent, re.ASCII) else ""


def log_request(
    name: str,
    version: int | None,
    signature: str,
    images: int,
    code: grpc.StatusCode,
    seconds: float,
) -> None:
    """Log that a request ended.

    Args:
        name: of the model, or empty if there is no such one.
        version: its number, or `None`.
        signature: that was called, or empty if there is no such one.
        images: how many it held.
        code: how it ended.
        seconds: that it took.
    """
    _log.info(
        "request",
        extra={
            "fields": {
                "request": REQUEST_ID.get() or uuid.uuid4().hex,
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
