"""The devices and hosts that train one network together."""

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stderr,
    suppress,
)
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, PositiveInt
from tyro.conf import arg

from keras_mscam.errors import UserError
from keras_mscam.inference.run_folder import Run, is_prepared, is_run, load_run

#: Of the first host, where none is given.
_PORT = 8476
#: Until all hosts are there,
_JOIN_SECONDS = 300
#: and until one that is silent counts as lost.
_LOST_SECONDS = 30
#: Status of a process that ends because of another host: it can be started again.
LOST_STATUS = 75
#: What Slurm and Kubernetes' indexed jobs call the place of a host.
_INDEX_VARIABLES = ("SLURM_PROCID", "JOB_COMPLETION_INDEX")
_LOST = "Another host was lost, or the network to it."
_ON = (
    "Start the same command on all hosts again, with --resume if there is a checkpoint "
    "to go on from."
)


@pydantic.dataclasses.dataclass(frozen=True)
class Machines:
    """What trains a run, which may go on with others: no part of its configuration."""

    devices: Annotated[PositiveInt | Literal["all"], arg(metavar="N|all")] = 1
    """Devices of every host that share a batch: GPUs, or else the CPU."""
    hosts: Annotated[tuple[str, ...], arg(metavar="HOST[:PORT] [HOST ...]")] = ()
    """All hosts that share a batch, by the JAX backend, the first one with a port."""
    host_index: Annotated[int | None, Field(ge=0)] = None
    """Place of this host among them, from 0; as Slurm or Kubernetes says by default."""


ONE_DEVICE = Machines()


@dataclass(frozen=True)
class Group:
    """What trains together: by default, one device of one host."""

    # (index, count) of this host. The first one writes the run
    host: tuple[int, int] = (0, 1)
    devices: int = 1  # number of those of all hosts
    # gives the context in which networks are built and trained
    scope: Callable[[], AbstractContextManager] = nullcontext
    # returns the largest of the integers that the hosts call it with
    share: Callable[[int], int] = int

    @property
    def is_first(self) -> bool:
        return self.host[0] == 0

    @property
    def part(self) -> tuple[int, int] | None:
        """The host's part of every batch, where batches must be shared equally."""
        return None if self.devices == 1 else self.host

    def check(self, run: Run) -> None:
        """Refuse what several devices or hosts can't do as one would.

        Raises:
            UserError: the run asks for it.
        """
        import keras

        from keras_mscam.training.checkpoint import find_checkpoints

        training = run.config.training
        if self.host[1] > 1 and not is_prepared(run.records):
            raise UserError(
                "Several hosts read prepared records: give the --output of "
                "keras_mscam-prepare as --data."
            )
        if self.devices == 1:
            return
        if training.batch_size % self.devices:
            raise UserError(
                f"{self.devices} devices can't share a batch of {training.batch_size} "
                "equally: give a --batch-size that is a multiple of their number."
            )
        if training.head_epochs and not find_checkpoints(run):
            raise UserError(
                "--head-epochs trains on one device: leave out --devices and --hosts, "
                "or train the heads first, and go on from that run by --weights."
            )
        if keras.backend.backend() != "tensorflow":
            return
        for option, given in {
            "--loss batch_balanced": training.loss == "batch_balanced",
            "--skip-batches": training.skip_batches > 0,
            "--gradient-accumulation-steps": training.gradient_accumulation_steps > 1,
            # Keras asks the first device alone whether gradients are finite.
            "--precision mixed_float16": training.precision == "mixed_float16",
        }.items():
            if given:
                raise UserError(
                    f"{option} is not for several devices of TensorFlow: set "
                    "KERAS_BACKEND=jax, or leave it out."
                )


ALONE = Group()


@contextmanager
def join(machines: Machines) -> Iterator[Group]:
    """Start what trains together.

    Raises:
        UserError: there are no such devices, the backend can't share work among them,
            or hosts do not come.
    """
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        _keep_from_gpus()
    if len(machines.hosts) > 1:
        if backend != "jax":
            raise UserError(
                f"--hosts is for the JAX backend, and this is {backend}: set "
                "KERAS_BACKEND=jax on all of them."
            )
        with _connect(machines.hosts, find_index(machines)):
            yield _group_jax(machines.devices)
    elif machines.host_index is not None and not machines.hosts:
        raise UserError("--host-index is the place among --hosts: give --hosts, too.")
    elif machines.devices == 1:
        yield Group()
    elif backend == "jax":
        yield _group_jax(machines.devices)
    elif backend == "tensorflow":
        yield _group_tensorflow(machines.devices)
    else:
        raise UserError(f"--devices is for TensorFlow and JAX, and this is {backend}.")


def _keep_from_gpus() -> None:
    """Leave GPUs to JAX, where TensorFlow only reads records."""
    import tensorflow as tf

    with suppress(RuntimeError):  # it has taken them already
        tf.config.set_visible_devices([], "GPU")


def find_index(machines: Machines) -> int:
    """Return the place of this host among all of them, from 0.

    Raises:
        UserError: nobody says it, or it is none.
    """
    count = len(machines.hosts)
    given: dict[str, Any] = {"--host-index": machines.host_index}
    given |= {name: os.environ.get(name) for name in _INDEX_VARIABLES}
    said = [(name, value) for name, value in given.items() if value is not None]
    if not said:
        raise UserError(
            "Give the place of this host among --hosts by --host-index, from 0: "
            f"{' or '.join(_INDEX_VARIABLES)} is not set either."
        )
    source, index = said[0]
    if not str(index).isdecimal() or int(index) >= count:
        raise UserError(
            f"{source} is {index}, but --hosts has {count}, counted from 0."
        )
    return int(index)


