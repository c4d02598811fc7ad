"""Folders of versions, of which the wanted ones are kept loaded.

A model repository is `DIR/NAME/VERSION/saved_model.pb`.
"""

import asyncio
import gc
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from types import MappingProxyType

import grpc
import tensorflow as tf

from keras_mscam.errors import UserError
from keras_mscam.serving.batching import Batcher
from keras_mscam.serving.monitoring import Metrics
from keras_mscam.serving.servable import Servable, explain_failure
from keras_mscam.serving.serving_error import ServingError, refuse

#: As TensorFlow Serving's ModelVersionStatus names them.
START, LOADING, AVAILABLE, UNLOADING, END = (
    "START", "LOADING", "AVAILABLE", "UNLOADING", "END"
)  # fmt: skip
_log = logging.getLogger(__name__)


def find_models(path: Path) -> dict[str, Path]:
    """Return the folder of each model, by its name, in a repository, or of one model.

    Raises:
        UserError: there is no model.
    """
    path = Path(path)
    try:
        if find_versions(path):
            return {path.resolve().name: path}
        children = sorted(path.iterdir())
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    models, unreadable = {}, []
    for child in children:
        try:
            if child.is_dir() and find_versions(child):
                models[child.name] = child
        except OSError as error:  # such as lost+found, which only root can read
            unreadable.append(f"{child}: {error.strerror}")
    if not models and unreadable:
        raise UserError(f"Cannot read {'; '.join(unreadable)}.")
    if not models and (path / "saved_model.pb").is_file():
        raise UserError(f"{path} is one version; give the folder of versions above it.")
    if not models and (path / "config.json").is_file():
        raise UserError(
            f"{path} holds no model to serve: it is a run; "
            f"keras_mscam-export {path} --output models makes models of it."
        )
    if not models:
        raise UserError(
            f"{path} holds no model: no NAME/VERSION/saved_model.pb is in it; "
            f"keras_mscam-export RUN --output {path} makes one."
        )
    return models


def find_versions(folder: Path) -> dict[int, Path]:
    """Return the folder of each version by its number, but of none half written."""
    return {
        int(path.name): path
        for path in sorted(Path(folder).iterdir())
        if re.fullmatch("[0-9]{1,18}", path.name)
        and (path / "saved_model.pb").is_file()
    }


def choose_versions(policy: Sequence[str], numbers: Iterable[int]) -> list[int]:
    """Return the versions that are wanted of those on disk, newest first.

    The policy is `latest [N]`, `all` or `specific N [N ...]`, or it is a `UserError`.
    """
    kind, *rest = policy or ("",)
    numbers = sorted(numbers, reverse=True)
    if all(word.isascii() and word.isdigit() for word in rest):
        named = [int(word) for word in rest]
        if kind == "latest" and len(named) < 2 and all(named):
            return numbers[: named[0] if named else 1]
        if kind == "all" and not named:
            return numbers
        if kind == "specific" and named:
            return [number for number in numbers if number in named]
    raise UserError(
        f"--versions {' '.join(policy)} is not understood: write latest [N], all or "
        "specific N [N ...]."
    )


@dataclass(eq=False)
class Version:
    """One version of a model, and what became of it."""

    # its number and folder
    number: int
    path: Path
    state: str = START  # START, LOADING, AVAILABLE, UNLOADING or END
    # name of a gRPC status, and why it could not be loaded
    error_code: str = "OK"
    error: str = ""
    # of its files when they were read; changed ones are tried again
    fingerprint: frozenset = frozenset()
    servable: Servable | None = None  # while it is loaded
    # of its signatures, made as they are called
    batchers: dict[str, Batcher] = field(default_factory=dict)
    in_flight: int = 0  # requests that hold on to it

    @contextmanager
    def hold(self) -> Iterator[Servable]:
        """Keep it loaded for the time of a request."""
        self.in_flight += 1
        try:
            yield self.get_servable()
        finally:
            self.in_flight -= 1
            self._end_if_idle()

    def get_servable(self) -> Servable:
        """Return what is loaded, as that of every version which `find` gives is."""
        assert self.servable is not None
        return self.servable

    def let_go(self) -> None:
        """Take no more requests; free its memory when the last one has its answer."""
        self.state = UNLOADING
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self.state == UNLOADING and not self.in_flight:
            self.batchers.clear()
            last = [self.get_servable()]
            self.servable = None
            self.state = END
            # Closing may take seconds, for which the event loop must not wait.
            Thread(target=_free, args=[last], daemon=True).start()


