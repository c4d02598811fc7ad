"""A model repository: a folder a model, in it a numbered folder a version.

`NAME/1` is a SavedModel. Other formats of the same version are in folders of their own,
`NAME-litert/1` and so on, which no server takes for a model: it is told names.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from keras_mscam.errors import UserError
from keras_mscam.files import compute_checksum

#: Besides the SavedModel, in folders that end with their name.
OTHER_FORMATS = ("litert", "onnx", "openvino", "tfjs")


def list_versions(model: Path) -> list[int]:
    """Return the versions in the folder of a model, rising."""
    return sorted(int(path.name) for path in _children(Path(model)) if _is_number(path))


def next_version(model: Path) -> int:
    """Return the number of the version to come: 1, or one more than the highest."""
    return max(list_versions(model), default=0) + 1


def find_export(path: Path) -> Path:
    """Return the folder that holds `saved_model.pb`.

    Args:
        path: that folder; or a model's, of which the newest version is taken; or a
            repository with one model.

    Raises:
        UserError: there is none, or the repository has several models.
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return path
    if not list_versions(path):
        path = _find_model(path)
    versions = list_versions(path)
    if not versions or _split(path.absolute().name)[1]:
        raise _none(path)
    return path / str(versions[-1])


def find_formats(path: Path) -> dict[str, Path]:
    """Return the folders of the newest version, by format.

    Args:
        path: a version's folder; or a model's; or a repository with one model.

    Returns:
        `"saved_model"` and names of `OTHER_FORMATS`. Formats that the newest version
        lacks are not there: an older one could be another network.

    Raises:
        UserError: there is none, or the repository has several models.
    """
    path = Path(path)
    if _is_version(path):
        return {_split(path.absolute().parent.name)[1] or "saved_model": path}
    if not list_versions(path):
        path = _find_model(path)
    kind = _split(path.absolute().name)[1]
    folders = {kind: path} if kind else {"saved_model": path, **_folders(path)}
    newest = max(max(list_versions(folder), default=0) for folder in folders.values())
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
        raise _several(repository, names)
    if not names:
        raise _none(repository)
    return repository / names.pop()


def next_common_version(repository: Path, name: str) -> int:
    """Return the number of the version to come, of all formats of a model."""
    model = Path(repository) / name
    return max(map(next_version, (model, *_folders(model).values())))


def _folders(model: Path) -> dict[str, Path]:
    """Return the folders of a model's other formats, which may not be there."""
    return {kind: model.with_name(f"{model.name}-{kind}") for kind in OTHER_FORMATS}


def _is_version(path: Path) -> bool:
    """Whether this is a version, not a repository that happens to be named so."""
    return _is_number(path.absolute()) and not any(map(list_versions, _children(path)))


def _is_number(path: Path) -> bool:
    return path.name.isascii() and path.name.isdigit()


def _split(name: str) -> tuple[str, str | None]:
    """Return the name of a model, and the format if the folder is of another one."""
    for kind in OTHER_FORMATS:
        if name.endswith(f"-{kind}"):
            return name.removesuffix(f"-{kind}"), kind
    return name, None


def _several(path: Path, names: set[str]) -> UserError:
    return UserError(
        f"{path} holds several models ({', '.join(sorted(names))}): name one of them."
    )


def _none(path: Path) -> UserError:
    return UserError(
        f"{path} holds no exported model; keras_mscam-export RUN --output {path} makes "
        "one."
    )


def _children(path: Path) -> list[Path]:
    return (
        [child for child in path.iterdir() if child.is_dir()] if path.is_dir() else []
    )


_NAME = "manifest.json"


def find_manifest(export: Path) -> Path:
    """Return the path of the manifest; a SavedModel keeps it among its assets."""
    extra = Path(export) / "assets.extra"
    return (extra if extra.is_dir() else Path(export)) / _NAME


def verify_files(export: Path, files: Iterable[Path]) -> None:
    """Compare files with the checksums that they were exported with.

    A network with a flipped bit still runs, and what it says may be anything. Files
    without a manifest, or that it doesn't know, are let pass: they may be a person's
    own, taken elsewhere with nothing but the contract.

    Args:
        export: the folder of a version.
        files: in it.

    Raises:
        UserError: one has changed, or the manifest can't be read.
    """
    path = find_manifest(export)
    if not path.is_file():
        return
    try:
        checksums = dict(json.loads(path.read_text())["checksums"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); export the run again."
        ) from error
    for file in files:
        known = checksums.get(str(file.relative_to(export)))
        if known not in (None, compute_checksum(file)):
            raise UserError(
                f"{file} has changed since it was exported; copy it anew, or export "
                "the run again."
            )


def list_variant_files(path: Path) -> list[Path]:
    """Return the files of a variant, of which one is given."""
    if path.name == "model.json":
        return sorted(path.parent.iterdir())
    return sorted(path.parent.glob(f"{path.stem}.*"))
