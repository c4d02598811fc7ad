"""Images inside tar and zip archives, read from front to back, never unpacked."""

import gzip
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from keras_mscam.errors import UserError
from keras_mscam.images.xray import MOST_BYTES, ImageError

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
#: Read at a time; tarfile's own 10 KiB make it a third slower.
_BUFFER = 2**20
#: Files of an archive at most; MIMIC-CXR has 377,110 images in all.
_MOST_MEMBERS = 1_000_000
#: Bytes of what a tar says of a member beside its header, as of a long name.
_MOST_SAID = 2**16
_SAYING = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE,
    tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


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
    """List the files of an archive, but folders, links and hidden files.

    A compressed tar has no table of contents, so all of it is read, which also finds
    out whether it was downloaded whole.

    Raises:
        UserError: the archive is incomplete or damaged.
    """
    return [member for member, _ in _walk(archive)]


def read_members(
    archive: Path, positions: Iterable[int]
) -> Iterator[bytes | ImageError]:
    """Give the content of files of an archive, by rising positions, one at a time.

    In place of one that is larger than any image, or that a zip has damaged or
    encrypted, comes an error.

    Raises:
        UserError: the archive is incomplete or damaged, or has no such member.
    """
    wanted = iter(positions)
    position = next(wanted, None)
    for member, read in _walk(archive):
        if member.position == position:
            with _explaining(archive):
                content = read()
            yield content
            position = next(wanted, None)
            if position is None:
                return
    if position is not None:
        raise UserError(f"{archive} has changed: member {position} is no longer there.")


def _walk(archive: Path):
    """Give pairs of a member and a function that reads it, valid until the next."""
    walk = _walk_zip if archive.name.lower().endswith(".zip") else _walk_tar
    if not archive.is_file():
        raise UserError(f"{archive} is no file that can be read; put it back.")
    with _explaining(archive):
        for position, (path, size, read) in enumerate(walk(archive)):
            if position >= _MOST_MEMBERS:
                raise UserError(f"{archive} has more than {_MOST_MEMBERS:,} files.")
            if size > MOST_BYTES:
                read = partial(ImageError, f"is larger than {MOST_BYTES:,} bytes")
            if not PurePosixPath(path).name.startswith("."):
                yield Member(archive, position, path), read


@contextmanager
def _explaining(archive: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # there is no saying what a flipped bit can lead to
        raise UserError(
            f"{archive} is damaged or incomplete ({error}); download it again."
        ) from error


def _walk_tar(archive: Path):
    # tarfile's own reader of compressed streams doesn't compare checksums.
    opener = open if archive.name.lower().endswith(".tar") else gzip.open
    with opener(archive, "rb") as stream:
        with tarfile.open(
            fileobj=stream, mode="r|", bufsize=_BUFFER, tarinfo=_TarInfo
        ) as tar:
            for info in tar:
                if info.isfile():
                    read = partial(_read_member, tar, info)
                    yield info.name, info.size, read
                # It keeps all it has passed, for going back, which a stream can't.
                tar.members.clear()  # ty: ignore[missing-attribute]
        while stream.read(_BUFFER):
            pass  # the checksum comes last


def _read_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    assert file is not None, "which it is of links and folders"
    return file.read()


class _TarInfo(tarfile.TarInfo):
    """Refuses long names and the like that would fill the memory."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        info = super().frombuf(buf, encoding, errors)
        if info.type in _SAYING and info.size > _MOST_SAID:
            raise tarfile.ReadError(f"a name of {info.size:,} bytes")
        return info


def _walk_zip(archive: Path):
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            if not info.is_dir():
                yield info.filename, info.file_size, partial(_read_zipped, zipped, info)


def _read_zipped(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | ImageError:
    """Read a member; what is wrong with it says nothing of the others."""
    try:
        return zipped.read(info)
    except Exception:
        is_encrypted = info.flag_bits & 1
        return ImageError(
            f"is {'encrypted' if is_encrypted else 'damaged'} inside of its archive"
        )
