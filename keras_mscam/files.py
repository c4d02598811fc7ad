"""Files: read within bounds, named safely, and written whole or not at all."""

import errno
import fcntl
import hashlib
import io
import itertools
import json
import math
import os
import re
import shutil
import stat
import unicodedata
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, cast

from keras_mscam.errors import UserError, explain_disk

#: Bytes of a JSON file at most: settings, manifests, contracts.
_MOST_JSON = 2**26


def read_file(path: str | os.PathLike, most_bytes: int) -> bytes:
    """Read a file that anybody may have made, of so many bytes at most.

    A device may never end, and a file that is larger than any of its kind would fill
    the memory. A pipe that nobody writes into is empty, and nothing to wait for.

    Raises:
        OSError: it can't be read.
        ValueError: it is a device, or larger, or its path has a zero byte.
    """
    with _open(path) as file:
        is_larger = os.fstat(file.fileno()).st_size > most_bytes  # without reading it
        data = b"" if is_larger else file.read(most_bytes + 1)
    if is_larger or len(data) > most_bytes:
        raise ValueError(f"it is larger than {most_bytes:,} bytes")
    return data


def stamp(path: str | os.PathLike) -> tuple[int, int] | None:
    """Return size and time of change, in ns, of a regular file, `None` for others.

    A file with the same stamp is taken to be the same file.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return None
    is_file = stat.S_ISREG(status.st_mode)
    return (status.st_size, status.st_mtime_ns) if is_file else None


def _open(path: str | os.PathLike) -> BinaryIO:
    """Open a file without waiting, if it is a pipe, for somebody to write into it."""

    def open_at_once(name, flags):
        return os.open(name, flags | os.O_NONBLOCK)

    file = open(path, "rb", opener=open_at_once)  # noqa: SIM115 (is returned)
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        file.close()
        raise ValueError("it is a device, and no file")
    os.set_blocking(file.fileno(), True)
    return file


def read_json(path: Path) -> Any:
    """Read a JSON file, in which every name stands for one thing.

    Raises:
        OSError: it can't be read.
        ValueError: as `read_file`; or it is no JSON in UTF-8, is nested too deeply,
            says a name twice, or has a number that isn't finite.
    """
    text = read_file(path, _MOST_JSON).decode("utf-8-sig")
    try:
        return json.loads(
            text,
            object_pairs_hook=_pair_once,
            parse_float=_parse_finite,
            parse_constant=_parse_finite,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_archive(path: Path, most_bytes: int | None = None) -> None:
    """Refuse a zip, `.npz` or `.keras`, that would fill the memory when it is unpacked.

    It may have so many bytes in all; by default those of the file itself, which what is
    stored uncompressed can't exceed.

    Raises:
        ValueError: it is larger, or no zip.
        OSError: it can't be read.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file")
    with zipfile.ZipFile(path) as archive:
        size = sum(part.file_size for part in archive.infolist())
    most_bytes = path.stat().st_size if most_bytes is None else most_bytes
    if size > most_bytes:
        raise ValueError(f"{path} is larger than {most_bytes:,} bytes when unpacked")


