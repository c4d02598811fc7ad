"""Images inside tar and zip archives, read from front to back, never unpacked."""

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from keras_mscam.errors import UserError

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError)
#: Read at a time; tarfile's own 10 KiB make it a third slower.
_BUFFER = 2**20


@dataclass(frozen=True, order=True)
class Member:
    """A file inside an archive: its place there, from 0, and its path there."""

    archive: Path
    position: int
    path: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix


def find_archives(directory: Path) -> list[Path]:
    """Return the archives in a folder, by name."""
    return sorted(
        path
        for path in Path(directory).iterdir()
        if path.name.lower().endswith(ARCHIVE_SUFFIXES) and path.is_file()
    )


def list_members(archive: Path) -> list[Member]:
    """List the files of an archive.

    A compressed tar has no table of contents, so all of it is read, which also finds
    out whether it was downloaded whole. Folders, links and hidden files are passed
    over.

    Raises:
        UserError: the archive is incomplete or damaged.
    """
    return [member for member, _ in _walk(archive)]


def read_members(archive: Path, positions: Iterable[int]) -> Iterator[bytes]:
    """Give the content of some files of an archive, one at a time in memory.

    Args:
        archive: the archive.
        positions: those of the members, rising.

    Raises:
        UserError: the archive is incomplete or damaged, or has no such member.
    """
    wanted = iter(positions)
    position = next(wanted, None)
    for member, read in _walk(archive):
        if member.position == position:
            yield read()
            position = next(wanted, None)
            if position is None:
                return
    if position is not None:
        raise UserError(f"{archive} has changed: member {position} is no longer there.")


def _walk(archive: Path):
    """Give pairs of a member and a function that reads it, valid until the next."""
    walk = _walk_zip if archive.name.lower().endswith(".zip") else _walk_tar
    try:
        for position, (path, read) in enumerate(walk(archive)):
            if not PurePosixPath(path).name.startswith("."):
                yield Member(archive, position, path), read
    except _DAMAGED as error:
        raise UserError(
            f"{archive} is damaged or incomplete ({error}); download it again."
        ) from error


def _walk_tar(archive: Path):
    # tarfile's own reader of compressed streams doesn't compare checksums.
    opener = open if archive.name.lower().endswith(".tar") else gzip.open
    with opener(archive, "rb") as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER) as tar:
            for info in tar:
                if info.isfile():
                    yield info.name, lambda info=info: _read_tar(tar, info)
                # It keeps all it has passed, for going back, which a stream can't.
                tar.members.clear()  # ty: ignore[missing-attribute]
        while stream.read(_BUFFER):
            pass  # the checksum comes last


def _read_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    assert file is not None, "which it is of links and folders"
    return file.read()


def _walk_zip(archive: Path):
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            if not info.is_dir():
                yield info.filename, lambda info=info: zipped.read(info)
