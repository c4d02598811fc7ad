"""A request as it is sent, byte by byte, and what must come back."""

from dataclasses import dataclass, field
from random import Random

#: Seconds within which every request must have its answer: the server's own 30, and
#: some for a busy machine.
SECONDS = 45.0


@dataclass(frozen=True)
class Rows:
    """What a request's answer must hold.

    Args:
        signature: that is called.
        valid: for each image that is sent its number among the sound ones, or `None`
            for a malformed one.
    """

    signature: str
    valid: tuple[int | None, ...]


@dataclass(frozen=True)
class RestRequest:
    """Bytes for the REST port.

    Args:
        data: all that is sent.
        whole: whether it must be answered; of others the connection may be closed.
        end: what the client does then: "wait", "finish" (says that nothing more comes)
            or "leave".
        rows: of the answer.
        head: whether the answer has no body.
        keeps: whether the connection can take another request afterwards.
        seconds: that the answer may take.
    """

    data: bytes
    whole: bool = True
    end: str = "wait"
    rows: Rows | None = None
    head: bool = False
    keeps: bool = True
    seconds: float = SECONDS
    protocol: str = field(default="REST", init=False)


@dataclass(frozen=True)
class GrpcRequest:
    """A message for the gRPC port.

    Args:
        method: full name.
        data: the message.
        gzip: whether it is sent compressed.
        rows: of the answer.
        timeout: deadline that the client sets.
    """

    method: str
    data: bytes
    gzip: bool = False
    rows: Rows | None = None
    timeout: float = SECONDS
    protocol: str = field(default="gRPC", init=False)


@dataclass(frozen=True)
class RawRequest:
    """Bytes for the gRPC port that are no call.

    Args:
        data: all that is sent, after which the client waits a moment and leaves.
    """

    data: bytes
    protocol: str = field(default="gRPC", init=False)


Request = RestRequest | GrpcRequest | RawRequest


@dataclass(frozen=True)
class Material:
    """What requests are made of.

    Args:
        name: of the model.
        images: sound PNG and JPEG files, small ones.
        signatures: that take images.
    """

    name: str
    images: tuple[bytes, ...]
    signatures: tuple[str, ...] = (
        *("probabilities",) * 12,
        *("boxes", "heatmaps", "serving_default"),
    )

    def choose(self, rng: Random) -> tuple[int, bytes]:
        """Return a sound file and its number."""
        number = rng.randrange(len(self.images))
        return number, self.images[number]
