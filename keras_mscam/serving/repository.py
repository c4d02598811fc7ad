"""Models in memory: new versions are loaded, then old ones let go."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import tensorflow as tf

from keras_mscam.serving.errors import ServingError, from_tensorflow, not_found, refuse
from keras_mscam.serving.servable import Servable
from keras_mscam.serving.version_folders import find_versions, take_fingerprint
from keras_mscam.serving.versions import (
    AVAILABLE,
    END,
    LOADING,
    START,
    Version,
    VersionPolicy,
    VersionState,
)

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class ModelRepository:
    """Watches folders of versions and keeps the wanted ones loaded.

    A new version is loaded and warmed up before an old one is let go, and an old one
    stays until the last request that holds on to it has its answer. One that can't be
    loaded is reported, what was served before goes on, and it is tried again when its
    files change. If nothing was served before, the newest that can be loaded is.

    Args:
        models: folder of each model, by its name; see `find_models`.
        executor: of threads, in which versions are loaded.
        policy: which versions are wanted, of all models.
        labels: version by label, of all models.
        on_load: called with the folder of a version, the status ("success" or "fail")
            and the seconds it took.
        policies: in place of `policy`, by model.
        labels_by_model: in place of `labels`.
    """

    models: dict[str, Path]
    executor: Executor
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    labels: dict[str, int] = field(default_factory=dict)
    on_load: Callable[[Path, str, float], None] = lambda path, status, seconds: None
    policies: dict[str, VersionPolicy] = field(default_factory=dict)
    labels_by_model: dict[str, dict[str, int]] = field(default_factory=dict)

    def __post_init__(self):
        self._versions: dict[str, dict[int, Version]] = {n: {} for n in self.models}
        self._refreshing = asyncio.Lock()
        self._troubles: dict[str, str] = {}

    def find(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> Version:
        """Return an available version: by number, by label, or the newest.

        Raises:
            ServingError: there is none.
        """
        number = self._resolve(name, number, label)
        available = [
            version
            for version in self._versions.get(name, {}).values()
            if version.state == AVAILABLE and number in (None, version.number)
        ]
        if not available:
            wanted = (
                f"Latest({name})" if number is None else f"Specific({name}, {number})"
            )
            raise not_found(f"Servable not found for request: {wanted}")
        return max(available, key=lambda version: version.number)

    def get_states(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> list[VersionState]:
        """Return the states of all versions, newest first, or of one.

        Raises:
            ServingError: there is none.
        """
        versions = self._versions.get(name, {})
        if not versions:
            raise not_found(f"Could not find any versions of model {name}")
        number = self._resolve(name, number, label)
        if number is not None:
            if number not in versions:
                raise not_found(f"Could not find version {number} of model {name}")
            return [versions[number].describe()]
        return [versions[number].describe() for number in sorted(versions)[::-1]]

    def list_available(self) -> dict[str, list[int]]:
        """Return the versions that are served, rising, by model."""
        return {
            name: sorted(v.number for v in versions.values() if v.state == AVAILABLE)
            for name, versions in self._versions.items()
        }

    async def watch(self, interval: float) -> None:
        """Look for changes every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self.refresh()

    async def refresh(self) -> None:
        """Load what is wanted and missing, then let go what is no longer wanted."""
        async with self._refreshing:
            await self._collect_garbage()
            for name, folder in self.models.items():
                try:
                    await self._refresh_model(name, folder)
                    self._troubles.pop(name, None)
                except OSError as error:  # a bad moment of a disk must not end watching
                    self._tell_trouble(name, folder, error)
                except Exception:
                    _log.exception("Looking for versions of %s failed.", name)

    def _tell_trouble(self, name: str, folder: Path, error: OSError) -> None:
        # Once, and not at every look of a day.
        if self._troubles.get(name) != str(error):
            self._troubles[name] = str(error)
            _log.error("Cannot look for versions of %s in %s: %s", name, folder, error)

    async def _collect_garbage(self) -> None:
        """Free graphs of ended versions now: Python alone might wait for hours."""
        versions = [v for named in self._versions.values() for v in named.values()]
        if any(version.leaves_garbage for version in versions):
            for version in versions:
                version.leaves_garbage = False
            await self._run(gc.collect)

    async def _refresh_model(self, name: str, folder: Path) -> None:
        on_disk = await self._run(find_versions, folder)
        wanted = self.policies.get(name, self.policy).choose(on_disk)
        versions = self._versions[name]
        for number in wanted:
            versions.setdefault(number, Version(number, on_disk[number]))
        for number in wanted:
            await self._load(name, number, on_disk[number])
        if any(versions[number].state == AVAILABLE for number in wanted):
            for version in list(versions.values()):
                if version.state == AVAILABLE and version.number not in wanted:
                    version.let_go()
                    _log.info("%s/%d is no longer served.", name, version.number)
            return
        for number in sorted(on_disk, reverse=True):
            if self.list_available()[name]:
                return
            versions.setdefault(number, Version(number, on_disk[number]))
            await self._load(name, number, on_disk[number])

    async def _load(self, name: str, number: int, path: Path) -> None:
        versions = self._versions[name]
        version = versions[number]
        if version.state == END:
            fingerprint = await self._run(take_fingerprint, path)
            if version.error and version.fingerprint == fingerprint:
                return
            version = versions[number] = Version(number, path)
        elif version.state != START:
            return
        version.state = LOADING
        start = time.perf_counter()
        try:
            version.fingerprint = await self._run(take_fingerprint, path)
            version.servable = await self._run(_load_warm, path, number)
        except asyncio.CancelledError:
            # Whoever asked gives up; the next to look loads it.
            version.state = START
            raise
        except Exception as error:
            version.error_code, version.error = _explain(error)
            version.state = END
            self.on_load(path, "fail", time.perf_counter() - start)
            _log.error("%s/%d can't be loaded: %s", name, number, version.error)
            return
        version.state = AVAILABLE
        self.on_load(path, "success", time.perf_counter() - start)
        _log.info("%s/%d is available.", name, number)

    def _resolve(self, name: str, number: int | None, label: str | None) -> int | None:
        if label is None:
            return number
        labels = self.labels_by_model.get(name, self.labels)
        if name not in self.models or label not in labels:
            raise refuse(f"Unrecognized servable version label: {label}")
        return labels[label]

    async def _run(self, function: Callable, *arguments):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, function, *arguments)


def _load_warm(path: Path, number: int) -> Servable:
    servable = Servable(path, number)
    servable.warm_up()
    return servable


def _explain(error: Exception) -> tuple[str, str]:
    """Return the code and one line."""
    if isinstance(error, tf.errors.OpError):
        error = from_tensorflow(error)
    code = error.code if isinstance(error, ServingError) else grpc.StatusCode.UNKNOWN
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return code.name, lines[0] if lines else repr(error)
