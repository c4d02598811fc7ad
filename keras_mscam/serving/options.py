"""What the options of `keras_mscam-serve` say about versions, labels and the token."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from keras_mscam.errors import UserError
from keras_mscam.serving.versions import VersionPolicy

TOKEN_VARIABLE = "KERAS_MSCAM_TOKEN"


def parse_versions(words: Sequence[str]) -> VersionPolicy:
    """Return the policy of `latest [N]`, `all` or `specific N [N ...]`.

    Raises:
        UserError: it is none of them.
    """
    kind, *rest = words or ("",)
    if all(word.isascii() and word.isdigit() for word in rest):
        numbers = tuple(map(int, rest))
        if kind == "latest" and len(numbers) < 2 and all(numbers):
            return VersionPolicy(latest=numbers[0] if numbers else 1)
        if kind == "all" and not numbers:
            return VersionPolicy(latest=None)
        if kind == "specific" and numbers:
            return VersionPolicy(specific=numbers)
    raise UserError(
        f"--versions {' '.join(words)} is not understood: write latest [N], all or "
        "specific N [N ...]."
    )


def parse_labels(words: Sequence[str], models: Sequence[str]) -> dict:
    """Return labels by model.

    Args:
        words: `LABEL=VERSION` for all models, `MODEL/LABEL=VERSION` for one; or the
            path of a JSON file like `{"stable": 1}` or `{"MODEL": {"stable": 1}}`.
        models: names of the models.

    Returns:
        For each model the version by label.

    Raises:
        UserError: they are not understood, or there is no such model.
    """
    labels: dict[str, dict[str, int]] = {model: {} for model in models}
    for model, label, version in _read_pairs(words):
        if model is not None and model not in labels:
            raise UserError(
                f"--labels: there is no model {model}, only {', '.join(models)}."
            )
        if not label or not _is_version(version):
            raise UserError(
                f"--labels: the version of {label!r} is {version!r}; write "
                "LABEL=VERSION, such as stable=1."
            )
        for name in models if model is None else [model]:
            labels[name][label] = int(version)
    return labels


def read_token(path: Path | None) -> str | None:
    """Return the token of a file, or else of the environment; `None` if there is none.

    Raises:
        UserError: the file can't be read, or the token is empty or has odd characters.
    """
    try:
        token = os.environ.get(TOKEN_VARIABLE) if path is None else path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the token of {path}: {error}.") from error
    if token is None:
        return None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"The token of {path or TOKEN_VARIABLE} must be visible ASCII characters."
        )
    return token


def _read_pairs(words: Sequence[str]):
    """Yield model (or None), label and version."""
    if len(words) == 1 and "=" not in words[0]:
        for key, value in _read_json(Path(words[0])).items():
            if isinstance(value, dict):
                yield from ((key, label, version) for label, version in value.items())
            else:
                yield None, key, value
        return
    for word in words:
        place, _, version = word.partition("=")
        model, slash, label = place.rpartition("/")
        yield (model if slash else None), label, version


def _read_json(path: Path) -> dict:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the labels of {path}: {error}.") from error
    if not isinstance(document, dict):
        raise UserError(f'{path} must hold labels like {{"stable": 1}}.')
    return document


def _is_version(version) -> bool:
    if isinstance(version, str):
        return version.isascii() and version.isdigit()
    return isinstance(version, int) and not isinstance(version, bool) and version >= 0
