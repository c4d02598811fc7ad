"""What both protocols ask: predict, describe, and say what is loaded."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2

from keras_mscam.serving.batching import Batcher, BatchOptions
from keras_mscam.serving.errors import ServingError
from keras_mscam.serving.logs import log_request
from keras_mscam.serving.metrics import Metrics
from keras_mscam.serving.repository import ModelRepository, Version, VersionState
from keras_mscam.serving.servable import DEFAULT_SIGNATURE


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
    outputs: dict[str, np.ndarray]


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
        self._batchers: dict[tuple[Version, str], Batcher] = {}

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
        start, code, found = time.perf_counter(), grpc.StatusCode.OK, None
        signature = signature or DEFAULT_SIGNATURE
        try:
            found = self.repository.find(name, version, label)
            outputs = await self._run(
                name, found, signature, inputs, tuple(output_filter), timeout
            )
            return Answer(found.number, signature, outputs)
        except ServingError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            raise
        finally:
            seconds = time.perf_counter() - start
            # A name that no model has could be anything, and is not repeated.
            known = name if name in self.repository.models else ""
            self.metrics.count_request(known, signature if found else "", code, seconds)
            log_request(
                known, found.number if found else None, signature if found else "",
                _count_images(inputs), code, seconds,
            )  # fmt: skip

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
        return servable.get_input_specs(signature or DEFAULT_SIGNATURE)

    async def drain(self, seconds: float) -> bool:
        """Wait until nothing is in flight; return whether that came in time."""
        try:
            async with asyncio.timeout(seconds):
                for batcher in list(self._batchers.values()):
                    await batcher.close()
            return True
        except TimeoutError:
            return False

    async def _run(self, name, version, signature, inputs, output_filter, timeout):
        servable = version.servable
        inputs = servable.check_inputs(signature, inputs)
        servable.check_outputs(signature, output_filter)
        version.in_flight += 1
        try:
            async with asyncio.timeout(timeout):
                work = self._find_batcher(name, version, signature)
                outputs = await (
                    work.submit(inputs)
                    if _is_batch(servable, signature, inputs)
                    else self._run_alone(servable, signature, inputs)
                )
        except TimeoutError as error:
            raise ServingError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"There was no answer after {timeout:g} s.",
            ) from error
        finally:
            version.in_flight -= 1
        wanted = output_filter or outputs
        return {name: outputs[name] for name in wanted}

    async def _run_alone(self, servable, signature, inputs):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self.executor, servable.run, signature, inputs
        )

    def _find_batcher(self, name: str, version: Version, signature: str) -> Batcher:
        key = version, signature
        if key not in self._batchers:
            self._forget_old()
            servable = version.servable

            def count(size: int, seconds: float) -> None:
                self.metrics.count_batch(name, signature, size, seconds)

            self._batchers[key] = Batcher(
                lambda inputs: servable.run(signature, inputs),
                self.options,
                self.executor,
                count,
            )
            self.metrics.watch_queue(name, self._count_waiting)
        return self._batchers[key]

    def _count_waiting(self) -> int:
        return sum(batcher.waiting for batcher in self._batchers.values())

    def _forget_old(self) -> None:
        """Let go of versions that are no longer loaded."""
        for key in [key for key in self._batchers if key[0].servable is None]:
            del self._batchers[key]


def _is_batch(servable, signature: str, inputs: Mapping[str, np.ndarray]) -> bool:
    """Whether a request is a batch of at least one row, which may share a run."""
    if not servable.is_batchable(signature):
        return False
    sizes = {len(value) for value in inputs.values()}
    return len(sizes) == 1 and sizes != {0}


def _count_images(inputs: Mapping[str, np.ndarray]) -> int:
    shapes = [np.shape(value) for value in inputs.values()]
    return max((shape[0] for shape in shapes if shape), default=0)
