"""A client of a served model: TF Serving's, or `keras_mscam-serve`'s."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import numpy as np
import tenacity

from keras_mscam.errors import UserError
from keras_mscam.images.reader import Image, describe_image
from keras_mscam.inference.prediction import Prediction, split_outputs
from keras_mscam.serving.client_errors import ServiceError
from keras_mscam.serving.client_inputs import encode_images, merge_errors

#: Signature that gives every part of a `Prediction`.
EVERYTHING = "serving_default"


class Client:
    """Ask a server what X-rays show, and where; answers equal the `Predictor`'s.

    What may pass is tried again, after twice as long each time: no connection, a full
    queue, a server that is starting or draining.

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
        UserError: the URL is neither, or another argument can't be.

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
        if not timeout > 0:
            raise UserError(f"The timeout is {timeout}; it must be positive.")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise UserError("The token must be visible ASCII characters in one line.")
        build = _find_transport(url)
        self._transport = build(url, name, version, label, token, timeout)
        self._policy = {
            "retry": tenacity.retry_if_exception(_may_pass),
            "stop": tenacity.stop_after_attempt(retries + 1),
            "wait": tenacity.wait_random_exponential(multiplier=0.1, max=5),
            "reraise": True,
        }

    def predict(self, image: Image, signature: str = EVERYTHING) -> Prediction:
        """Predict one X-ray.

        Args:
            image: a PNG, JPEG or DICOM file, its bytes, or grey pixels.
            signature: `"serving_default"`, or one that gives less and is faster:
                `"boxes"`, `"probabilities"`.

        Raises:
            UserError: the image can't be read.
            ServiceError: the server refuses, or can't be reached.
        """
        return _take_one(image, self.predict_batch([image], signature))

    def predict_batch(
        self, images: Sequence[Image], signature: str = EVERYTHING
    ) -> list[Prediction]:
        """Predict several in one request; unreadable ones say so in `error`."""
        encoded, errors = encode_images(images)
        if all(errors):
            return merge_errors([Prediction({})] * len(errors), errors)
        outputs = self.call(signature, image_bytes=np.array(encoded, object))
        return merge_errors(split_outputs(outputs), errors)

    def call(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Call any signature.

        Args:
            signature: its name.
            inputs: arrays by name; bytes in arrays of `object`.

        Returns:
            Arrays by name; strings as `object` of bytes or text.

        Raises:
            ServiceError: the server refuses, or can't be reached.
        """
        attempt = tenacity.Retrying(**self._policy)
        return attempt(self._transport.call, signature, inputs)

    async def predict_async(
        self, image: Image, signature: str = EVERYTHING
    ) -> Prediction:
        """As `predict`, for many at once in one event loop."""
        return _take_one(image, await self.predict_batch_async([image], signature))

    async def predict_batch_async(
        self, images: Sequence[Image], signature: str = EVERYTHING
    ) -> list[Prediction]:
        """As `predict_batch`."""
        encoded, errors = encode_images(images)
        if all(errors):
            return merge_errors([Prediction({})] * len(errors), errors)
        inputs = {"image_bytes": np.array(encoded, object)}
        outputs = await self.call_async(signature, **inputs)
        return merge_errors(split_outputs(outputs), errors)

    async def call_async(
        self, signature: str, **inputs: np.ndarray
    ) -> dict[str, np.ndarray]:
        """As `call`."""
        attempt = tenacity.AsyncRetrying(**self._policy)
        return await attempt(self._transport.call_async, signature, inputs)

    def close(self) -> None:
        """Close connections that `predict` and its like have opened."""
        self._transport.close()

    async def close_async(self) -> None:
        """Close what `predict_async` and its like have opened in this event loop."""
        await self._transport.close_async()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *exception) -> None:
        await self.close_async()


def _find_transport(url: str):
    scheme = _find_scheme(url)
    if scheme in ("http", "https"):
        from keras_mscam.serving.client_rest import RestTransport

        return RestTransport
    if scheme in ("grpc", "grpcs"):
        from keras_mscam.serving.client_grpc import GrpcTransport

        return GrpcTransport
    raise UserError(
        f"{url!r} is no address of a server: it must be http://HOST:PORT, "
        "https://HOST:PORT, grpc://HOST:PORT or grpcs://HOST:PORT."
    )


def _find_scheme(url: str) -> str | None:
    """Return the scheme of a URL that makes sense, else `None`."""
    try:
        parts = urlsplit(url)
        known = parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        return None
    # A proxy may serve REST below a path; gRPC has paths of its own.
    too_much = parts.query or parts.fragment or any(map(str.isspace, url))
    if parts.scheme.startswith("grpc"):
        too_much = too_much or parts.path.strip("/")
    return parts.scheme if known and not too_much else None


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, ServiceError) and error.may_pass


def _take_one(image: Image, predictions: list[Prediction]) -> Prediction:
    (prediction,) = predictions
    if prediction.error:
        raise UserError(f"{describe_image(image)} {prediction.error}.")
    return prediction
