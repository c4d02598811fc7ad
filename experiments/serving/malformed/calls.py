"""gRPC: messages that are none, too large ones, and calls of what isn't there."""

import struct
from random import Random

from malformed.requests import GrpcRequest, Material, RawRequest
from malformed.tensors import PREDICT, make_message, make_tensor, send

from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

_SERVICES = (
    "/tensorflow.serving.PredictionService/",
    "/tensorflow.serving.ModelService/",
)
_METHODS = (
    *(_SERVICES[0] + name for name in ("Predict", "GetModelMetadata", "Classify")),
    *(_SERVICES[0] + name for name in ("Regress", "MultiInference", "None")),
    *(_SERVICES[1] + name for name in ("GetModelStatus", "HandleReloadConfigRequest")),
    *("/", "/a/b", "/tensorflow.serving.SessionService/SessionRun"),
    "/grpc.health.v1.Health/Check",
)
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def make_valid(material: Material, signature: str, files: list[bytes]) -> bytes:
    """Return a sound message for files that may be anything."""
    kind = types_pb2.DT_STRING
    proto = make_tensor(kind, (len(files),), string_val=files)
    return make_message(material, signature, image_bytes=proto).SerializeToString()


def send_noise(rng: Random, _: Material) -> GrpcRequest:
    """Random bytes as message, of any method."""
    data = rng.randbytes(rng.choice((0, 1, 9, 200, 9000)))
    return GrpcRequest(rng.choice(_METHODS), data, gzip=rng.random() < 0.1)


def mutate_message(rng: Random, material: Material) -> GrpcRequest:
    """A sound message with some bytes changed, or without its end."""
    data = make_valid(material, "probabilities", [material.choose(rng)[1][:900]])
    if rng.random() < 0.3:
        return GrpcRequest(PREDICT, data[: rng.randrange(len(data))])
    data, end = bytearray(data), rng.choice((80, len(data)))
    for _ in range(rng.choice((1, 2, 8))):
        data[rng.randrange(end)] = rng.randrange(256)
    return GrpcRequest(PREDICT, bytes(data))


def nest_message(rng: Random, _: Material) -> GrpcRequest:
    """Groups and messages within each other, deeper than parsers go."""
    depth, data = rng.choice((50, 200, 3000)), b""
    if rng.random() < 0.5:
        return GrpcRequest(PREDICT, b"\x0b" * depth)
    for _ in range(depth):
        size, head = len(data), b""
        while size > 127:
            head, size = head + bytes([size & 127 | 128]), size >> 7
        data = b"\x12" + head + bytes([size]) + data
    return GrpcRequest(PREDICT, data)


def send_names(rng: Random, material: Material) -> GrpcRequest:
    """Unknown models, versions, labels, signatures, inputs and outputs."""
    proto = make_tensor(types_pb2.DT_STRING, (1,), string_val=[b"x"])
    message = make_message(material, "probabilities", image_bytes=proto)
    odd = rng.choice(("", "none", "a\nb", "\0", "é", "x" * 20_000, "\U0001f600" * 3000))

    def add(name):
        message.inputs[name].CopyFrom(proto)

    rng.choice(
        (
            lambda: setattr(message.model_spec, "name", odd),
            lambda: setattr(message.model_spec, "signature_name", odd or "none"),
            lambda: setattr(message.model_spec, "version_label", odd),
            lambda: setattr(
                message.model_spec.version, "value", rng.choice((0, 2, -1, 1 << 62))
            ),
            lambda: message.output_filter.append(odd),
            lambda: message.output_filter.extend(["probabilities"] * 2),
            lambda: message.output_filter.extend(map(str, range(5000))),
            lambda: add(odd),
            lambda: [add(str(i)) for i in range(1000)],
            message.inputs.clear,
            lambda: message.ClearField("model_spec"),
        )
    )()
    return send(message)


def ask_about(rng: Random, material: Material) -> GrpcRequest:
    """Questions about models that can't be answered."""
    name = rng.choice(("", "none", "x" * 5000, material.name))
    version = rng.choice((0, 2, -5))
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = name
    status.model_spec.version.value = version
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(
        metadata_field=rng.choice(([], ["none"], ["signature_def", "x"], ["é" * 2000]))
    )
    metadata.model_spec.name = name
    method, message = rng.choice(
        (
            (_SERVICES[1] + "GetModelStatus", status),
            (_SERVICES[0] + "GetModelMetadata", metadata),
        )
    )
    return GrpcRequest(method, message.SerializeToString())


def send_too_large(rng: Random, material: Material) -> GrpcRequest:
    """A message over the limit, some of them packed into a few kilobytes."""
    size = rng.choice((64 << 20, 70 << 20, 200 << 20))
    is_packed = size > (80 << 20) or rng.random() < 0.5
    return GrpcRequest(PREDICT, bytes(size), gzip=is_packed)


def hurry(rng: Random, material: Material) -> GrpcRequest:
    """A sound request whose deadline is over at once, or nearly."""
    data = make_valid(material, "boxes", [material.choose(rng)[1]])
    return GrpcRequest(PREDICT, data, timeout=rng.choice((0.001, 0.01, 0.05)))


def send_bytes(rng: Random, _: Material) -> RawRequest:
    """Random bytes, HTTP/1.1, and frames of HTTP/2 that make no sense."""

    def frame(kind, flags, stream, payload, length=None):
        size = len(payload) if length is None else length
        return (
            struct.pack(">I", size)[1:]
            + struct.pack(">BBI", kind, flags, stream)
            + (payload)
        )

    settings = _PREFACE + frame(4, 0, 0, b"")
    noise = rng.randbytes(rng.choice((1, 30, 3000)))
    return RawRequest(
        rng.choice(
            (
                noise,
                b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                _PREFACE + noise,
                settings + noise,
                settings + frame(rng.randrange(12), rng.randrange(256), 1, noise),
                settings + frame(1, 4, 1, noise),
                settings + frame(0, 1, 7, noise),
                settings + frame(1, 0, 1, b"\x82") + frame(9, 0, 1, noise) * 50,
                settings + frame(0, 0, 1, b"", (1 << 24) - 1),
                settings + frame(4, 0, 0, noise[:30]),
                settings + frame(6, 0, 0, bytes(8)) * 500,
                settings + frame(3, 0, 1, bytes(4)) * 500,
                settings + frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
            )
        )
    )
