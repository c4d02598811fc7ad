"""Requests that come at the same time run as one batch."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from keras_mscam.serving.batches import (
    Arrays,
    RowsDifferError,
    concatenate,
    count_bytes,
    count_rows,
    cut,
    get_kind,
    split,
)
from keras_mscam.serving.waiting_room import WaitingRoom


@dataclass(frozen=True)
class BatchOptions:
    """How requests are batched.

    Args:
        max_batch_size: images in a batch at most.
        batch_timeout: seconds that the first request of a batch waits for others.
        max_queue: images that may wait, of all models; one more is refused.
        max_queue_bytes: memory that they may take.
    """

    max_batch_size: int = 32
    batch_timeout: float = 0.005
    max_queue: int = 1024
    max_queue_bytes: int = 1 << 30


@dataclass(eq=False)
class _Piece:
    """What of a request is run at once, and who waits for it."""

    inputs: Arrays
    is_whole: bool
    result: asyncio.Future = field(repr=False)

    def __post_init__(self):
        self.kind = get_kind(self.inputs)
        self.size = count_rows(self.inputs)
        self.bytes = count_bytes(self.inputs)
        self.arrived = time.monotonic()
        self.waits = True


class Batcher:
    """Runs what waits, in batches, one after the other; the next fills meanwhile.

    Requests whose inputs differ in type, or in a dimension behind the batch, are not
    mixed. Where an output has not a row for each row of the inputs, as some graphs do
    in spite of their signature, requests are run apart from then on.

    Args:
        run: from inputs to outputs, all of which begin with the batch; called in the
            executor.
        options: sizes and times.
        executor: of threads.
        room: where requests wait; of its own by default.
        on_batch: called with the size of every batch, the seconds that it ran, and the
            seconds that each of its requests waited before.
    """

    def __init__(
        self,
        run: Callable[[Arrays], Arrays],
        options: BatchOptions,
        executor: Executor,
        room: WaitingRoom | None = None,
        on_batch: Callable[[int, float, list[float]], None] = lambda *_: None,
    ):
        self.waiting = 0
        self._run = run
        self._options = options
        self._executor = executor
        self._room = room or WaitingRoom(options.max_queue, options.max_queue_bytes)
        self._on_batch = on_batch
        self._queue: deque[_Piece] = deque()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task | None = None
        self._mixes = True

    async def submit(self, inputs: Arrays) -> Arrays:
        """Run a request within a batch.

        One that is larger than a batch is run in pieces. When its waiter is cancelled,
        what of it wasn't begun is not run.

        Args:
            inputs: one row at least.

        Raises:
            ServingError: too much waits already; or as `run`.
        """
        pieces = self._queue_up(inputs)
        self._arrived.set()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())
        try:
            return concatenate(await asyncio.gather(*[p.result for p in pieces]))
        except RowsDifferError:
            pass
        finally:
            for piece in pieces:
                piece.result.cancel()
                if piece.waits:
                    self._leave(piece)
                    self._queue.remove(piece)
        return await self.submit(inputs)  # in one piece now

    def _queue_up(self, inputs: Arrays) -> list[_Piece]:
        size = count_rows(inputs)
        self._room.enter(size, count_bytes(inputs))
        self.waiting += size
        parts = cut(inputs, self._options.max_batch_size if self._mixes else size)
        future = asyncio.get_running_loop().create_future
        pieces = [_Piece(part, len(parts) == 1, future()) for part in parts]
        self._queue.extend(pieces)
        return pieces

    def _leave(self, piece: _Piece) -> None:
        piece.waits = False
        self.waiting -= piece.size
        self._room.leave(piece.size, piece.bytes)

    async def _work(self) -> None:
        while self._queue:
            await self._fill()
            if batch := self._take():
                await self._run_batch(batch)

    async def _fill(self) -> None:
        """Wait until there is a full batch, or the first has waited long enough."""
        waited = time.monotonic() - self._queue[0].arrived
        try:
            async with asyncio.timeout(max(self._options.batch_timeout - waited, 0)):
                while self.waiting < self._options.max_batch_size:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            pass

    def _take(self) -> list[_Piece]:
        """Take from the front what fits together."""
        batch, others, size = [], deque(), 0
        for piece in self._queue:
            if not batch or self._fits(piece, batch[0], size):
                batch.append(piece)
                size += piece.size
                self._leave(piece)
            else:
                others.append(piece)
        self._queue = others
        return batch

    def _fits(self, piece: _Piece, first: _Piece, size: int) -> bool:
        has_room = size + piece.size <= self._options.max_batch_size
        return self._mixes and has_room and piece.kind == first.kind

    async def _run_batch(self, batch: list[_Piece]) -> None:
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        try:
            results = await loop.run_in_executor(self._executor, self._compute, batch)
        except Exception as error:
            if isinstance(error, RowsDifferError):
                self._mixes = False
            if len(batch) == 1:
                if not batch[0].result.done():
                    batch[0].result.set_exception(error)
                return
            # Whoever was at fault fails alone.
            for piece in batch:
                if not piece.result.done():
                    await self._run_batch([piece])
            return
        self._on_batch(
            sum(piece.size for piece in batch),
            time.monotonic() - started,
            [started - piece.arrived for piece in batch],
        )
        for piece, result in zip(batch, results, strict=True):
            if not piece.result.done():
                piece.result.set_result(result)

    def _compute(self, batch: list[_Piece]) -> list[Arrays]:
        """Run a batch, in the executor."""
        outputs = self._run(concatenate([piece.inputs for piece in batch]))
        if len(batch) == 1 and batch[0].is_whole:
            return [outputs]
        return split(outputs, [piece.size for piece in batch])
