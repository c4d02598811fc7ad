"""Models on disk and in memory: new versions are loaded, old ones let go."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from keras_mscam.errors import UserError
from keras_mscam.exporting.repository import list_versions
from keras_mscam.serving.errors import not_found, refuse
from keras_mscam.serving.servable import Servable

#: As TF Serving's ModelVersionStatus names them.
START, LOADING, AVAILABLE, UNLOADING, END = (
    "START", "LOADING", "AVAILABLE", "UNLOADING", "END"
)  # fmt: skip

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Version:
    """One version of a model and what became of it.

    Args:
        number: its number.
        path: its folder.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error: why it could not be loaded, or empty.
        servable: while it is loaded.
        in_flight: requests that hold on to it.
        stamp: when its `saved_model.pb` was written; a changed one is tried again.
    """

    number: int
    path: Path
    state: str = START
    error: str = ""
    servable: Servable | None = None
    in_flight: int = 0
    stamp: float = 0.0


@dataclass(frozen=True)
class VersionState:
    """What ModelService says of a version."""

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


@dataclass(frozen=True)
class VersionPolicy:
    """Which versions are served: the newest so many, or those named.

    Args:
        latest: how many of the newest; `None` for all.
        specific: numbers, in place of that.
    """

    latest: int | None = 1
    specific: tuple[int, ...] = ()

    def choose(self, numbers: Iterable[int]) -> list[int]:
        """Return the numbers that are wanted of those on disk, rising."""
        numbers = sorted(numbers)
        if self.specific:
            return [number for number in numbers if number in self.specific]
        return numbers if self.latest is None else numbers[-self.latest :]


@dataclass(eq=False)
class ModelRepository:
    """Watches folders of versions and keeps the wanted ones loaded.

    A new version is loaded and warmed up before an old one is let go, and an old one
    stays until the last request that holds on to it has its answer. One that can't be
    loaded is reported, and what was served before goes on.

    Args:
        models: folder of each model, by its name; see `find_models`.
        executor: of threads, in which versions are loaded.
        policy: which versions are wanted.
        labels: version by label.
        on_load: called with a model's name, a version and the seconds it took.
    """

    models: dict[str, Path]
    executor: Executor
    policy: VersionPolicy = VersionPolicy()
    labels: dict[str, int] = field(default_factory=dict)
    on_load: Callable[[str, int, float], None] = lambda name, number, seconds: None

    def __post_init__(self):
        self._versions: dict[str, dict[int, Version]] = {n: {} for n in self.models}

    def find(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> Version:
        """Return an available version: by number, by label, or the newest.

        Raises:
            ServingError: there is none.
        """
        if label is not None:
            if label not in self.labels:
                raise refuse(f"Unrecognized servable version label: {label}")
            number = self.labels[label]
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
        """Return the states of all versions, the newest first, or of one.

        Raises:
            ServingError: there is none.
        """
        if label is not None:
            number = self.find(name, label=label).number
        versions = self._versions.get(name, {})
        if number is not None:
            if number not in versions:
                raise not_found(f"Could not find version {number} of model {name}")
            return [_describe(versions[number])]
        if not versions:
            raise not_found(f"Could not find any versions of model {name}")
        return [
            _describe(versions[number]) for number in sorted(versions, reverse=True)
        ]

    def list_available(self) -> dict[str, list[int]]:
        """Return the versions that are served, by model."""
        return {
            name: sorted(v.number for v in versions.values() if v.state == AVAILABLE)
            for name, versions in self._versions.items()
        }

    def explain(self) -> str:
        """Say which versions could not be loaded, and why."""
        return "; ".join(
            f"{name}/{version.number}: {version.error}"
            for name, versions in self._versions.items()
            for version in versions.values()
            if version.error
        )

    async def watch(self, interval: float) -> None:
        """Look for changes again and again, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            try:
                await self.refresh()
            except Exception:  # one bad moment must not end the watching
                _log.exception("Looking for new versions failed.")

    async def refresh(self) -> None:
        """Load what is wanted and missing, then let go what is no longer wanted."""
        for name, folder in self.models.items():
            on_disk = _find_complete(folder)
            wanted = self.policy.choose(on_disk)
            for number in wanted:
                await self._load(name, number, folder / str(number), on_disk[number])
            loaded = self._versions[name]
            if any(loaded[number].state == AVAILABLE for number in wanted):
                for version in list(loaded.values()):
                    if version.number not in wanted and version.state == AVAILABLE:
                        await self._unload(version)

    async def _load(self, name: str, number: int, path: Path, stamp: float) -> None:
        version = self._versions[name].get(number)
        if version is not None:
            is_there = version.state in (AVAILABLE, LOADING, UNLOADING)
            if is_there or (version.error and version.stamp == stamp):
                return
        version = Version(number, path, LOADING, stamp=stamp)
        self._versions[name][number] = version
        loop = asyncio.get_running_loop()
        start = time.perf_counter()
        try:
            version.servable = await loop.run_in_executor(
                self.executor, _load_warm, path, number
            )
        except Exception as error:
            version.state = END
            version.error = (str(error).splitlines() or [repr(error)])[0]
            _log.error("%s/%d can't be loaded: %s", name, number, version.error)
            return
        version.state = AVAILABLE
        self.on_load(name, number, time.perf_counter() - start)
        _log.info("%s/%d is available.", name, number)

    async def _unload(self, version: Version) -> None:
        version.state = UNLOADING
        while version.in_flight:
            await asyncio.sleep(0.01)
        version.servable = None
        version.state = END


def find_models(path: Path) -> dict[str, Path]:
    """Return the folder of each model, by its name.

    Args:
        path: a repository, or the folder of one model.

    Raises:
        UserError: there is no model.
    """
    path = Path(path)
    if list_versions(path):
        return {path.resolve().name: path}
    children = sorted(path.iterdir()) if path.is_dir() else []
    models = {child.name: child for child in children if list_versions(child)}
    if not models:
        raise UserError(
            f"{path} holds no model; keras_mscam-export RUN --output {path} makes one."
        )
    return models


def _find_complete(folder: Path) -> dict[int, float]:
    """Return the versions that have a `saved_model.pb`, and when it was written."""
    found = {}
    for number in list_versions(folder):
        try:
            found[number] = (folder / str(number) / "saved_model.pb").stat().st_mtime
        except OSError:
            continue
    return found


def _load_warm(path: Path, number: int) -> Servable:
    servable = Servable(path, number)
    servable.warm_up()
    return servable


def _describe(version: Version) -> VersionState:
    if version.error:
        return VersionState(version.number, version.state, "UNKNOWN", version.error)
    return VersionState(version.number, version.state)
