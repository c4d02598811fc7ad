"""A client of a served model: TensorFlow Serving's, or `keras_mscam-serve`'s."""

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

import grpc
import httpx
import numpy as np
import tenacity
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from keras_mscam.errors import UserError
from keras_mscam.images.png_jpeg import encode_png
from keras_mscam.images.reader import (
    TURNED,
    Image,
    describe_image,
    find_format,
    is_pixels,
    is_turned,
    read_bytes,
    read_xray,
)
from keras_mscam.images.xray import Frame, ImageError
from keras_mscam.inference.prediction import Prediction, apply_frame, split_outputs
from keras_mscam.inference.predictor import check_several

#: Signature that gives every part of a `Prediction`.
EVERYTHING = "serving_default"
#: Statuses that say nothing against the request itself.
_PASSING = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
_HTTP_CODES = {
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
_GRPC_OPTIONS = [
    # Answers with all maps are larger than gRPC's 4 MB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Else nothing is tried for a second after a connection that failed, and the
    # client's own tries would all be over by then.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5000),
]


class ServiceError(UserError):
    """A server refused a request, or can't be reached.

    `code` is the name of a gRPC status, such as `"INVALID_ARGUMENT"`; `may_pass`,
    whether the same request may succeed later.
    """

    def __init__(self, message: str, code: str, may_pass: bool):
        super().__init__(message)
        self.code = code
        self.may_pass = may_pass


class Client:
    """Ask a server what X-rays show, and where; answers equal the `Predictor`'s.

    They name what is positive, but not the thresholds, which are in the export's
    `contract.json`. What may pass is tried again, after twice as long each time: no
    connection, a full queue, a server that is starting or draining. Several threads may
    share a client: their images then run as one batch.

    Args:
        url: `http://HOST:PORT` or `https://...` for REST, `grpc://HOST:PORT` or
            `grpcs://...` (over TLS) for gRPC.
        name: of the model.
        version: number of the version; the newest by default.
        label: of the version, such as `"stable"`, in place of a number.
        token: sent as a bearer token, for servers that ask for one.
        timeout: seconds that an answer may take.
        retries: times to try again.

    Raises:
        UserError: the URL is neither, or another argument is out of its range.

    Example:
        >>> with Client("http://127.0.0.1:8501") as client:
        ...     prediction = client.predict("chest.png")
        >>> prediction.probabilities["Mass"], prediction.boxes
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "keras_mscam",
        version: int | None = None,
        label: str | None = None,
        token: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
    ):
        if version is not None and label is not None:
            raise UserError("Give a version or a label, not both.")
        if version is not None and not 0 <= version < 2**63:
            raise UserError(f"There is no version {version} of a model.")
        if not timeout > 0:
            raise UserError(f"The timeout is {timeout}; it must be positive.")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise UserError("The token must be visible ASCII characters in one line.")
        scheme = _find_scheme(url)
        transport = _Rest if scheme.startswith("http") else _Grpc
        self._transport = transport(url, name, version, label, token, timeout)
        self._attempt = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda e: getattr(e, "may_pass", False)),
            stop=tenacity.stop_after_attempt(retries + 1),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            reraise=True,
        )

    def predict(
        self, image: Image, signature: str = EVERYTHING, max_value: int | None = None
    ) -> Prediction:
        """Predict one X-ray.

        Args:
            image: what `Predictor.predict` takes.
            signature: `"serving_default"`, or one that gives less and is faster:
                `"boxes"`, `"probabilities"`.
            max_value: the grey value that is white; see `read_xray`.

        Raises:
            UserError: the image can't be read.
            ServiceError: the server refuses, or can't be reached.
        """
        (prediction,) = self.predict_batch([image], signature, max_value)
        if prediction.error:
            raise UserError(f"{describe_image(image)} {prediction.error}.")
        return prediction

    def predict_batch(
        self,
        images: Sequence[Image],
        signature: str = EVERYTHING,
        max_value: int | None = None,
    ) -> list[Prediction]:
        """Predict several in one request; unreadable ones say so in `error`.

        Raises:
            UserError: a single image is given in place of several.
            ServiceError: the server refuses, or can't be reached.
        """
        check_several(images)
        encoded = [_encode_image(image, max_value) for image in images]
        predictions = [Prediction({})] * len(encoded)
        if any(item.error is None for item in encoded):
            files = np.array([item.file for item in encoded], object)
            predictions = split_outputs(self.call(signature, image_bytes=files))
        return [
            item.complete(prediction)
            for prediction, item in zip(predictions, encoded, strict=True)
        ]

    def call(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Call any signature with arrays by name, bytes and text in arrays of `object`.

        Raises:
            ServiceError: the server refuses, or can't be reached.
        """
        arrays = {name: np.asarray(values) for name, values in inputs.items()}
        for name, array in arrays.items():
            if array.dtype.kind == "S":  # which lacks the zeros at the end of bytes
                arrays[name] = np.asarray(inputs[name], object)
        return self._attempt(self._transport.call, signature, arrays)

    def close(self) -> None:
        """Close the connection; another call opens it again."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class _Rest:
    """Sends inputs and takes outputs in columns, as JSON."""

    def __init__(self, url, name, version, label, token, timeout):
        place = f"/versions/{version}" if version is not None else ""
        place = f"/labels/{quote(label, '')}" if label is not None else place
        self.url = f"{url.rstrip('/')}/v1/models/{quote(name, '')}{place}:predict"
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        # Requests that wait for a connection of their own client are not late.
        self._timeout = httpx.Timeout(timeout, pool=None)
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def call(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        with self._lock:
            client = self._client = self._client or httpx.Client(
                headers=self._headers, timeout=self._timeout
            )
        columns = {name: array.tolist() for name, array in inputs.items()}
        document = {"signature_name": signature, "inputs": columns}
        body = json.dumps(document, default=lambda b: {"b64": b64encode(b).decode()})
        try:
            response = client.post(self.url, content=body)
        except httpx.TimeoutException as error:
            # It may be late because there is too much to do already.
            message = f"{self.url} did not answer in time."
            raise ServiceError(message, "DEADLINE_EXCEEDED", False) from error
        # The last two: a name that no host can have.
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            reason = str(error).rstrip(".") or type(error).__name__
            message = f"{self.url} can't be reached ({reason})."
            may_pass = isinstance(error, httpx.HTTPError)
            raise ServiceError(message, "UNAVAILABLE", may_pass) from error
        return self._decode(response)

    def close(self) -> None:
        if self._client:
            self._client.close()
            self._client = None

    def _decode(self, response: httpx.Response) -> dict[str, np.ndarray]:
        status = response.status_code
        code = _HTTP_CODES.get(status, "INTERNAL")
        answered = f"{self.url} answered {status}"
        try:
            content = response.json()
        except ValueError as error:
            message = f"{answered} without JSON: is it a model server?"
            raise ServiceError(message, code, code in _PASSING) from error
        answer = content if isinstance(content, dict) else {}
        if status != 200:
            reason = " ".join(str(answer.get("error", content)).split())
            raise ServiceError(f"{answered}: {reason}", code, code in _PASSING)
        outputs = answer.get("outputs")
        if not isinstance(outputs, dict):
            # TensorFlow Serving gives a signature's only output without its name.
            what = "one without its name, which gRPC gives" if outputs else "none"
            message = f"{answered} with no outputs by name, but {what}."
            raise ServiceError(message, "INTERNAL", False)
        return {name: _decode_column(values) for name, values in outputs.items()}


def _decode_column(values: list) -> np.ndarray:
    """Return integers as int64, floats as float32, strings as objects, b64 decoded."""
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return array.astype("float32") if array.dtype.kind == "f" else array
    items = array.ravel().tolist()
    decoded = (b64decode(i["b64"]) if isinstance(i, dict) else i for i in items)
    return np.fromiter(decoded, object, len(items)).reshape(array.shape)


class _Grpc:
    """Sends inputs and takes outputs as TensorProtos."""

    def __init__(self, url, name, version, label, token, timeout):
        scheme, _, self.target = url.rstrip("/").partition("://")
        self._is_secure = scheme == "grpcs"
        self._spec = {"name": name}
        if version is not None:
            self._spec["version"] = {"value": version}
        if label is not None:
            self._spec["version_label"] = label
        metadata = [("authorization", f"Bearer {token}")] if token else []
        self._options = {"timeout": timeout, "metadata": metadata}
        self._channel: grpc.Channel | None = None
        self._lock = threading.Lock()

    def _connect(self) -> grpc.Channel:
        if self._is_secure:
            credentials = grpc.ssl_channel_credentials()
            return grpc.secure_channel(self.target, credentials, _GRPC_OPTIONS)
        return grpc.insecure_channel(self.target, _GRPC_OPTIONS)

    def call(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        with self._lock:
            channel = self._channel = self._channel or self._connect()
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest(
            model_spec={**self._spec, "signature_name": signature},
            inputs={key: tf.make_tensor_proto(array) for key, array in inputs.items()},
        )
        try:
            answer = stub.Predict(request, **self._options)
        except grpc.RpcError as error:
            code, said = error.code().name, " ".join((error.details() or "").split())
            # gRPC says of a message over the limit what it says of a full queue.
            may_pass = code in _PASSING and "larger than max" not in said
            message = f"{self.target} gave no answer, but {code}: {said}"
            raise ServiceError(message, code, may_pass) from error
        return {name: tf.make_ndarray(proto) for name, proto in answer.outputs.items()}

    def close(self) -> None:
        if self._channel:
            self._channel.close()
            self._channel = None


def _find_scheme(url: str) -> str:
    """Return the scheme of a URL, or raise a `UserError` about one of no server."""
    try:
        parts = urlsplit(url)
        is_known = parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        parts, is_known = urlsplit(""), False
    # A proxy may serve REST below a path; gRPC has paths of its own.
    too_much = parts.query or parts.fragment or any(map(str.isspace, url))
    if parts.scheme.startswith("grpc"):
        too_much = too_much or parts.path.strip("/")
    schemes = ("http", "https", "grpc", "grpcs")
    if not is_known or too_much or parts.scheme not in schemes:
        raise UserError(
            f"{url!r} is no address of a server: it must be http://HOST:PORT, "
            "https://HOST:PORT, grpc://HOST:PORT or grpcs://HOST:PORT."
        )
    return parts.scheme


@dataclass(frozen=True)
class _Encoded:
    """What is sent of an image, and what of it the server doesn't see."""

    file: bytes = b""  # PNG or JPEG, which an exported model takes
    frame: Frame | None = None  # of an image that was decoded here
    error: str | None = None  # why there is no file
    is_turned: bool = False  # by EXIF data, which the server doesn't look at

    def complete(self, prediction: Prediction) -> Prediction:
        """Return the prediction of what was sent as that of the image."""
        if self.error is not None:
            return Prediction({}, error=self.error)
        if prediction.error:
            return prediction
        if self.is_turned:
            return replace(prediction, warnings=(TURNED, *prediction.warnings))
        if self.frame is None:
            return prediction
        left, top, *_ = self.frame.corners
        boxes = tuple(
            replace(box, xyxy=(x0 + left, y0 + top, x1 + left, y1 + top))
            for box in prediction.boxes
            for x0, y0, x1, y1 in [box.xyxy]
        )
        return apply_frame(replace(prediction, boxes=boxes), self.frame)


def _encode_image(image: Image, max_value: int | None) -> _Encoded:
    """Encode what an exported model takes.

    DICOM is decoded here, since no exported graph can, and what has another white.
    """
    try:
        if not is_pixels(image):
            image = read_bytes(image)
            if max_value is None and find_format(image) != "dicom":
                return _Encoded(image, is_turned=is_turned(image))
        xray = read_xray(image, max_value=max_value)
    except ImageError as error:
        return _Encoded(error=" ".join(str(error).split()))  # it may quote the file
    left, top, right, bottom = xray.frame.corners
    return _Encoded(encode_png(xray.pixels[top:bottom, left:right]), xray.frame)
