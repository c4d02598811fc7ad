"""Counts for Prometheus, under TF Serving's names where it has one."""

from collections.abc import Callable

import grpc
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60
)  # fmt: skip
_MICROSECONDS = tuple(1e6 * seconds for seconds in _SECONDS)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Requests, batches, queue and loads of one server, in a registry of its own."""

    def __init__(self):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            ":tensorflow:serving:request_count", "Requests.",
            ["model_name", "signature", "status"], registry=self.registry,
        )  # fmt: skip
        self._latency = Histogram(
            ":tensorflow:serving:request_latency", "Microseconds of a request.",
            ["model_name", "signature"], buckets=_MICROSECONDS, registry=self.registry,
        )  # fmt: skip
        self._runtime = Histogram(
            ":tensorflow:serving:runtime_latency", "Microseconds of running a graph.",
            ["model_name", "signature"], buckets=_MICROSECONDS, registry=self.registry,
        )  # fmt: skip
        self._batches = Histogram(
            "keras_mscam:serving:batch_size", "Images in a batch.",
            ["model_name", "signature"], buckets=_SIZES, registry=self.registry,
        )  # fmt: skip
        self._queue = Gauge(
            "keras_mscam:serving:queue_length", "Images that wait.", ["model_name"],
            registry=self.registry,
        )  # fmt: skip
        self._loads = Gauge(
            ":tensorflow:serving:load_seconds", "Seconds that a version took to load.",
            ["model_name", "version"], registry=self.registry,
        )  # fmt: skip

    def count_request(
        self, name: str, signature: str, code: grpc.StatusCode, seconds: float
    ) -> None:
        """Count a request that ended, and how long it took."""
        self._requests.labels(name, signature, code.name).inc()
        if code == grpc.StatusCode.OK:
            self._latency.labels(name, signature).observe(1e6 * seconds)

    def count_batch(self, name: str, signature: str, size: int, seconds: float) -> None:
        """Count a batch that was run."""
        self._batches.labels(name, signature).observe(size)
        self._runtime.labels(name, signature).observe(1e6 * seconds)

    def count_load(self, name: str, version: int, seconds: float) -> None:
        """Say how long a version took to load."""
        self._loads.labels(name, str(version)).set(seconds)

    def watch_queue(self, name: str, count: Callable[[], int]) -> None:
        """Ask a function for the length of the queue when metrics are read."""
        self._queue.labels(name).set_function(count)

    def render(self) -> tuple[bytes, str]:
        """Return the page that Prometheus reads, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
