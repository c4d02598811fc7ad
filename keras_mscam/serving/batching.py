"""Requests that come at the same time run as one batch."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

import grpc
import numpy as np

from keras_mscam.serving.server_options import ServerOptions
from keras_mscam.serving.serving_error import ServingError, refuse

Arrays = dict[str, np.ndarray]


def count_bytes(arrays: Arrays) -> int:
    """Return how much memory arrays take, with the strings in them."""
    strings = (
        s for value in arrays.values() if value.dtype == object for s in value.flat
    )
    return sum(value.nbytes for value in arrays.values()) + sum(map(len, strings))


class WaitingRoom:
    """Counts images that wait to be run, and their bytes, over all models.

    Of `most_bytes`, a single request may take more.
    """

    def __init__(self, most: int, most_bytes: int):
        self.most = most
        self.most_bytes = most_bytes
        self.waiting = 0
        self.bytes = 0

    def enter(self, images: int, size: int) -> None:
        """Let a request of so many bytes in, or raise a `ServingError`."""
        if images > self.most:
            raise refuse(
                f"The request holds {images} images, and {self.most} may wait at most; "
                "send fewer at a time."
            )
        is_full = self.waiting + images > self.most
        if is_full or (self.waiting and self.bytes + size > self.most_bytes):
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self.waiting} images with {self.bytes} bytes wait already, and no "
                f"more than {self.most} with {self.most_bytes} may; try again later.",
            )
        self.waiting += images
        self.bytes += size

    def leave(self, images: int, size: int) -> None:
        """Make room again."""
        self.waiting -= images
        self.bytes -= size


class _Piece:
    """What of a request is run at once, and who waits for it."""

    def __init__(self, inputs: Arrays, size: int, is_batch: bool):
        self.inputs = inputs
        self.size = size
        self.bytes = count_bytes(inputs)
        self.result = asyncio.get_running_loop().create_future()
        #: What pieces must have in common to be one batch; `False` for none.
        self.kind = is_batch and {
            name: (value.dtype, value.shape[1:]) for name, value in inputs.items()
        }
        self.arrived = time.monotonic()
        self.waits = True


class Batcher:
    """Runs what waits, in batches, one after the other; the next fills meanwhile.

    Requests whose inputs differ in type, or in a dimension behind the batch, are not
    mixed. Where a batch fails, its requests are run one by one: who is at fault fails
    alone.

    Args:
        run: from inputs to outputs, all of which begin with the batch.
        executor, room, options: threads to run in, where requests wait, and those of
            the server.
        on_batch: called with the size of every batch, the seconds that it ran, and the
            seconds that each of its requests waited before.
    """

    def __init__(
        self,
        run: Callable[[Arrays], Arrays],
        executor: Executor,
        room: WaitingRoom,
        options: ServerOptions,
        on_batch: Callable[[int, float, list[float]], None] = lambda *_: None,
    ):
        self.waiting = 0
        self.options = options
        self._run = run
        self._executor = executor
        self._room = room
        self._on_batch = on_batch
        self._queue: deque[_Piece] = deque()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task | None = None

    async def submit(self, inputs: Arrays, rows: int | None) -> Arrays:
        """Run a request within a batch, or alone if it is none, `rows` being `None`.

        One of more rows than a batch is run in pieces. When its waiter is cancelled,
        what of it wasn't begun is not run.

        Raises:
            ServingError: too much waits already; or as `run`.
        """
        size, step = rows or 1, self.options.max_batch_size
        self._room.enter(size, count_bytes(inputs))
        self.waiting += size
        pieces = [] if rows else [_Piece(inputs, 1, is_batch=False)]
        for start in range(0, rows or 0, step):
            part = {k: value[start : start + step] for k, value in inputs.items()}
            pieces.append(_Piece(part, min(step, size - start), is_batch=True))
        self._queue.extend(pieces)
        self._arrived.set()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())
        try:
            parts = await asyncio.gather(*[piece.result for piece in pieces])
        finally:
            for piece in pieces:
                piece.result.cancel()
                if piece.waits:
                    self._leave(piece)
                    self._queue.remove(piece)
        return _concatenate(parts)

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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(self.options.batch_timeout - waited, 0)):
                while self.waiting < self.options.max_batch_size:
                    self._arrived.clear()
                    await self._arrived.wait()

    def _take(self) -> list[_Piece]:
        """Take from the front what fits together."""
        batch, others, room = [], deque(), self.options.max_batch_size
        for piece in self._queue:
            fits = piece.kind and piece.kind == batch[0].kind if batch else True
            if fits and piece.size <= room:
                batch.append(piece)
                room -= piece.size
                self._leave(piece)
            else:
                others.append(piece)
        self._queue = others
        return batch

    async def _run_batch(self, batch: list[_Piece]) -> None:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._executor, self._compute, batch)
        except Exception as error:
            if len(batch) == 1:
                if not batch[0].result.done():
                    batch[0].result.set_exception(error)
                return
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
        """Run a batch, in the executor, and give every request its rows."""
        outputs = self._run(_concatenate([piece.inputs for piece in batch]))
        if not batch[0].kind:
            return [outputs]
        total = sum(piece.size for piece in batch)
        if any(value.ndim == 0 or len(value) != total for value in outputs.values()):
            # A graph may say otherwise in its signature; see `Batcher` on failures.
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"The model gave no row for each of the {total} rows of the inputs.",
            )
        if len(batch) == 1:
            return [outputs]
        results, start = [], 0
        for piece in batch:
            # Copies: a slice would keep the whole batch in memory.
            rows = slice(start, start + piece.size)
            results.append({name: v[rows].copy() for name, v in outputs.items()})
            start += piece.size
        return results


def _concatenate(parts: list[Arrays]) -> Arrays:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
