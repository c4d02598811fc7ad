"""A model repository on disk: DIR/NAME/VERSION/saved_model.pb."""

import os
from pathlib import Path

from keras_mscam.errors import UserError

_MOST = 1 << 63


def find_models(path: Path) -> dict[str, Path]:
    """Return the folder of each model, by its name.

    Args:
        path: a repository, or the folder of one model.

    Raises:
        UserError: there is no model.
    """
    path = Path(path)
    try:
        if find_versions(path):
            return {path.resolve().name: path}
        children = sorted(path.iterdir())
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    models = {child.name: child for child in children if _has_versions(child)}
    if not models and (path / "saved_model.pb").is_file():
        raise UserError(f"{path} is one version; give the folder of versions above it.")
    if not models:
        raise UserError(
            f"{path} holds no model: no NAME/VERSION/saved_model.pb is in it; "
            f"keras_mscam-export RUN --output {path} makes one."
        )
    return models


def find_versions(folder: Path) -> dict[int, Path]:
    """Return the folder of each version of a model, by its number.

    As for TF Serving, 00000123 is version 123 as well. Other names are passed over, and
    folders without a `saved_model.pb`: one that is being written.
    """
    found: dict[int, Path] = {}
    for path in sorted(Path(folder).iterdir()):
        name = path.name
        if not (name.isascii() and name.isdigit()) or int(name[:20]) >= _MOST:
            continue
        if (path / "saved_model.pb").is_file():
            found[int(name)] = path
    return found


def take_fingerprint(folder: Path) -> frozenset:
    """Return what changes when any file below a folder is written, added or removed."""
    entries = []
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                stat = os.stat(os.path.join(root, name))
            except OSError:  # gone meanwhile
                continue
            entries.append((root, name, stat.st_size, stat.st_mtime_ns))
    return frozenset(entries)


def _has_versions(path: Path) -> bool:
    try:
        return path.is_dir() and bool(find_versions(path))
    except OSError:
        return False
