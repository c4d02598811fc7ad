"""A Ray cluster that does the work of processes on this machine."""

import functools
import os
import platform
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Literal

import cv2

from keras_mscam.errors import UserError
from keras_mscam.files import find_versions

#: This machine, or a Ray cluster.
Engine = Literal["local", "ray"]
#: How many chunks of jobs wait for each processor.
AHEAD = 3
#: How often a job is tried again whose process or node has died.
_RETRIES = 3
#: By which a connection is known that was made here.
_NAMESPACE = "keras_mscam"
#: What results depend on.
_SAME = (
    "keras_mscam", "keras", "numpy", "opencv-python-headless", "pydicom", "tensorflow",
)  # fmt: skip


class Cluster:
    """A Ray cluster, which `map_in_order` takes in place of a number of processes.

    Each process of it has one processor. It is given the working directory of this
    process, its backend of Keras and its settings of TensorFlow, and must have the same
    versions of what results depend on. What was on a node that is lost is done again.

    Args:
        workers: chunks of jobs that are handed over at a time; `None` has three for
            each processor that the cluster has now.

    Raises:
        UserError: Ray isn't installed, or no cluster can be reached.
    """

    def __init__(self, workers: int | None = None):
        self._ray = _connect()
        processors = int(self._ray.cluster_resources().get("CPU", 0))
        self._ahead = workers or AHEAD * max(processors, 1)
        self._run = self._ray.remote(_run)
        self._here = os.getcwd(), tuple(find_versions(_SAME).items())

    def map_in_order(
        self, function: Callable, chunks: Iterator[list[tuple]], died: object
    ) -> Generator:
        """Give `function(*job)` for each job of each chunk, in their order.

        See `in_order.map_in_order`. Results that aren't next wait in the memory of the
        nodes.
        """
        waiting = deque()
        try:
            while True:
                for chunk in islice(chunks, self._ahead - len(waiting)):
                    waiting.append((chunk, self._submit(function, chunk)))
                if not waiting:
                    return
                chunk, reference = waiting[0]
                results = self._get(reference)
                if results is None:
                    alone = [self._submit(function, [job]) for job in chunk]
                    results = sort_out_deaths(
                        map(self._get, alone),
                        died,
                        "Processes of the Ray cluster died again and again. If memory "
                        "ran out, let fewer run on a node: `ray start --num-cpus`.",
                    )
                waiting.popleft()
                yield from results
        finally:
            if waiting and self._ray.get_runtime_context().namespace == _NAMESPACE:
                # Broken off: what is at work ends with the connection. Ray's `cancel`
                # has been seen to end this process.
                self._ray.shutdown()

    def _submit(self, function: Callable, chunk: list[tuple]):
        # A chunk that ends its process is soon taken apart. A job alone is tried more
        # often: it may be the node that is lost.
        retries = 1 if len(chunk) > 1 else _RETRIES
        run = self._run.options(max_retries=retries)
        return run.remote(self._here, function, chunk)

    def _get(self, reference) -> list | None:
        """Return the results of a chunk, `None` if its process died at each try."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            if "failed to import on the worker" in str(error.cause):
                raise UserError(
                    "A node of the Ray cluster lacks keras_mscam, or what it needs; "
                    "install the same on all nodes."
                ) from error
            raise error.cause from error
        except (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.ObjectLostError,
            errors.OutOfMemoryError,
        ):
            return None
        except errors.RayError as error:
            raise UserError(
                "The Ray cluster fails. Give the same command again when it is mended. "
                f"Ray says: {' '.join(str(error).split())[:300]}"
            ) from error


def sort_out_deaths(alone: Iterable[list | None], died: object, sentence: str) -> list:
    """Return the results of a chunk's jobs, after it ended its process.

    Each job was given a process of its own: `alone` has a list of its result, or `None`
    if it ended that too. It then is `died`.

    Raises:
        UserError: with that sentence: one did and `died` is `None`, or none of several
            got through, which isn't the jobs' fault.
    """
    found = []
    for results in alone:
        if results is None and died is None:
            raise UserError(sentence)
        found.append(results)
    if len(found) > 1 and not any(found):
        raise UserError(sentence)
    return [died if results is None else results[0] for results in found]


def find_workers(engine: Engine, workers: int | None) -> int | Cluster | None:
    """Return what `map_in_order` takes as its `workers`.

    Args:
        engine: `"local"`; or `"ray"` for the cluster that the variable `RAY_ADDRESS`
            names or, without it, that this machine is a node of.
        workers: processes; for Ray, see `Cluster`.

    Raises:
        UserError: there is no such engine, no worker, or as `Cluster`.
    """
    if workers is not None and workers < 1:
        raise UserError(f"The number of workers must be 1 or more, not {workers}.")
    if engine not in ("local", "ray"):
        raise UserError(f"There is no engine {engine!r}; there are local and ray.")
    return Cluster(workers) if engine == "ray" else workers


def _connect():
    """Return the module `ray`, connected to a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(
            'The engine ray is not installed: pip install "keras_mscam[ray]".'
        ) from error
    if ray.is_initialized():
        return ray
    passed_on = ("KERAS_BACKEND", "TF_")
    settings = {k: v for k, v in os.environ.items() if k.startswith(passed_on)}
    # By default TensorFlow starts a thread for every processor of the node.
    settings |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    settings["CUDA_VISIBLE_DEVICES"] = ""  # Ray shows GPUs also to who asks for none
    before = signal.getsignal(signal.SIGTERM)
    try:
        address = _find_address()
        ray.init(
            address=address,
            namespace=_NAMESPACE,
            runtime_env={"env_vars": settings},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            "No Ray cluster can be used: run this on a node of one, which `ray start` "
            f"makes of a machine. Ray says: {' '.join(str(error).split())}"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray sets its own
    return ray


def _find_address() -> str:
    """Return HOST:PORT of the cluster's head.

    Raises:
        ConnectionError, RuntimeError: no cluster is known here.
        UserError: nothing answers there; Ray would try for minutes.
    """
    from ray._private.services import canonicalize_bootstrap_address_or_die

    address = os.environ.get("RAY_ADDRESS", "")
    if address in ("", "auto"):
        address = canonicalize_bootstrap_address_or_die("auto")
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError, ValueError) as error:
        raise UserError(
            f"No Ray cluster answers at {address}; set RAY_ADDRESS to HOST:PORT of its "
            "head, as `ray start --head` prints it."
        ) from error
    return address


def _run(here: tuple[str, tuple], function: Callable, chunk: list[tuple]) -> list:
    """Do a chunk of jobs in a process of the cluster, made like one of `here`."""
    folder, versions = here
    cv2.setNumThreads(1)
    with suppress(OSError):  # paths from the root on don't need it
        os.chdir(folder)
    try:
        _check_versions(versions)
        return [function(*job) for job in chunk]
    except UserError as error:
        raise UserError(f"On the node {platform.node()}: {error}") from None


@functools.cache
def _check_versions(versions: tuple[tuple[str, str], ...]) -> None:
    found = find_versions(_SAME)
    for package, version in versions:
        if found.get(package) != version:
            raise UserError(
                f"{package} is {found.get(package, 'missing')}, where the command runs "
                f"{version}; install the same on all nodes."
            )
