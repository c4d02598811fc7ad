"""Counts for Prometheus, under TF Serving's names where it has one."""

from collections.abc import Callable, Sequence
from pathlib import Path

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

#: Of TF Serving: 33 buckets from 10 microseconds to 20 minutes.
_MICROSECONDS = tuple(10 * 1.8**power for power in range(32))
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
#: TF Serving's counters have no suffix.
_COUNTERS = ("request_count", "load_latency", "load_attempt_count")


class Metrics:
    """Requests, batches, queue and loads of one server, in a registry of its own."""

    def __init__(self):
        disable_created_metrics()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._make(
            Counter, ":tensorflow:serving:request_count", "The requests.",
            ["model_name", "signature", "status"],
        )  # fmt: skip
        self._latency = self._make(
            Histogram, ":tensorflow:serving:request_latency",
            "Microseconds of a request that was answered.",
            ["model_name", "signature", "API", "entrypoint"], buckets=_MICROSECONDS,
        )  # fmt: skip
        self._runtime = self._make(
            Histogram, ":tensorflow:serving:runtime_latency",
            "Microseconds of running a graph, of a whole batch.",
            ["model_name", "signature", "API", "runtime"], buckets=_MICROSECONDS,
        )  # fmt: skip
        self._queuing = self._make(
            Histogram, ":tensorflow:serving:batching_session:queuing_latency",
            "Microseconds that a request waited for its batch to run.",
            buckets=_MICROSECONDS,
        )  # fmt: skip
        self._loads = self._make(
            Counter, ":tensorflow:cc:saved_model:load_latency",
            "Microseconds of loading a version that was loaded, warm-up included.",
            ["model_path"],
        )  # fmt: skip
        self._attempts = self._make(
            Counter, ":tensorflow:cc:saved_model:load_attempt_count",
            "How often loading was tried.", ["model_path", "status"],
        )  # fmt: skip
        self._batches = self._make(
            Histogram, "keras_mscam:serving:batch_size", "Images in a batch.",
            ["model_name", "signature"], buckets=_SIZES,
        )  # fmt: skip
        self._queue = self._make(
            Gauge, "keras_mscam:serving:queue_length", "Images that wait."
        )

    def count_request(
        self,
        name: str,
        signature: str,
        code: grpc.StatusCode,
        seconds: float,
        protocol: str = "REST",
    ) -> None:
        """Count a request that ended, and how long it took if it was answered.

        Args:
            name: of the model, or empty: names that no model has are not repeated.
            signature: likewise.
            code: how it ended.
            seconds: that it took.
            protocol: REST or GRPC.
        """
        self._requests.labels(name, signature, code.name).inc()
        if code == grpc.StatusCode.OK:
            latency = self._latency.labels(name, signature, "Predict", protocol)
            latency.observe(1e6 * seconds)

    def count_batch(
        self,
        name: str,
        signature: str,
        size: int,
        seconds: float,
        waits: Sequence[float] = (),
    ) -> None:
        """Count a batch that was run.

        Args:
            name: of the model.
            signature: that was called.
            size: images.
            seconds: that it ran.
            waits: seconds that each of its requests waited before.
        """
        self._batches.labels(name, signature).observe(size)
        runtime = self._runtime.labels(name, signature, "Predict", "TF2")
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

    def render(self) -> tuple[bytes, str]:
        """Return the page that Prometheus reads, and its content type."""
        page = generate_latest(self.registry)
        for name in _COUNTERS:
            page = page.replace(f":{name}_total".encode(), f":{name}".encode())
        return page, CONTENT_TYPE_LATEST

    def _make(self, kind, name: str, text: str, labels: Sequence[str] = (), **options):
        return kind(name, text, labels, registry=self.registry, **options)
