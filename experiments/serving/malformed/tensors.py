"""Pixels as numbers: wrong shapes, sizes and values, over both protocols."""

import json
from random import Random

from malformed.documents import get_path, post
from malformed.requests import GrpcRequest, Material, RestRequest

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

PREDICT = "/tensorflow.serving.PredictionService/Predict"

_SHAPES = (
    (), (0,), (1,), (8, 8), (1, 8, 8), (1, 8, 8, 2), (1, 8, 8, 1, 1), (1, 0, 0, 1),
    (0, 8, 8, 1), (1, 0, 8, 1), (1, 8, 0, 1), (1, 1, 1, 1), (1, 1, 900, 1), (2, 8, 8),
    (1, 8, 8, 0), (40, 2, 2, 1), (1, 3, 500, 1), (2, 5, 7, 1),
)  # fmt: skip
_VALUES = (0, 255, -1, 256, 1e30, -1e30, 3.4e38, float("nan"), float("inf"))
_SIZES = (-1, 0, 1, 2, 192, 1 << 20, 1 << 31, 1 << 62, -(1 << 63), (1 << 63) - 1)


def send_shape(rng: Random, material: Material) -> RestRequest:
    """Nested lists of a wrong shape, or of odd values."""
    shape, value = rng.choice(_SHAPES), rng.choice(_VALUES)
    signature = rng.choice(("tensor", "tensor", "tensor_uint8"))
    if signature == "tensor_uint8" and np.isfinite(value):
        value = int(value)
    lists = np.full(shape, value, object).tolist()
    form = {rng.choice(("instances", "inputs")): lists}
    body = json.dumps({"signature_name": signature, **form}).encode()
    return post(get_path(material), body)


def send_ragged(rng: Random, material: Material) -> RestRequest:
    """Nested lists that are no array."""
    image = np.full((3, 4, 1), 7.0).tolist()
    place = rng.choice((image, image[0], image[1], image[2][3]))
    rng.choice(
        (place.pop, lambda: place.append(1), lambda: place.append([[]]), place.clear)
    )()
    rows = [image] if rng.random() < 0.5 else [np.zeros((3, 4, 1)).tolist(), image]
    body = json.dumps({"signature_name": "tensor", "instances": rows}).encode()
    return post(get_path(material), body)


def make_message(material: Material, signature: str = "tensor", **inputs):
    """Return a request for Predict."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name = material.name
    message.model_spec.signature_name = signature
    for name, proto in inputs.items():
        message.inputs[name].CopyFrom(proto)
    return message


def make_tensor(kind: int, shape: tuple[int, ...], **values) -> tensor_pb2.TensorProto:
    """Return a TensorProto of any shape with any values."""
    proto = tensor_pb2.TensorProto(dtype=kind, **values)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return proto


def send_tensor(rng: Random, material: Material) -> GrpcRequest:
    """A TensorProto whose shape, type and content don't fit together."""
    shape = rng.choice(_SHAPES)
    if rng.random() < 0.5:
        shape = tuple(rng.choice(_SIZES) for _ in range(rng.choice((1, 3, 4, 4, 33))))
        if rng.random() < 0.3:
            shape = (1, *shape[:2], 1)
    count = int(np.prod([min(abs(size), 500) for size in shape], dtype=object))
    size = min(count, 5000) * 4 + rng.choice((0, 0, 1, -1, 400))
    values = rng.choice(
        (
            {"tensor_content": bytes(max(size, 0))},
            {"tensor_content": np.full(max(size // 4, 0), np.nan, "f4").tobytes()},
            {"float_val": [rng.choice(_VALUES)]},
            {"float_val": [1.0] * 70},
            {"int_val": [-1, 300]},
            {"string_val": [b"a", b"b"]},
            {"half_val": [70_000], "double_val": [1.0]},
            {"tensor_content": rng.randbytes(30), "float_val": [1.0]},
            {},
        )
    )
    kinds = (1, 1, 1, 1, 4, 2, 3, 7, 8, 14, 20, 21, 23, 101, 0)
    proto = make_tensor(rng.choice(kinds), shape, **values)
    proto.tensor_shape.unknown_rank = rng.random() < 0.02
    signature = rng.choice(("tensor", "tensor", "tensor_uint8", "probabilities"))
    name = "image_bytes" if signature == "probabilities" else "image"
    return send(make_message(material, signature, **{name: proto}))


def send_strings(rng: Random, material: Material) -> GrpcRequest:
    """Strings whose number or packed lengths are wrong."""
    shape = rng.choice(((1,), (2,), (), (0,), (-1,), (1, 1), (1 << 24,), (1 << 40,)))
    content = rng.choice(
        (
            b"\x05ab",
            b"\xff" * 9,
            b"\x80\x80\x80\x80\x80\x01",
            rng.randbytes(50),
            b"\x01a",
        )
    )
    values = rng.choice(
        (
            {"tensor_content": content},
            {"string_val": [b"x"] * rng.choice((0, 1, 2, 3000))},
            {"string_val": [b"x" * 100_000]},
        )
    )
    proto = make_tensor(types_pb2.DT_STRING, shape, **values)
    return send(make_message(material, "probabilities", image_bytes=proto))


def send_chosen(rng: Random, material: Material) -> GrpcRequest:
    """Names to draw overlays of: unknown, too many, or of fewer images."""
    names = (
        *(b"", b"Mass", b"mass", b"Mass,Mass", b",", b"No,Such", b"\xff\xfe", b"\0"),
        *(b"," * rng.choice((900, 3000, 100_000)), b"x" * 2000, rng.randbytes(30)),
    )
    files = [material.choose(rng)[1] for _ in range(rng.choice((0, 1, 2)))]
    chosen = [rng.choice(names) for _ in range(rng.choice((0, 1, 1, 2)))]
    kind = types_pb2.DT_STRING
    protos = {
        "image_bytes": make_tensor(kind, (len(files),), string_val=files),
        "chosen": make_tensor(kind, (len(chosen),), string_val=chosen),
    }
    return send(make_message(material, "overlay", **protos))


def send_large_pixels(rng: Random, material: Material) -> GrpcRequest:
    """Many pixels in few bytes, since the last value of a tensor is repeated."""
    size = rng.choice(
        ((1500, 1500), (3900, 3900), (9000, 9000), (1, 1 << 23), (1 << 23, 1))
    )
    rows = rng.choice((1, 1, 2, 5000))
    proto = make_tensor(1, (rows, *size, 1), float_val=[rng.choice(_VALUES)])
    return send(make_message(material, image=proto))


def send(message) -> GrpcRequest:
    """Return a call of Predict."""
    return GrpcRequest(PREDICT, message.SerializeToString())
