"""A model repository: a folder a model, in it a numbered folder a version."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_mscam.errors import UserError


@contextmanager
def new_version(repository: Path, name: str) -> Iterator[Path]:
    """Give a temporary folder, which becomes the next version when the block succeeds.

    Servers watch the repository, but pass over names that are no number.

    Args:
        repository: folder of models; made if it is missing.
        name: of the model.

    Yields:
        An empty folder on the same file system, named after the version that it is to
        become, with a dot in front.

    Raises:
        UserError: the place can't be written into.
    """
    model = Path(repository) / name
    try:
        model.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write into {model}: {error.strerror}.") from error
    temporary = model / f".{next_version(model)}"
    shutil.rmtree(temporary, ignore_errors=True)  # of an export that was killed
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(model / str(next_version(model)))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if not any(model.iterdir()):
            model.rmdir()


def list_versions(model: Path) -> list[int]:
    """Return the versions in the folder of a model, rising."""
    if not Path(model).is_dir():
        return []
    names = [path.name for path in Path(model).iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


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
    versions = list_versions(path)
    if versions:
        return path / str(versions[-1])
    models = [child for child in _children(path) if list_versions(child)]
    if len(models) == 1:
        return models[0] / str(list_versions(models[0])[-1])
    if models:
        names = ", ".join(sorted(model.name for model in models))
        raise UserError(f"{path} holds several models ({names}): name one of them.")
    raise UserError(
        f"{path} holds no exported model; keras_mscam-export RUN --output {path} makes "
        "one."
    )


def _children(path: Path) -> list[Path]:
    return (
        [child for child in path.iterdir() if child.is_dir()] if path.is_dir() else []
    )
