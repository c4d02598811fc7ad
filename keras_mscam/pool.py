"""Work for several processes, in order, with few results in memory at a time."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context

import cv2

from keras_mscam.errors import UserError

#: Fewer jobs are done before other processes would have started.
SMALL = 200
#: Jobs handed over at a time, and how many such chunks wait for each process.
_CHUNK = 16
_AHEAD = 3


def map_in_order(
    function: Callable, jobs: Sequence[tuple], workers: int | None
) -> Iterator:
    """Give `function(*job)` for each job, in their order.

    Args:
        function: at the top level of a module that imports fast, since each process
            imports it anew.
        jobs: arguments.
        workers: processes; `None` takes one a processor. With one, or with fewer than
            200 jobs, the work is done in this process.

    Yields:
        Results. Whoever stops before the last should close the generator.

    Raises:
        UserError: a process died.

    Example:
        >>> list(map_in_order(pow, [(2, 3), (3, 2)], workers=None))
        [8, 9]
    """
    workers = workers or _count_processors()
    if workers == 1 or len(jobs) < SMALL:
        for job in jobs:
            yield function(*job)
        return
    # Forked processes would hang on locks that TensorFlow's threads hold.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        try:
            for results in _run_ahead(pool, function, iter(jobs), workers * _AHEAD):
                yield from results
        except BrokenProcessPool as error:
            raise UserError(
                "A worker process died. In a script, start the work under "
                "`if __name__ == '__main__':`; if memory ran out, use fewer workers."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _run_ahead(
    pool: ProcessPoolExecutor, function: Callable, jobs: Iterator, ahead: int
) -> Iterator[list]:
    """Give the results of one chunk after the other, while others are worked on."""
    chunks = iter(lambda: list(islice(jobs, _CHUNK)), [])
    waiting = deque(_submit(pool, function, chunk) for chunk in islice(chunks, ahead))
    while waiting:
        results = waiting.popleft().result()
        waiting.extend(_submit(pool, function, chunk) for chunk in islice(chunks, 1))
        yield results


def _submit(pool: ProcessPoolExecutor, function: Callable, chunk: list) -> Future:
    # Ctrl-C reaches every process of a terminal, but it is for this one to act on: a
    # process that submitting starts inherits that it is held back, for good.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_run_chunk, function, chunk)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_chunk(function: Callable, jobs: Iterable[tuple]) -> list:
    return [function(*job) for job in jobs]


def _start_worker() -> None:
    # There is a process a processor already.
    cv2.setNumThreads(1)


def _count_processors() -> int:
    """Return how many processors this process may use, 32 at most."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), 32)
    return min(os.cpu_count() or 1, 32)
