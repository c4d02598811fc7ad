"""What both protocols ask: predict, describe, and say what is loaded."""

import asyncio
import functools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2

from keras_mscam.serving.batches import Arrays, count_bytes, count_rows
from keras_mscam.serving.batching import Batcher, BatchOptions
from keras_mscam.serving.errors import ServingError
from keras_mscam.serving.logs import PROTOCOL, log_request
from keras_mscam.serving.metrics import Metrics
from keras_mscam.serving.repository import ModelRepository
from keras_mscam.serving.servable import Servable
from keras_mscam.serving.versions import Version, VersionState
from keras_mscam.serving.waiting_room import WaitingRoom

#: Requests that run, that are read or written, and questions about states.
_SPARE = 256


@dataclass(frozen=True)
class Answer:
    """What a version says.

    Args:
        version: its number.
        signature: that was called.
        outputs: arrays by name; strings as `object` of bytes.
    """

    version: int
    signature: str
    outputs: Arrays


@dataclass
class _Record:
    """What is told of a request: nothing that only its client knows."""

    name: str = ""
    version: int | None = None
    signature: str = ""
    images: int = 0


class Core:
    """Finds versions, batches requests, counts and logs them.

    Args:
        repository: of models.
        metrics: to count in.
        options: of batching.
        executor: of one thread, in which graphs run one after the other: each uses all
            cores.
    """

    def __init__(
        self,
        repository: ModelRepository,
        metrics: Metrics,
        options: BatchOptions | None = None,
        executor: ThreadPoolExecutor | None = None,
    ):
        self.repository = repository
        self.metrics = metrics
        self.options = options or BatchOptions()
        self.executor = executor or ThreadPoolExecutor(1, thread_name_prefix="graph")
        self.room = WaitingRoom(self.options.max_queue, self.options.max_queue_bytes)
        self.in_flight = 0
        metrics.watch_queue(lambda: self.room.waiting)

    @property
    def most_at_once(self) -> int:
        """Requests that are worth reading: those that may wait, and some for the rest.

        Others would only take memory until they are refused.
        """
        return self.options.max_queue + _SPARE

    async def predict(
        self,
        name: str,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Answer:
        """Run a signature of a model.

        Args:
            name: of the model.
            version: its number; the newest by default.
            label: of the version, in place of a number.
            signature: `serving_default` by default.
            inputs: arrays by name.
            output_filter: names of the outputs that are wanted; all by default.
            timeout: seconds that the answer may take.

        Raises:
            ServingError: there is no such thing, the inputs are wrong, too much waits
                already, or the time is over.
        """
        start, record, code = time.perf_counter(), _Record(), grpc.StatusCode.INTERNAL
        self.in_flight += 1
        try:
            found = self.repository.find(name, version, label)
            record.name, record.version = name, found.number
            with found.hold() as servable:
                record.signature = signature = servable.find_name(signature)
                inputs = servable.check_inputs(signature, inputs)
                servable.check_outputs(signature, tuple(output_filter))
                record.images = _count_images(servable, signature, inputs)
                outputs = await self._run(found, record, inputs, timeout)
            code = grpc.StatusCode.OK
            wanted = {key: outputs[key] for key in output_filter or outputs}
            return Answer(found.number, signature, wanted)
        except ServingError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            self.in_flight -= 1
            self._tell(record, code, time.perf_counter() - start)

    def get_signatures(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> tuple[int, get_model_metadata_pb2.SignatureDefMap]:
        """Return the signatures of a version, as GetModelMetadata gives them."""
        found = self.repository.find(name, version, label)
        signatures = get_model_metadata_pb2.SignatureDefMap(
            signature_def=found.servable.signature_defs
        )
        return found.number, signatures

    def get_states(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> list[VersionState]:
        """Return the states of all versions of a model, or of one."""
        return self.repository.get_states(name, version, label)

    def get_input_specs(
        self,
        name: str,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
    ) -> dict[str, tf.TensorSpec]:
        """Return type and shape of every input of a signature."""
        servable = self.repository.find(name, version, label).servable
        return servable.get_input_specs(signature)

    async def drain(self, seconds: float) -> bool:
        """Wait until nothing is in flight; return whether that came in time."""
        end = time.monotonic() + seconds
        while self.in_flight and time.monotonic() < end:
            await asyncio.sleep(0.01)
        return not self.in_flight

    async def _run(
        self, version: Version, record: _Record, inputs: Arrays, timeout: float | None
    ) -> Arrays:
        try:
            async with asyncio.timeout(timeout):
                if _is_batch(version.servable, record.signature, inputs):
                    return await self._find_batcher(version, record).submit(inputs)
                return await self._run_alone(version.servable, record, inputs)
        except TimeoutError as error:
            raise ServingError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"There was no answer after {max(timeout, 0):.3g} s.",
            ) from error

    async def _run_alone(
        self, servable: Servable, record: _Record, inputs: Arrays
    ) -> Arrays:
        def run() -> tuple[Arrays, float]:
            start = time.monotonic()
            outputs = servable.run(record.signature, inputs)
            return outputs, time.monotonic() - start

        size = count_bytes(inputs)
        self.room.enter(1, size)
        loop = asyncio.get_running_loop()
        try:
            outputs, seconds = await loop.run_in_executor(self.executor, run)
        finally:
            self.room.leave(1, size)
        self.metrics.count_batch(record.name, record.signature, record.images, seconds)
        return outputs

    def _find_batcher(self, version: Version, record: _Record) -> Batcher:
        if record.signature not in version.batchers:
            version.batchers[record.signature] = Batcher(
                functools.partial(version.servable.run, record.signature),
                self.options,
                self.executor,
                self.room,
                functools.partial(
                    self.metrics.count_batch, record.name, record.signature
                ),
            )
        return version.batchers[record.signature]

    def _tell(self, record: _Record, code: grpc.StatusCode, seconds: float) -> None:
        self.metrics.count_request(
            record.name, record.signature, code, seconds, PROTOCOL.get()
        )
        log_request(
            record.name, record.version, record.signature, record.images, code, seconds
        )


def _is_batch(servable: Servable, signature: str, inputs: Arrays) -> bool:
    """Whether a request is a batch of at least one row, which may share a run."""
    if not servable.is_batchable(signature):
        return False
    sizes = {len(value) for value in inputs.values()}
    return len(sizes) == 1 and sizes != {0}


def _count_images(servable: Servable, signature: str, inputs: Arrays) -> int:
    return count_rows(inputs) if servable.is_batchable(signature) else 1
