"""What is counted for Prometheus and logged of every request: never what it holds."""

import asyncio
import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from keras_mscam.serving.serving_error import ServingError

#: Upper bounds of TensorFlow Serving: 33, from 10 microseconds to 25 minutes.
_MICROSECONDS = tuple(10 * 1.8**power for power in range(33))
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
#: TensorFlow Serving's counters have no suffix.
_COUNTERS = ("request_count", "load_latency", "load_attempt_count")
_SERVING, _SAVED_MODEL = ":tensorflow:serving:", ":tensorflow:cc:saved_model:"
_log = logging.getLogger("keras_mscam.serving.requests")


@dataclass
class Record:
    """What is told of a request: no name that only its client knows."""

    model: str = ""
    version: int | None = None
    signature: str = ""
    images: int = 0


class Metrics:
    """Requests, batches, queue and loads of one server, in a registry of its own.

    Names and labels are TensorFlow Serving's where it has some.
    """

    def __init__(self):
        disable_created_metrics()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

        def make(
            kind, name: str, text: str, labels: Sequence[str] = (), **options: Any
        ):
            return kind(name, text, labels, registry=self.registry, **options)

        model = ("model_name", "signature")
        times: dict[str, Any] = {"buckets": _MICROSECONDS}
        self._requests = make(
            Counter, f"{_SERVING}request_count", "Requests.", [*model, "status"]
        )
        self._latency = make(
            Histogram, f"{_SERVING}request_latency", "Microseconds of an answer.",
            [*model, "API", "entrypoint"], **times,
        )  # fmt: skip
        self._runtime = make(
            Histogram, f"{_SERVING}runtime_latency", "Microseconds of running a batch.",
            [*model, "API", "runtime"], **times,
        )  # fmt: skip
        self._queuing = make(
            Histogram, f"{_SERVING}batching_session:queuing_latency",
            "Microseconds that a request waited for its batch.", **times,
        )  # fmt: skip
        self._loads = make(
            Counter, f"{_SAVED_MODEL}load_latency", "Microseconds of loading and "
            "warming up a version.", ["model_path"],
        )  # fmt: skip
        self._attempts = make(
            Counter, f"{_SAVED_MODEL}load_attempt_count", "Tries of loading.",
            ["model_path", "status"],
        )  # fmt: skip
        self._batches = make(
            Histogram, "keras_mscam:serving:batch_size", "Images.", model,
            buckets=_SIZES,
        )  # fmt: skip
        self._queue = make(
            Gauge, "keras_mscam:serving:queue_length", "Images that wait."
        )

    def count_batch(
        self, model: str, signature: str, size: int, seconds: float, waits: list[float]
    ) -> None:
        """Count a batch: how long it ran, and each of its requests waited before."""
        self._batches.labels(model, signature).observe(size)
        runtime = self._runtime.labels(model, signature, "Predict", "TF2")
        runtime.observe(1e6 * seconds)
        for wait in waits:
            self._queuing.observe(1e6 * wait)

    def count_load(self, path: Path, status: str, seconds: float) -> None:
        """Count a try to load a version: "success" or "fail"."""
        self._attempts.labels(str(path), status).inc()
        if status == "success":
            self._loads.labels(str(path)).inc(1e6 * seconds)

    def watch_queue(self, count: Callable[[], int]) -> None:
        """Ask a function for the length of the queue when metrics are read."""
        self._queue.set_function(count)

    @contextmanager
    def record(self, protocol: str, request_id: str | None) -> Iterator[Record]:
        """Count and log a request by REST or GRPC when it has ended, however it did.

        What is told of it is yielded, to be filled in as it gets known.
        """
        record, start = Record(), time.perf_counter()
        code = grpc.StatusCode.INTERNAL
        try:
            yield record
            code = grpc.StatusCode.OK
        except ServingError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            seconds = time.perf_counter() - start
            model = record.model, record.signature
            self._requests.labels(*model, code.name).inc()
            if code == grpc.StatusCode.OK:
                latency = self._latency.labels(*model, "Predict", protocol)
                latency.observe(1e6 * seconds)
            is_fit = re.fullmatch(r"[\w.:-]{1,64}", request_id or "", re.ASCII)
            fields = {
                "request": request_id if is_fit else uuid.uuid4().hex,
                "protocol": protocol,
                **vars(record),
                "status": code.name,
                "milliseconds": round(1e3 * seconds, 1),
            }
            _log.info("request", extra={"fields": fields})

    def render(self) -> tuple[bytes, str]:
        """Return the page that Prometheus reads, and its content type."""
        page = generate_latest(self.registry)
        for name in _COUNTERS:
            page = page.replace(f":{name}_total".encode(), f":{name}".encode())
        return page, CONTENT_TYPE_LATEST


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; what `extra={"fields": ...}` gives comes along."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "message": record.getMessage().strip(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def set_up_logs() -> None:
    """Send what the server logs to standard error, as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    levels = {"keras_mscam.serving": "INFO", "tensorflow": "ERROR"}
    levels |= dict.fromkeys(("uvicorn", "grpc", "asyncio"), "WARNING")
    for name, least in levels.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(least)
        logger.propagate = False
