"""Which resource of TF Serving's REST API a request names."""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from keras_mscam.serving.errors import ServingError, refuse

#: Every path under it belongs to the API, and every error there is its JSON.
PREFIX = "/v1/"
_MODEL = r"/v1/models{}(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_FLAGS = re.ASCII | re.IGNORECASE
_POST = re.compile(
    _MODEL.format("/(?P<name>[^/:]+)") + ":(?P<action>classify|regress|predict)", _FLAGS
)
_GET = re.compile(
    _MODEL.format("(?:/(?P<name>[^/:]+))?") + "(?:/(?P<action>metadata))?", _FLAGS
)
_MOST_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Resource:
    """What a request is about.

    Args:
        name: of the model.
        version: its number, if the path has one.
        label: of a version, if the path has one.
        action: `"predict"`, `"classify"`, `"regress"`, `"metadata"` or `"status"`.
    """

    name: str
    version: int | None
    label: str | None
    action: str


def parse_path(method: str, path: str) -> Resource:
    """Find out what a request is about.

    Args:
        method: of HTTP. `POST` asks for an inference, `GET` for information.
        path: as sent: percent encoding is not undone, and a query is part of it, which
            makes it another model or no resource, as in TF Serving.

    Returns:
        Model, version and action. Names are not checked.

    Raises:
        ServingError: INVALID_ARGUMENT: there is no such resource.

    Example:
        >>> parse_path("POST", "/v1/models/keras_mscam/labels/stable:predict")
        Resource(name='keras_mscam', version=None, label='stable', action='predict')
    """
    pattern = {"POST": _POST, "GET": _GET}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    if match is None:
        raise _refuse_path(method, path)
    version = match["version"]
    # TF Serving finds paths in any case, but knows actions in lower case only.
    action = match["action"]
    if action != "metadata" and method == "GET":
        action = "status"
    elif action != action.lower():
        raise _refuse_path(method, path)
    if version and (len(version) > 19 or int(version) > _MOST_VERSION):
        raise refuse(f"Failed to convert version: {version[:40]} to numeric.")
    if not match["name"]:
        raise refuse("Missing model name in request.")
    return Resource(
        name=_decode(match["name"]),
        version=int(version) if version else None,
        label=_decode(match["label"]) if match["label"] else None,
        action=action,
    )


def _refuse_path(method: str, path: str) -> ServingError:
    return refuse(f"Malformed request: {method} {path[:200]}")


def _decode(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")
