"""TF Serving's REST API, from the client's side."""

import base64

import httpx
import numpy as np

from keras_mscam.serving.client_errors import PASSING, ServiceError

_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
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
        place = f"/labels/{label}" if label is not None else place
        self.url = f"{url.rstrip('/')}/v1/models/{name}{place}:predict"
        self._options = {
            "timeout": timeout,
            "headers": {"Authorization": f"Bearer {token}"} if token else {},
        }
        self._client: httpx.Client | None = None
        self._async_client: httpx.AsyncClient | None = None

    def call(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """Send a request and wait for its answer."""
        self._client = self._client or httpx.Client(**self._options)
        try:
            response = self._client.post(self.url, json=_encode(signature, inputs))
        except httpx.HTTPError as error:
            raise _explain(self.url, error) from error
        return _decode(self.url, response)

    async def call_async(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """As `call`."""
        self._async_client = self._async_client or httpx.AsyncClient(**self._options)
        try:
            response = await self._async_client.post(
                self.url, json=_encode(signature, inputs)
            )
        except httpx.HTTPError as error:
            raise _explain(self.url, error) from error
        return _decode(self.url, response)

    def close(self) -> None:
        """Close the connection of `call`."""
        if self._client:
            self._client.close()

    async def close_async(self) -> None:
        """Close the connections of `call_async`."""
        if self._async_client:
            await self._async_client.aclose()


def _encode(signature: str, inputs: dict) -> dict:
    columns = {
        name: [_encode_value(value) for value in np.asarray(values)]
        for name, values in inputs.items()
    }
    return {"signature_name": signature, "inputs": columns}


def _encode_value(value):
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _decode(url: str, response: httpx.Response) -> dict[str, np.ndarray]:
    try:
        content = response.json()
    except ValueError as error:
        raise ServiceError(
            f"{url} answered {response.status_code} without JSON: is it a model "
            "server?",
            "INTERNAL",
            may_pass=response.status_code in (502, 503),
        ) from error
    if response.status_code != 200:
        code = _CODES.get(response.status_code, "INTERNAL")
        reason = content.get("error") if isinstance(content, dict) else content
        raise ServiceError(
            f"{url} answered {response.status_code}: {reason}",
            code,
            may_pass=code in PASSING,
        )
    outputs = content["outputs"]
    return {name: _decode_column(values) for name, values in outputs.items()}


def _decode_column(values: list) -> np.ndarray:
    """Return numbers as int64 or float32, strings as objects, bytes decoded."""
    array = np.asarray(values)
    if array.dtype.kind in "fiu":
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
    what = "did not answer in time" if late else f"can't be reached ({error})"
    code = "DEADLINE_EXCEEDED" if late else "UNAVAILABLE"
    # An answer that is late may be late because there is too much to do already.
    return ServiceError(f"{url} {what}.", code, may_pass=not late)
