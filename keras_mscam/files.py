"""Files that are either whole or not there."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
