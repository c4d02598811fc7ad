"""What both protocols ask: to run a signature of a version within a batch."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np

from keras_mscam.serving.batching import Arrays, Batcher, WaitingRoom
from keras_mscam.serving.monitoring import Metrics, Record
from keras_mscam.serving.served_models import ServedModels, find_models
from keras_mscam.serving.server_options import ServerOptions
from keras_mscam.serving.serving_error import ServingError

#: Requests that run, that are read or written, and questions about states.
_SPARE = 256
#: From there on, messages are read and written beside the event loop, two at a time:
#: Python runs one thread at a time, so that more would take memory and give no speed.
_LARGE = 1 << 16
_CONVERTERS = 2


class Answer(NamedTuple):
    """What a version says: its number, the signature, and outputs by name."""

    version: int
    signature: str
    outputs: Arrays


class Core:
    """Finds versions and batches requests.

    No model of the folder is loaded yet. There must be one, and options that can be
    understood, or it is a `UserError`.
    """

    def __init__(self, folder: Path, options: ServerOptions):
        self.options = options
        self.token = options.read_token()
        self.metrics = Metrics()
        self.models = ServedModels(
            find_models(folder), self.metrics, options.versions, options.parse_labels()
        )
        self.room = WaitingRoom(options.max_queue, options.max_queue_bytes)
        self.metrics.watch_queue(lambda: self.room.waiting)
        #: Requests that are worth reading: others would only take memory until they
        #: are refused.
        self.most_at_once = options.max_queue + _SPARE
        self.in_flight = 0
        self.bytes_read = 0  # of bodies that aren't arrays yet
        # Graphs run one after the other: each uses all cores.
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="graph")
        self._converters = ThreadPoolExecutor(_CONVERTERS, "convert")

    async def predict(
        self,
        record: Record,
        name: str,
        version: int | None = None,
        label: str | None = None,
        *,
        signature: str = "",
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Answer:
        """Run a signature of a model; the newest version, `serving_default` by default.

        Inputs are arrays by name, strings as `object` of bytes; all outputs are given
        but for a filter of names. The answer may take `timeout` seconds.

        Raises:
            ServingError: there is no such thing, the inputs are wrong, too much waits
                already, or the time is over.
        """
        found = self.models.find(name, version, label)
        record.model, record.version = name, found.number
        self.in_flight += 1
        try:
            with found.hold() as servable:
                function = servable.find_signature(signature)
                record.signature = function.name
                function.check(inputs, output_filter)
                sizes = {len(v) for v in inputs.values() if function.is_batchable}
                record.images = max(sizes, default=1)
                # Rows may share a run; what is no batch, or none of one size, can't.
                rows = record.images if len(sizes) == 1 and sizes != {0} else None
                count = functools.partial(self.metrics.count_batch, name, function.name)
                if function.name not in found.batchers:
                    found.batchers[function.name] = Batcher(
                        function, self.executor, self.room, self.options, count
                    )
                batcher = found.batchers[function.name]
                async with asyncio.timeout(timeout):
                    outputs = await batcher.submit(dict(inputs), rows)
        except TimeoutError as error:
            raise ServingError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"There was no answer after {max(timeout or 0, 0):.3g} s.",
            ) from error
        finally:
            self.in_flight -= 1
        wanted = {key: outputs[key] for key in output_filter or outputs}
        return Answer(found.number, function.name, wanted)

    async def convert(self, size: int, function: Callable, *arguments):
        """Call what reads or writes a message, beside the event loop if it is large."""
        if size < _LARGE:
            return function(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._converters, function, *arguments)
