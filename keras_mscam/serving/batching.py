"""Requests that come at the same time run as one batch."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import grpc
import numpy as np

from keras_mscam.serving.errors import ServingError

_Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class BatchOptions:
    """How requests are batched.

    Args:
        max_batch_size: images in a batch at most.
        batch_timeout: seconds that the first request of a batch waits for others.
        max_queue: images that may wait; one more is refused.
    """

    max_batch_size: int = 32
    batch_timeout: float = 0.005
    max_queue: int = 512


@dataclass(eq=False)
class _Piece:
    """A part of a request that is run at once, and who waits for it."""

    inputs: _Arrays
    size: int
    result: asyncio.Future = field(repr=False)


class Batcher:
    """Runs what waits, in batches, one after the other; the next fills meanwhile.

    Args:
        run: from inputs to outputs, all of which begin with the batch; called in the
            executor.
        options: sizes and times.
        executor: of threads.
        on_batch: called with the size of every batch and the seconds it took.
    """

    def __init__(
        self,
        run: Callable[[_Arrays], _Arrays],
        options: BatchOptions,
        executor: Executor,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        self._run = run
        self._options = options
        self._executor = executor
        self._on_batch = on_batch
        self._waiting: deque[_Piece] = deque()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task | None = None

    @property
    def waiting(self) -> int:
        """Images that wait."""
        return sum(piece.size for piece in self._waiting)

    async def submit(self, inputs: _Arrays) -> _Arrays:
        """Run a request within a batch.

        One that is larger than a batch is run in pieces. Ended early, by a timeout or
        because nobody waits any more, what of it wasn't begun is not run.

        Raises:
            ServingError: RESOURCE_EXHAUSTED: too much waits already; or as `run`.
        """
        size = len(next(iter(inputs.values())))
        if self.waiting + size > max(self._options.max_queue, size):
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self.waiting} images wait already, and no more than "
                f"{self._options.max_queue} may; try again later.",
            )
        pieces = self._cut(inputs, size)
        self._waiting.extend(pieces)
        self._arrived.set()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            results = await asyncio.gather(*[piece.result for piece in pieces])
        except BaseException:
            for piece in pieces:
                piece.result.cancel()
            raise
        return results[0] if len(results) == 1 else _concatenate(results)

    async def close(self) -> None:
        """Stop when nothing waits any more."""
        while self._waiting:
            await asyncio.sleep(0.01)
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    def _cut(self, inputs: _Arrays, size: int) -> list[_Piece]:
        most = self._options.max_batch_size
        loop = asyncio.get_running_loop()
        return [
            _Piece(
                {name: value[start : start + most] for name, value in inputs.items()},
                min(most, size - start),
                loop.create_future(),
            )
            for start in range(0, max(size, 1), most)
        ]

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            await self._fill()
            batch = self._take()
            if not self._waiting:
                self._arrived.clear()
            if batch:
                await self._run_batch(batch)

    async def _fill(self) -> None:
        """Wait until there is a full batch, or the time is over."""
        end = time.monotonic() + self._options.batch_timeout
        while self.waiting < self._options.max_batch_size:
            left = end - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(left, 0.001))

    def _take(self) -> list[_Piece]:
        """Take from the front what fits together; what nobody waits for is dropped."""
        batch, size, others = [], 0, deque()
        while self._waiting:
            piece = self._waiting.popleft()
            if piece.result.done():
                continue
            alike = not batch or _get_kind(piece) == _get_kind(batch[0])
            if alike and size + piece.size <= self._options.max_batch_size:
                batch.append(piece)
                size += piece.size
            else:
                others.append(piece)
        self._waiting = others
        return batch

    async def _run_batch(self, batch: list[_Piece]) -> None:
        try:
            outputs = await self._call(_concatenate([piece.inputs for piece in batch]))
            parts = _split(outputs, [piece.size for piece in batch])
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            # Whoever was at fault fails alone.
            for piece in batch:
                await self._run_batch([piece])
            return
        for piece, part in zip(batch, parts, strict=True):
            if not piece.result.done():
                piece.result.set_result(part)

    async def _call(self, inputs: _Arrays) -> _Arrays:
        loop = asyncio.get_running_loop()
        start = time.perf_counter()
        outputs = await loop.run_in_executor(self._executor, self._run, inputs)
        size = len(next(iter(inputs.values())))
        self._on_batch(size, time.perf_counter() - start)
        return outputs


def _get_kind(piece: _Piece) -> tuple:
    return tuple(
        (name, value.dtype.str, value.shape[1:])
        for name, value in sorted(piece.inputs.items())
    )


def _concatenate(parts: list[_Arrays]) -> _Arrays:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _split(outputs: _Arrays, sizes: list[int]) -> list[_Arrays]:
    total, ends = sum(sizes), np.cumsum(sizes)[:-1]
    for name, value in outputs.items():
        if len(value) != total:
            raise ServingError(
                grpc.StatusCode.INTERNAL,
                f"Output {name!r} has {len(value)} rows for {total} inputs.",
            )
    columns = {name: np.split(value, ends) for name, value in outputs.items()}
    return [
        {name: column[row] for name, column in columns.items()}
        for row in range(len(sizes))
    ]


def _fail(piece: _Piece, error: Exception) -> None:
    if not piece.result.done():
        piece.result.set_exception(error)
