"""What is in an export, of what it was made, and how well it met the Keras model."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_mscam.errors import UserError
from keras_mscam.files import compute_checksum
from keras_mscam.inference.export_folder import find_manifest

FORMAT = "keras_mscam export 1"


def write_manifest(export: Path, model: str, environment: dict, measured: dict) -> None:
    """Write `manifest.json` into an export, when all other files are there.

    Args:
        export: the folder of a version.
        model: SHA-256 of the Keras model that it was made of.
        environment: versions, platform and commit.
        measured: further entries, on how well it met the Keras model.
    """
    content = {
        "format": FORMAT,
        "model": model,
        "environment": environment,
        **measured,
        "checksums": {
            str(path.relative_to(export)): compute_checksum(path)
            for path in sorted(export.rglob("*"))
            if path.is_file() and path != find_manifest(export)
        },
    }
    text = json.dumps(content, indent=1, allow_nan=False)
    find_manifest(export).write_text(text + "\n")


@contextmanager
def new_version(repository: Path, name: str, version: int) -> Iterator[Path]:
    """Give a temporary folder, which becomes a version when the block succeeds.

    Servers watch the repository, but pass over names that are no number.

    Args:
        repository: folder of models; made if it is missing.
        name: of the model, or of the folder of another format.
        version: its number, see `next_common_version`.

    Yields:
        An empty folder on the same file system, named after the version that it is to
        become, with a dot in front.

    Raises:
        UserError: the place can't be written into, another export is writing there, or
            the version is there already.
    """
    model = Path(repository) / name
    with _lock(model):
        final, temporary = model / str(version), model / f".{version}"
        if final.exists():
            raise UserError(f"{final} is there already; export the run once more.")
        shutil.rmtree(temporary, ignore_errors=True)  # of an export that was killed
        temporary.mkdir()
        try:
            yield temporary
            temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if not any(model.iterdir()):
                model.rmdir()


@contextmanager
def _lock(model: Path) -> Iterator[None]:
    """Make a folder, and hold a lock that the system takes back from a killed process.

    Without, two exports at once would write into the same temporary folder.
    """
    try:
        model.mkdir(parents=True, exist_ok=True)
        handle = os.open(model, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"Cannot write into {model}: {error.strerror}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UserError(
            f"Another export is writing into {model}; wait for it or stop it."
        ) from error
    except OSError:
        pass  # folders of some network file systems can't be locked
    try:
        yield
    finally:
        os.close(handle)
