"""A version of a model: what is wanted, and what became of it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from keras_mscam.serving.batching import Batcher
from keras_mscam.serving.servable import Servable

#: As TF Serving's ModelVersionStatus names them.
START, LOADING, AVAILABLE, UNLOADING, END = (
    "START", "LOADING", "AVAILABLE", "UNLOADING", "END"
)  # fmt: skip


@dataclass(frozen=True)
class VersionState:
    """What ModelService says of a version.

    Args:
        version: its number.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error_code: name of a gRPC status.
        error_message: why it could not be loaded, or empty.
    """

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
        """Return the numbers that are wanted of those on disk, newest first."""
        numbers = sorted(numbers, reverse=True)
        if self.specific:
            return [number for number in numbers if number in self.specific]
        return numbers[: self.latest]


@dataclass(eq=False)
class Version:
    """One version of a model.

    Args:
        number: its number.
        path: its folder.
        state: see `VersionState`.
        error_code: see `VersionState`.
        error: why it could not be loaded, or empty.
        fingerprint: of its files when they were read; changed ones are tried again.
        servable: while it is loaded.
        batchers: of its signatures, made as they are called.
        in_flight: requests that hold on to it.
        leaves_garbage: whether its graph, which refers to itself, is still in memory.
    """

    number: int
    path: Path
    state: str = START
    error_code: str = "OK"
    error: str = ""
    fingerprint: frozenset = frozenset()
    servable: Servable | None = None
    batchers: dict[str, Batcher] = field(default_factory=dict)
    in_flight: int = 0
    leaves_garbage: bool = False

    def describe(self) -> VersionState:
        """Return what ModelService says."""
        return VersionState(self.number, self.state, self.error_code, self.error)

    @contextmanager
    def hold(self) -> Iterator[Servable]:
        """Keep it loaded for the time of a request."""
        self.in_flight += 1
        try:
            yield self.servable
        finally:
            self.in_flight -= 1
            self._end_if_idle()

    def let_go(self) -> None:
        """Take no more requests; free its memory when the last one has its answer."""
        self.state = UNLOADING
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self.state == UNLOADING and not self.in_flight:
            self.batchers.clear()
            self.servable.close()
            self.servable = None
            self.leaves_garbage = True
            self.state = END
