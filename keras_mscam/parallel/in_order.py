"""Work for several processes, in order, with few jobs and results in memory."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import (
    active_children,
    connection,
    get_context,
    parent_process,
)

import cv2

from keras_mscam.parallel.cluster import AHEAD, Cluster, sort_out_deaths

#: Fewer jobs are done before other processes would have started.
SMALL = 200
#: Processes by default, at most.
_MOST = 32


def map_in_order(
    function: Callable,
    jobs: Iterable[tuple],
    workers: int | Cluster | None,
    count: int | None = None,
    died: object = None,
    apart: bool = False,
    chunk: int = 16,
) -> Generator:
    """Give `function(*job)` for each job, in their order.

    Args:
        function: at the top level of a module that imports fast, since each process
            imports it anew.
        jobs: arguments. An iterator is read in this process, a little ahead of the
            results.
        workers: processes; `None` takes one per processor. With one, or with fewer than
            200 jobs, the work is done in this process, if it isn't `apart`. Or a
            cluster, see `find_workers`.
        count: number of jobs, where `len(jobs)` doesn't tell.
        died: the result of a job that ends its process, as decoders written in C may
            on a damaged file; without it, that is an error.
        apart: never work in this process, which such a job would end, or where few
            jobs take long.
        chunk: jobs that a process is handed at a time; 1 if each takes seconds.

    Yields:
        Results. Whoever stops before the last should close the generator.

    Raises:
        UserError: a process died and `died` isn't given, or many in a row.

    Example:
        >>> list(map_in_order(pow, [(2, 3), (3, 2)], workers=None))
        [8, 9]
    """
    if isinstance(workers, Cluster):
        yield from workers.map_in_order(function, _cut(jobs, chunk), died)
        return
    workers = workers or min(count_processors(), _MOST)
    if count is None:
        jobs = list(jobs)
        count = len(jobs)
    if not apart and (workers == 1 or count < SMALL):
        for job in jobs:
            yield function(*job)
        return
    chunks = _cut(jobs, chunk)
    waiting = deque()
    while True:
        fatal = yield from _run_until_one_dies(function, waiting, chunks, workers)
        if fatal is None:
            return
        alone = (_run_alone(function, job) for job in fatal)
        yield from sort_out_deaths(
            alone,
            died,
            "A worker process died. In a script, start the work under `if __name__ == "
            "'__main__':`; if memory ran out, use fewer workers.",
        )


def _cut(jobs: Iterable[tuple], size: int) -> Iterator[list[tuple]]:
    jobs = iter(jobs)
    return iter(lambda: list(islice(jobs, size)), [])


def _run_until_one_dies(
    function: Callable,
    waiting: deque[list[tuple]],
    chunks: Iterator[list[tuple]],
    workers: int,
) -> Generator[object, None, list[tuple] | None]:
    """Give the results of one chunk after the other, while others are worked on.

    `waiting` has the chunks that are handed over; it is brought up to date.

    Returns:
        The chunk whose results were next when a process died, `None` at the end.
    """
    waiting.extend(islice(chunks, workers * AHEAD - len(waiting)))
    with _open_pool(workers) as pool:
        try:
            futures = deque(_submit(pool, function, chunk) for chunk in waiting)
            while futures:
                results = futures.popleft().result()
                waiting.popleft()
                yield from results
                for chunk in islice(chunks, 1):
                    waiting.append(chunk)
                    futures.append(_submit(pool, function, chunk))
        except BrokenProcessPool:
            return waiting.popleft()
    return None


def _run_alone(function: Callable, job: tuple) -> list | None:
    """Return the result of a job in a process of its own, `None` if that dies."""
    with _open_pool(1) as pool:
        try:
            return _submit(pool, function, [job]).result()
        except BrokenProcessPool:
            return None


@contextmanager
def _open_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    others = set(active_children())
    # Forked processes would hang on locks that TensorFlow's threads hold.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            # A pool that a signal breaks off while it starts forgets its processes, and
            # this one would wait for them at its end.
            for child in set(active_children()) - others:
                child.kill()


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
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A killed parent can't tell its workers, which would wait for jobs for ever.
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def count_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