def _pair_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has {twice!r} twice")
    return found


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has the number {text[:40]}, which isn't finite")
    return number


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, renamed to it when the block succeeds.

    Args:
        path: the file to write. Its folder is made; a file of its name is replaced.

    Yields:
        The temporary path, with the suffix of `path`, on the same file system.

    Raises:
        DiskError: it can't be written.

    Example:
        >>> with write_whole(Path("beta.csv")) as temporary:
        ...     temporary.write_text("pathology,beta\\n", encoding="utf-8")
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    with explain_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, whole or not at all; numbers must be finite."""
    text = json.dumps(content, indent=1, allow_nan=False)
    with write_whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


@contextmanager
def passing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder, which is gone afterwards, unless the block has renamed it.

    So a disk that is full has room again.
    """
    shutil.rmtree(path, ignore_errors=True)  # of a process that was killed
    try:
        path.mkdir(parents=True)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def write_whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`, renamed to it when the block succeeds.

    Raises:
        UserError: see `check_can_be_made`.
        DiskError: it can't be written.
    """
    place = check_can_be_made(Path(path))
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    with explain_disk(path), passing_folder(temporary):
        yield temporary
        temporary.replace(place)


@contextmanager
def write_together(folder: Path) -> Iterator[Path]:
    """Give an empty folder, whose files go into `folder` when the block succeeds.

    So there are never some of this time beside others of the time before. The folder is
    made if it is missing; files of the same names are replaced. Where one can't be
    written, which is a `DiskError`, none is.
    """
    folder = Path(folder)
    with explain_disk(folder), passing_folder(folder / f".{os.getpid()}") as temporary:
        yield temporary
        paths = sorted(temporary.iterdir())
        for path in paths:
            if (folder / path.name).is_dir():
                code = errno.EISDIR
                raise IsADirectoryError(code, os.strerror(code), folder / path.name)
        for path in paths:
            path.replace(folder / path.name)


#: Bytes of a name, of the 255 that a file's name may have: letters other than Latin
#: take two or three, and two names and the mark of a half-written file go together.
_LONGEST = 100


class Names:
    """Names that files can have, each for one thing.

    What is no letter, no digit and none of a few signs that are safe in any file name
    becomes `_`; of several things of one name, in upper or lower case, the second gets
    `-2`. So that a name stays with its thing when others come later, those that are
    taken are told first.

    Example:
        >>> names = Names()
        >>> names.find("Nodule/Mass"), names.find("nodule mass")
        ('Nodule_Mass', 'nodule_mass-2')
    """

    def __init__(self, taken: Iterable[str] = ()):
        # Some file systems don't tell upper from lower case.
        self._taken = {name.casefold() for name in taken}
        self._numbers: dict[str, Iterator[int]] = {}

    def find(self, text: str) -> str:
        """Return a name for something, which is taken from then on."""
        # With accents as parts of their letters: some file systems make no difference.
        letters = unicodedata.normalize("NFC", text)
        safe = "".join(c if _is_safe(c) else "\0" for c in letters)
        stem = re.sub("\0+", "_", safe).encode()[:_LONGEST]
        stem = stem.decode(errors="ignore").strip("._") or "image"
        numbers = self._numbers.setdefault(stem.casefold(), itertools.count(1))
        names = (stem if n == 1 else f"{stem}-{n}" for n in numbers)
        name = next(name for name in names if name.casefold() not in self._taken)
        self._taken.add(name.casefold())
        return name


def _is_safe(character: str) -> bool:
    # A mark is the vowel of a letter in some scripts.
    is_mark = unicodedata.category(character).startswith("M")
    return character.isalnum() or character in "_.-" or is_mark


def name_files(pathologies: Iterable[str]) -> dict[str, str]:
    """Return by pathology what names of its files have; no dots, so it can be parted.

    Example:
        >>> name_files(["Mass", "T1/T2", "T1.T2"])
        {'Mass': 'Mass', 'T1/T2': 'T1_T2', 'T1.T2': 'T1_T2-2'}
    """
    names = Names()
    return {name: names.find(name.replace(".", "_")) for name in pathologies}


def walk_once(
    tops: Iterable[str | os.PathLike],
    on_error: Callable[[OSError], object] | None = None,
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk as `os.walk` does, through links too, which may lead round in circles.

    A folder that several links lead to is entered once.
    """
    entered = set()
    for top in tops:
        for place, folders, names in os.walk(
            os.fspath(top), onerror=on_error, followlinks=True
        ):
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in entered:
                folders.clear()
                continue
            entered.add((status.st_dev, status.st_ino))
            yield place, folders, names


def compute_checksum(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits.

    `OSError` where it can't be read, `ValueError` where it is a device.
    """
    with _open(path) as file:
        return hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest()


def check_is_free(output: Path, advice: str = "choose another") -> None:
    """Refuse, with a `UserError`, a file, or a folder that holds something already."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} already exists and isn't empty; {advice}.")


def check_can_be_made(output: Path) -> Path:
    """Return where a folder can be renamed to `output`: of a link, where it leads.

    An empty folder may be there, but for the current one and the root of a mounted
    disk, which can't be replaced.

    Raises:
        UserError: there is anything else.
    """
    check_is_free(output)
    place = output.resolve()
    if place.is_mount() or place == Path.cwd():
        raise UserError(f"{place} can't be made anew; give a folder inside it.")
    return place


@contextmanager
def hold_lock(path: Path, work: str) -> Iterator[None]:
    """Hold a lock on a file, which the system takes back from a killed process.

    `work` is what another process that holds it is doing, for the `UserError`. On disks
    that have no locks, as some that hosts share, nothing is held.
    """
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another process is {work}; wait for it or stop it."
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            warnings.warn(
                f"{path.parent} is on a disk without locks: see to it that no other "
                f"process is {work}.",
                stacklevel=3,
            )
        yield


def find_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return versions by the name of the package, without those not installed.

    This package itself isn't, in a source checkout, and OpenCV may be under another
    name.
    """
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