def find_address(hosts: tuple[str, ...]) -> str:
    """Return where the first host is to be reached, with its port.

    Raises:
        UserError: it is no address.
    """
    found = re.fullmatch(r"(\[[^\]\s]+\]|[^:\s]+)(?::(\d+))?", hosts[0])
    port = int(found[2] or _PORT) if found else 0
    if found is None or not 0 < port < 2**16:
        raise UserError(f"--hosts begins with {hosts[0]!r}, which is no HOST:PORT.")
    return f"{found[1]}:{port}"


@contextmanager
def _connect(hosts: tuple[str, ...], index: int) -> Iterator[None]:
    """Connect this process with those of the other hosts, by JAX.

    `keras.distribution.initialize` does the same, but can't be told how soon a host
    counts as lost.
    """
    import jax

    address = find_address(hosts)
    if index == 0:
        _check_port(address)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    absent = f"Not all of {len(hosts)} hosts came to {address}. {_ON}"
    with _last_words(absent), _signals_end_at_once():
        jax.distributed.initialize(
            address,
            len(hosts),
            index,
            cluster_detection_method="deactivate",
            initialization_timeout=_JOIN_SECONDS,
            heartbeat_timeout_seconds=_LOST_SECONDS,
            shutdown_timeout_seconds=_LOST_SECONDS,
        )
    with _last_words(f"{_LOST} {_ON}"):
        try:
            yield
        except Exception as error:
            # At its exit JAX would wait for hosts that may never answer, and abort.
            lost = re.search("Gloo|NCCL|coordination service", str(error))
            atexit.register(os._exit, LOST_STATUS if lost else 2)
            if lost:
                raise UserError(f"{_LOST} {_ON}") from error
            raise
        except KeyboardInterrupt:
            jax.distributed.shutdown()  # all hosts stop at the same step
            raise
        jax.distributed.shutdown()


def _check_port(address: str) -> None:
    """Refuse a port of this host that can't be used, where JAX would crash."""
    port = int(address.rpartition(":")[2])
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise UserError(
            f"The first of --hosts is this one, and its port {port} can't be used: "
            f"{error.strerror}. Give it another, HOST:PORT, on all hosts."
        ) from error


@contextmanager
def _signals_end_at_once() -> Iterator[None]:
    """Let a signal end the process where JAX keeps Python from handling it."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in handlers.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _last_words(sentence: str) -> Iterator[None]:
    """Have a sentence said if JAX ends this process within the block.

    It does so where hosts do not answer, and lets nobody catch that. So another process
    says the sentence when this one is gone without a word.
    """
    said = f"error: {sentence}"
    code = f"import sys; sys.stdin.read() or print({said!r}, file=sys.stderr)"
    command = [sys.executable, "-c", code]
    # In a session of its own: Ctrl-C is not for it.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            yield
        finally:
            process.communicate(b"all is well")


def _group_jax(devices: int | str) -> Group:
    import jax
    import keras

    host, hosts = jax.process_index(), jax.process_count()
    there = jax.devices()
    by_host = [[d for d in there if d.process_index == index] for index in range(hosts)]
    counts = [len(found) for found in by_host]
    if len(set(counts)) > 1:
        raise UserError(
            f"The hosts have {counts} devices, and must all have as many: hide the "
            "others by CUDA_VISIBLE_DEVICES."
        )
    count = _count(devices, counts[0])
    chosen = [device for found in by_host for device in found[:count]]
    if len(chosen) == 1:
        return Group()
    distribution = keras.distribution.DataParallel(
        devices=[f"{d.platform}:{d.id}" for d in chosen], auto_shard_dataset=False
    )
    return Group((host, hosts), len(chosen), distribution.scope, _share)


def _share(value: int) -> int:
    import jax
    import numpy as np

    if jax.process_count() == 1:
        return value
    from jax.experimental.multihost_utils import process_allgather

    return int(process_allgather(np.int32(value)).max())


def _group_tensorflow(devices: int | str) -> Group:
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU")
    found = found or tf.config.list_logical_devices("CPU")
    count = _count(devices, len(found))
    if count == 1:
        return Group()
    strategy = tf.distribute.MirroredStrategy([d.name for d in found[:count]])
    return Group(devices=count, scope=strategy.scope)


def _count(wanted: int | str, there: int) -> int:
    if isinstance(wanted, str):  # "all"
        return there
    if wanted > there:
        raise UserError(f"--devices is {wanted}, but there are {there}.")
    return wanted


@contextmanager
def open_run(group: Group, output: Path, first: Callable[[], Run]) -> Iterator[Run]:
    """Open a run: the first host the run itself, the others a copy for the while.

    So all do the same, and only the first one's files and words remain.

    Args:
        group: what trains together.
        output: the folder of the run.
        first: makes or opens it, on the first host.

    Raises:
        UserError: another host does not see the folder, or as `first`, on all hosts.
    """
    if group.is_first:
        try:
            run = first()
        except UserError:
            group.share(1)  # no run: that ends the others, too
            raise
        group.share(0)  # it is there
        group.share(0)  # and copied
        yield run
        return
    if group.share(0):
        raise UserError("The first host can't begin, and says why.")
    if not is_run(output):
        raise UserError(
            f"Host {group.host[0]} does not see {output}: give an --output on a disk "
            "that all hosts share."
        )
    run = load_run(output)
    data = replace(run.config.data, path=run.records.absolute())
    with (
        tempfile.TemporaryDirectory(prefix="keras_mscam-") as folder,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        redirect_stderr(nowhere),
    ):
        copy = Run(Path(folder), replace(run.config, data=data))
        if run.checkpoints.is_dir():
            shutil.copytree(run.checkpoints, copy.checkpoints)
        group.share(0)
        yield copy
