"""A model repository: a folder per model, in it a numbered folder per version.

`NAME/1` is a SavedModel. Other formats of the same version are in folders of their own,
`NAME-litert/1` and so on, which no server takes for a model: it is told names.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from keras_mscam.errors import UserError, explain_disk
from keras_mscam.files import compute_checksum, passing_folder, read_json

#: Besides the SavedModel, in folders that end with their name.
OTHER_FORMATS = ("litert", "onnx", "openvino", "tfjs")
_MANIFEST = "manifest.json"


def list_versions(model: Path) -> list[int]:
    """Return the versions in the folder of a model, rising."""
    return sorted(int(path.name) for path in _children(Path(model)) if _is_number(path))


def find_formats(path: Path) -> dict[str, Path]:
    """Return the folders of the newest version, by `"saved_model"` and `OTHER_FORMATS`.

    The path is a version's folder; or a model's; or a repository with one model.
    Formats that the newest version lacks are not there: an older one could be another
    network.

    Raises:
        UserError: there is none, or the repository has several models.
    """
    path = Path(path)
    is_repository = any(map(list_versions, _children(path)))  # named by a number
    if _is_number(path.absolute()) and not is_repository:
        return {_split(path.absolute().parent.name)[1] or "saved_model": path}
    if not list_versions(path):
        path = _find_model(path)
    kind = _split(path.absolute().name)[1]
    folders = {kind: path} if kind else {"saved_model": path, **_folders(path)}
    newest = _find_newest(folders.values())
    return {
        kind: folder / str(newest)
        for kind, folder in folders.items()
        if newest in list_versions(folder)
    }


def _find_model(repository: Path) -> Path:
    """Return the only model of a repository; it may be there in other formats alone."""
    children = [child for child in _children(repository) if list_versions(child)]
    names = {_split(child.name)[0] for child in children}
    if len(names) > 1:
        raise UserError(
            f"{repository} holds several models ({', '.join(sorted(names))}): name one "
            "of them."
        )
    if not names:
        raise UserError(
            f"{repository} holds no exported model; keras_mscam-export RUN --output "
            f"{repository} makes one."
        )
    return repository / names.pop()


def next_common_version(repository: Path, name: str) -> int:
    """Return the number of the version to come, of all formats of a model."""
    model = Path(repository) / name
    return 1 + _find_newest([model, *_folders(model).values()])


def _find_newest(folders: Iterable[Path]) -> int:
    return max(max(list_versions(folder), default=0) for folder in folders)


def _folders(model: Path) -> dict[str, Path]:
    """Return the folders of a model's other formats, which may not be there."""
    return {kind: model.with_name(f"{model.name}-{kind}") for kind in OTHER_FORMATS}


def _is_number(path: Path) -> bool:
    return path.name.isascii() and path.name.isdigit()


def _split(name: str) -> tuple[str, str | None]:
    """Return the name of a model, and the format if the folder is of another one."""
    for kind in OTHER_FORMATS:
        if name.endswith(f"-{kind}"):
            return name.removesuffix(f"-{kind}"), kind
    return name, None


def _children(path: Path) -> list[Path]:
    return (
        [child for child in path.iterdir() if child.is_dir()] if path.is_dir() else []
    )


@contextmanager
def new_version(repository: Path, name: str, version: int) -> Iterator[Path]:
    """Give an empty folder, which becomes a version when the block succeeds.

    Its name has a dot in front, which servers that watch the repository pass over.
    `name` is that of the model, or of the folder of another format.

    Raises:
        UserError: another export is writing there, or the version is there already.
        DiskError: it can't be written.
    """
    model = Path(repository) / name
    with explain_disk(model / str(version)), _lock(model):
        final, temporary = model / str(version), model / f".{version}"
        if final.exists():
            raise UserError(f"{final} is there already; export the run once more.")
        try:
            with passing_folder(temporary):
                yield temporary
                temporary.rename(final)
        finally:
            if not any(model.iterdir()):
                model.rmdir()


@contextmanager
def _lock(model: Path) -> Iterator[None]:
    """Make a folder, and keep other exports from its temporary folders.

    The system takes the lock back from a killed process.
    """
    model.mkdir(parents=True, exist_ok=True)
    handle = os.open(model, os.O_RDONLY)
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


def find_manifest(export: Path) -> Path:
    """Return the path of the manifest; a SavedModel keeps it among its assets."""
    extra = Path(export) / "assets.extra"
    return (extra if extra.is_dir() else Path(export)) / _MANIFEST


def write_manifest(export: Path, model: str, environment: dict, measured: dict) -> None:
    """Write `manifest.json` into a version's folder, when all other files are there.

    It has the SHA-256 of the Keras model, and `measured`: how well it was met.
    """
    content = {
        "format": "keras_mscam export 1",
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
    find_manifest(export).write_text(text + "\n", encoding="utf-8")


def verify_files(export: Path, *patterns: str) -> None:
    """Compare files with the checksums that they were exported with.

    `patterns` are of the files' names, as `Path.match` reads them. A file that has
    changed or is gone is a `UserError`: a network with a flipped bit still runs, and
    what it says may be anything. Files without a manifest, or that it doesn't know, are
    let pass: they may be a person's own, taken elsewhere with nothing but the contract.
    """
    path = find_manifest(export)
    if not os.path.lexists(path):
        return
    try:
        checksums = read_json(path)["checksums"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); export the run again."
        ) from error
    for name, known in checksums:
        if not any(map(PurePath(name).match, patterns)):
            continue
        try:
            has_changed = known != compute_checksum(export / name)
        except (OSError, ValueError):
            has_changed = True
        if has_changed:
            raise UserError(
                f"{export / name} has changed since it was exported, or is gone; copy "
                "it anew, or export the run again."
            )


def list_variant_files(path: Path) -> list[Path]:
    """Return the files of a variant, of which one is given."""
    if path.name == "model.json":
        return sorted(path.parent.iterdir())
    return sorted(path.parent.glob(f"{path.stem}.*"))