class ServedModels:
    """Watches folders of versions and keeps the wanted ones loaded.

    A new version is loaded and warmed up before an old one is let go, and an old one
    stays until the last request that holds on to it has its answer. One that can't be
    loaded is reported, what was served before goes on, and it is tried again when its
    files change. If nothing was served before, the newest that can be loaded is. A
    version whose files change, because it was exported anew under its number, is
    loaded anew.

    Args:
        folders: of each model, by its name; see `find_models`.
        metrics: to count loads in.
        policy: which versions are wanted, see `choose_versions`.
        labels: version by label, of all models; these are wanted, too.
    """

    def __init__(
        self,
        folders: dict[str, Path],
        metrics: Metrics,
        policy: Sequence[str] = ("latest",),
        labels: Mapping[str, int] = MappingProxyType({}),
    ):
        self.folders = folders
        self.metrics = metrics
        choose_versions(policy, [])  # refuses one that it can't understand
        self.policy = policy
        self.labels = labels
        self._versions: dict[str, dict[int, Version]] = {name: {} for name in folders}
        self._executor = ThreadPoolExecutor(1, "load")
        self._refreshing = asyncio.Lock()
        self._troubles: dict[str, str] = {}

    def find(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> Version:
        """Return an available version: by number, by label, or the newest."""
        versions = self.list_versions(name, number, label)
        available = [version for version in versions if version.state == AVAILABLE]
        if not available:
            only = len(versions) == 1
            what = f"Version {versions[0].number}" if only else "A version"
            raise _not_found(f"{what} of the model {name!r} is not available.")
        return available[0]

    def list_versions(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> list[Version]:
        """Return all versions that were ever wanted, newest first, or one of them."""
        versions = self._versions.get(name)
        if not versions:
            raise _not_found(f"The model {name!r} is not served.")
        if label is not None:
            if label not in self.labels:
                raise refuse(f"There is no version with the label {label!r}.")
            number = self.labels[label]
        if number is None:
            return [versions[number] for number in sorted(versions, reverse=True)]
        if number not in versions:
            raise _not_found(f"The model {name!r} has no version {number}.")
        return [versions[number]]

    def list_available(self) -> dict[str, list[int]]:
        """Return the versions that are served, rising, by model."""
        return {
            name: sorted(v.number for v in versions.values() if v.state == AVAILABLE)
            for name, versions in self._versions.items()
        }

    def describe_failures(self) -> str:
        """Say of each model why no version of it is served."""
        return "; ".join(
            f"{name}/{version.number}: {version.error.rstrip('.')}"
            if version
            else f"{name} has no version that is wanted"
            for name, versions in self._versions.items()
            for version in versions.values() or [None]
        )

    async def watch(self, interval: float) -> None:
        """Look for changes every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self.refresh()

    async def refresh(self) -> None:
        """Load what is wanted and missing, then let go what is no longer wanted."""
        async with self._refreshing:
            for name, folder in self.folders.items():
                try:
                    await self._refresh_model(name, folder)
                    self._troubles.pop(name, None)
                except Exception as error:
                    # A bad moment of a disk must not end watching; it is told once, and
                    # not at every look of a day.
                    if self._troubles.get(name) != str(error):
                        self._troubles[name] = str(error)
                        _log.error("Cannot look for versions of %s: %s", name, error)

    async def _refresh_model(self, name: str, folder: Path) -> None:
        on_disk = await self._run(find_versions, folder)
        chosen = choose_versions(self.policy, on_disk)
        labelled = on_disk.keys() & self.labels.values()
        wanted = sorted(labelled.union(chosen), reverse=True)
        versions = self._versions[name]
        for number in wanted:
            versions.setdefault(number, Version(number, on_disk[number]))
        for number in wanted:
            await self._load(name, number, on_disk[number])
        if any(versions[number].state == AVAILABLE for number in chosen):
            for version in versions.values():
                if version.state == AVAILABLE and version.number not in wanted:
                    version.let_go()
                    _log.info("%s/%d is no longer served.", name, version.number)
            return
        if self.policy[0] == "specific":
            return  # no other one will do
        for number in sorted(on_disk, reverse=True):
            if not self.list_available()[name]:
                versions.setdefault(number, Version(number, on_disk[number]))
                await self._load(name, number, on_disk[number])

    async def _load(self, name: str, number: int, path: Path) -> None:
        former = self._versions[name][number]
        if former.state not in (START, AVAILABLE, END):
            return
        fingerprint = await self._run(_take_fingerprint, path)
        tried = former.state == AVAILABLE or former.error
        if tried and former.fingerprint == fingerprint:
            return
        version = Version(number, path, LOADING, fingerprint=fingerprint)
        if former.state != AVAILABLE:
            self._versions[name][number] = version
        start, status = time.perf_counter(), "fail"
        try:
            version.servable = await self._run(_load_warm, path)
            version.state, status = AVAILABLE, "success"
            self._versions[name][number] = version
            _log.info("%s/%d is available.", name, number)
        except Exception as error:
            version.error_code, version.error = _explain(error)
            version.state = END
            _log.error("%s/%d can't be loaded: %s", name, number, version.error)
        self.metrics.count_load(path, status, time.perf_counter() - start)
        if former.state == AVAILABLE:
            if status == "success":
                former.let_go()
            former.fingerprint = fingerprint  # not tried again until it changes again

    async def _run(self, function: Callable, *arguments):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, function, *arguments)


def _load_warm(path: Path) -> Servable:
    servable = Servable(path)
    servable.warm_up()
    return servable


def _free(servables: list[Servable]) -> None:
    # Out of the list, which its thread holds: else it could not be collected here.
    servables.pop().close()
    gc.collect()  # a graph refers to itself, and might be kept for hours


def _take_fingerprint(folder: Path) -> frozenset:
    """Return what changes when any file below a folder is written, added or removed."""
    stats = [(str(path), path.stat()) for path in folder.rglob("*")]
    return frozenset((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def _explain(error: Exception) -> tuple[str, str]:
    """Return the code and one line."""
    if isinstance(error, tf.errors.OpError):
        error = explain_failure(error)
    code = error.code if isinstance(error, ServingError) else grpc.StatusCode.UNKNOWN
    lines = str(error).strip().splitlines()
    return code.name, lines[0].strip() if lines else repr(error)


def _not_found(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.NOT_FOUND, message)
