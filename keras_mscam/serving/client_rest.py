"""TF Serving's REST API, from the client's side."""

import asyncio
import base64
import json
from urllib.parse import quote

import httpx
import numpy as np

from keras_mscam.serving.client_errors import PASSING, ServiceError
from keras_mscam.serving.client_inputs import keep_bytes

_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestTransport:
    """Sends inputs in columns and takes outputs in columns, as JSON.

    Args:
        url: `http://HOST:PORT`.
        name: of the model.
        version: its number, or `None`.
        label: of the version, or `None`.
        token: bearer token, or `None`.
        timeout: seconds.
    """

    def __init__(self, url, name, version, label, token, timeout):
        place = f"/versions/{version}" if version is not None else ""
        place = f"/labels/{quote(label, '')}" if label is not None else place
        self.url = f"{url.rstrip('/')}/v1/models/{quote(name, '')}{place}:predict"
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._options = {
            "headers": headers,
            # Requests that wait for a connection of their own client are not late.
            "timeout": httpx.Timeout(timeout, pool=None),
        }
        self._client: httpx.Client | None = None
        self._async_client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def call(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """Send a request and wait for its answer."""
        self._client = self._client or httpx.Client(**self._options)
        try:
            response = self._client.post(self.url, content=_encode(signature, inputs))
        except httpx.HTTPError as error:
            raise _explain(self.url, error) from error
        return _decode(self.url, response)

    async def call_async(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """As `call`."""
        client = self._find_async_client()
        try:
            response = await client.post(self.url, content=_encode(signature, inputs))
        except httpx.HTTPError as error:
            raise _explain(self.url, error) from error
        return _decode(self.url, response)

    def close(self) -> None:
        """Close the connection of `call`."""
        if self._client:
            self._client.close()
            self._client = None

    async def close_async(self) -> None:
        """Close the connections of `call_async`."""
        if self._async_client and self._loop is asyncio.get_running_loop():
            await self._async_client.aclose()
        self._async_client = self._loop = None

    def _find_async_client(self) -> httpx.AsyncClient:
        # Connections work in the event loop that they were made in, and in no other.
        loop = asyncio.get_running_loop()
        if self._async_client is None or self._loop is not loop:
            self._async_client = httpx.AsyncClient(**self._options)
            self._loop = loop
        return self._async_client


def _encode(signature: str, inputs: dict) -> bytes:
    columns = {
        name: _encode_column(keep_bytes(values)) for name, values in inputs.items()
    }
    # NaN and Infinity are numbers to TF Serving.
    return json.dumps({"signature_name": signature, "inputs": columns}).encode()


def _encode_column(array: np.ndarray):
    values = array.tolist()
    return _encode_strings(values) if array.dtype == object else values


def _encode_strings(values):
    if isinstance(values, list):
        return [_encode_strings(value) for value in values]
    if isinstance(values, bytes):
        return {"b64": base64.b64encode(values).decode()}
    return values


def _decode(url: str, response: httpx.Response) -> dict[str, np.ndarray]:
    status = response.status_code
    code = _CODES.get(status, "INTERNAL")
    try:
        content = response.json()
    except ValueError as error:
        raise ServiceError(
            f"{url} answered {status} without JSON: is it a model server?",
            code,
            may_pass=code in PASSING,
        ) from error
    answer = content if isinstance(content, dict) else {}
    if status != 200:
        reason = " ".join(str(answer.get("error", content)).split())
        raise ServiceError(
            f"{url} answered {status}: {reason}", code, may_pass=code in PASSING
        )
    outputs = answer.get("outputs")
    if not isinstance(outputs, dict):
        # TF Serving gives a signature's only output without its name.
        what = "one output without its name, which gRPC gives" if outputs else "none"
        raise ServiceError(
            f"{url} answered with no outputs by name, but {what}.",
            "INTERNAL",
            may_pass=False,
        )
    return {name: _decode_column(values) for name, values in outputs.items()}


def _decode_column(values: list) -> np.ndarray:
    """Return integers as int64, floats as float32, strings as objects, b64 decoded."""
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return array.astype("float32") if array.dtype.kind == "f" else array
    flat = [
        base64.b64decode(item["b64"]) if isinstance(item, dict) else item
        for item in array.ravel().tolist()
    ]
    result = np.empty(len(flat), object)
    result[:] = flat
    return result.reshape(array.shape)


def _explain(url: str, error: httpx.HTTPError) -> ServiceError:
    late = isinstance(error, httpx.TimeoutException)
    reason = str(error).rstrip(".") or type(error).__name__
    what = "did not answer in time" if late else f"can't be reached ({reason})"
    code = "DEADLINE_EXCEEDED" if late else "UNAVAILABLE"
    # An answer that is late may be late because there is too much to do already.
    return ServiceError(f"{url} {what}.", code, may_pass=not late)
