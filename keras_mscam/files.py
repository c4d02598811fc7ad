"""Files that are either whole or not there."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from keras_mscam.errors import UserError


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, renamed to it when the block succeeds.

    Args:
        path: the file to write. Its folder is made; a file of its name is replaced.

    Yields:
        The temporary path, with the suffix of `path`, on the same file system.

    Example:
        >>> with write_whole(Path("beta.csv")) as temporary:
        ...     temporary.write_text("pathology,beta\\n")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def compute_checksum(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_PLAN = "plan.json"
_RESULT = "result"


@contextmanager
def unfinished_folder(output: Path, plan: dict) -> Iterator[tuple[Path, Path]]:
    """Give a place for work that may be broken off and gone on with.

    The place is the hidden folder `.NAME.unfinished` beside `output`. It outlives
    errors, Ctrl-C and `kill -9`; who comes with the same plan finds in it what was
    done. When the block succeeds, the result is renamed to `output` and the rest goes.

    Args:
        output: the folder to make; it may be there if it is empty.
        plan: what the work depends on, as JSON; other work must not go on with it.

    Yields:
        A folder for intermediate files, and an empty one for the result.

    Raises:
        UserError: `output` isn't empty, the place holds other work or is in use, or
            something can't be written.
    """
    output = Path(output)
    check_is_free(output)
    place = output.absolute().with_name(f".{output.absolute().name}.unfinished")
    result = place / _RESULT
    try:
        place.mkdir(parents=True, exist_ok=True)
        with hold_lock(place / "lock", f"at work in {place}"):
            _check_plan(place, plan)
            shutil.rmtree(result, ignore_errors=True)
            result.mkdir()
            yield place, result
            result.replace(output)
            shutil.rmtree(place)
    except OSError as error:
        raise UserError(f"{output} can't be written: {error}") from error


def check_is_free(output: Path) -> None:
    """Refuse a folder that holds something already.

    Raises:
        UserError: it does, or it is a file.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} already exists and isn't empty; choose another.")


@contextmanager
def hold_lock(path: Path, work: str) -> Iterator[None]:
    """Hold a lock that the system takes back from a killed process.

    Args:
        path: the file that is locked; made if it is missing.
        work: what another process that holds it is doing, for the error.

    Raises:
        UserError: another process holds it.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another process is {work}; wait for it or stop it."
            ) from error
        yield


def _check_plan(place: Path, plan: dict) -> None:
    path = place / _PLAN
    if path.exists() and path.read_text() != json.dumps(plan):
        raise UserError(
            f"{place} holds an unfinished preparation of other data, or with other "
            "options. Go on with the same ones, or remove that folder to start anew."
        )
    path.write_text(json.dumps(plan))


def find_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return versions by the name of the package, without those not installed.

    This package itself isn't, in a source checkout, and OpenCV may be under another
    name.

    Example:
        >>> find_versions(["numpy", "no such package"])
        {'numpy': '2.3.5'}
    """
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
