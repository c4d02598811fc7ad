"""Malformed requests to a whole server: each gets a sentence, and it goes on.

They are the kinds of `experiments/serving/malformed`, a few of each.
"""

import contextlib
import json
import socket
import struct
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
import pytest
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from .conftest import make_request

PREDICT = "/v1/models/toy:predict"
RPC = "/tensorflow.serving.PredictionService/"
METADATA = [("authorization", "Bearer secret")]
BODY = b'{"instances":[[1.0]]}'
HEAD = (
    f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n".encode()
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@pytest.fixture(scope="module")
def server(tmp_path_factory, make_version, start_command):
    """Addresses of the command's server: what it logs, and how it ends, is checked."""
    models = tmp_path_factory.mktemp("models")
    make_version(models / "toy", 1, 2)
    errors = models / "errors"
    limits = ("--max-request-bytes", "1000000", "--timeout", "5", "--max-queue", "100")
    with (
        errors.open("w") as file,
        start_command(models, *limits, errors=file) as (process, urls),
    ):
        yield urls
        process.terminate()
        assert process.wait(20) == 0
        assert process.stdout.read() == ""
    text = errors.read_text()
    assert "Doe" not in text and "secret" not in text and "Traceback" not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    requests = [line for line in lines if line["message"] == "request"]
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= {r["status"] for r in requests}
    assert {"REST", "GRPC"} == {request["protocol"] for request in requests}


@pytest.fixture
def rest(server):
    headers = {"Authorization": "Bearer secret"}
    with httpx.Client(base_url=server["http"], headers=headers, timeout=20) as client:
        yield client
        answer = client.post(PREDICT, content=BODY).json()
        assert answer == {"predictions": [{"y": [2.0], "batch": 1}]}


@pytest.fixture
def call(server):
    """Send bytes to a method; return code and sentence."""
    target = server["grpc"].partition("://")[2]
    with grpc.insecure_channel(target) as channel:

        def call(data, method="Predict", prefix=RPC):
            try:
                answer = channel.unary_unary(prefix + method)(
                    data, timeout=20, metadata=METADATA
                )
            except grpc.RpcError as error:
                return error.code().name, error.details()
            return "OK", predict_pb2.PredictResponse.FromString(answer)

        yield call
        code, answer = call(make_request(x=[[1.0]]).SerializeToString())
        assert code == "OK" and list(answer.outputs["y"].float_val) == [2]


def is_sentence(text):
    is_plain = text.isprintable() and "Traceback" not in text and "0x" not in text
    return is_plain and len(text.split()) > 2 and len(text) <= 1000


@pytest.mark.parametrize(
    "body",
    [
        b"", b" \n", b"\0" * 1000, b"\xff\xfe{\0}\0", b"{", b"[1]", b'"x"', b"{}",
        b'{"instances": ' + b"[" * 400_000, b'{"a":' * 100_000, b"]" * 1_000_000,
        b'{"instances": [' + b"1" * 900_000 + b"]}", b'"' * 999_999, b"\\" * 999_999,
        b'{"instances": [NaN]}', b'{"instances": [1e999]}', b'{"instances": [null]}',
        b'{"instances": [[1], [2, 3]]}', b'{"instances": [[true]]}',
        b'{"instances": [{"y": [1]}]}', b'{"instances": [{"x": [1]}, [1]]}',
        b'{"instances": [[1]], "inputs": [[1]]}', b'{"inputs": [[[1]]]}',
        b'{"inputs": ' + b"[" * 50 + b"1" + b"]" * 50 + b"}",
        b'{"signature_name": 5, "instances": [[1]]}',
        b'{"signature_name": "a\\nb\\u0000", "instances": [[1]]}',
        b'{"signature_name": "' + "é".encode() * 9000 + b'", "instances": [[1]]}',
        b'{"signature_name": "image", "instances": ["\\ud800"]}',
        b'{"signature_name": "image", "instances": [{"b64": "A=A="}]}',
        b'{"signature_name": "image", "instances": [{"b64": 1}]}',
        b'{"signature_name": "image", "instances": ["bad: patient Doe"]}',
        b'{"signature_name": "total", "inputs": [1, 2, 3, 4]}',
        b'{"signature_name": "total", "inputs": [1, 2, 1e2]}',
        b'{"signature_name": "add", "inputs": {"a": [[1, 2], [3, 4]], "b": 5}}',
        b'{"signature_name": "image", "instances": ' + json.dumps(
            [""] * 101).encode() + b"}",
    ],
)  # fmt: skip
def test_bodies(rest, body):
    response = rest.post(PREDICT, content=body)
    assert response.status_code == 400
    assert is_sentence(response.json()["error"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404), ("GET", "//", 404), ("GET", "/v1/models", 404),
        ("GET", "/v1/models/none", 404), ("GET", "/v1/models/%00%ff", 404),
        ("GET", "/v1/models/%2e%2e%2f%2e%2e", 404), ("GET", "/v1/models/toy/x", 404),
        ("GET", "/v1/models/toy/", 404),
        ("GET", "/" + "x" * 9000, 404), ("GET", "/v1/models/toy/versions/7", 404),
        ("GET", "/v1/models/toy/versions/-1", 400),
        ("GET", "/v1/models/toy/versions/" + "9" * 5000, 400),
        ("GET", "/v1/models/toy/versions/\u0663", 400),
        ("GET", "/v1/models/toy/labels/none", 400),
        ("GET", "/v1/models/none/metadata", 404),
        ("POST", "/v1/models/none:predict", 404),
        ("POST", "/v1/models/toy/versions/9:predict", 404),
        ("POST", "/v1/models/toy:classify", 501), ("POST", "/v1/models/toy:x", 501),
        ("PUT", PREDICT, 405), ("DELETE", "/v1/models/toy", 405), ("FOO", "/v1", 404),
        ("OPTIONS", PREDICT, 405),
    ],
)  # fmt: skip
def test_paths(rest, method, path, status):
    response = rest.request(method, path, content=BODY)
    assert response.status_code == status
    assert is_sentence(response.json()["error"])


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        # An empty status: the connection is closed without an answer.
        (b"\xff" * 300, [b""]),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(64), [b"400"]),
        (PREFACE, [b"401"]),
        (b"GET " + bytes(20) + b" HTTP/1.1\r\n\r\n", [b"400"]),
        (HEAD + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n", [b"400", b"431", b""]),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\n", [b"400"]),
        (HEAD + b"Content-Length: -5\r\n\r\n", [b"400"]),
        (HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", [b"400", b"413"]),
        (HEAD + b"Content-Length: 1000001\r\n\r\n", [b"413"]),
        (HEAD + b"Content-Length: 9\r\n\r\n{}", [b"408"]),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", [b"400", b"499", b""]),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [b"400"]),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", [b"400"]),
        (HEAD + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}", [b"415"]),
        (HEAD + b"No colon here\r\n\r\n", [b"400"]),
        (HEAD + b"X-\0: 1\r\n\r\n", [b"400"]),
        (HEAD[:30], [b""]),
        (b"", [b""]),
    ],
)
def test_connections(server, rest, sent, statuses):
    place = urlsplit(server["http"])
    address = place.hostname, place.port
    with socket.create_connection(address, timeout=20) as connection:
        try:
            connection.sendall(sent)
            answer = connection.recv(1 << 16)
        except ConnectionError:  # it was closed before all was sent
            answer = b""
    assert (answer.split()[1] if answer else b"") in statuses


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", bytes(1000), b"\x0b" * 3000, b"",
        make_request(x=[[1.0]]).SerializeToString()[:-3],
    ],
)  # fmt: skip
def test_messages(call, data):
    for method in ("Predict", "GetModelMetadata"):
        code, message = call(data, method)
        assert code == "INVALID_ARGUMENT" and is_sentence(message)
    assert call(data, "GetModelStatus", "/tensorflow.serving.ModelService/")[0] == code
    assert call(data, "Other")[0] == "UNIMPLEMENTED"


def tensor(sizes, dtype=1, **fields):
    proto = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in sizes:
        proto.tensor_shape.dim.add().size = size
    return proto


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "INVALID_ARGUMENT"),
        ({"name": "other", "x": [[1.0]]}, "NOT_FOUND"),
        ({"name": "a\nb\0" + "é" * 5000, "x": [[1.0]]}, "NOT_FOUND"),
        ({"signature": "x" * 100_000, "x": [[1.0]]}, "FAILED_PRECONDITION"),
        ({"x": [["a"]]}, "INVALID_ARGUMENT"),
        ({"x": [[[1.0]]]}, "INVALID_ARGUMENT"),
        ({"z": [[1.0]]}, "INVALID_ARGUMENT"),
        ({"x": [[1.0]], "z\n": [[1.0]]}, "INVALID_ARGUMENT"),
        ({"signature": "image", "image_bytes": ["bad"]}, "INVALID_ARGUMENT"),
        ({"x": tensor([1, 3], tensor_content=b"short")}, "INVALID_ARGUMENT"),
        ({"x": tensor([1 << 40, 1 << 40], float_val=[1])}, "INVALID_ARGUMENT"),
        ({"x": tensor([1 << 28], float_val=[1])}, "INVALID_ARGUMENT"),
        ({"x": tensor([1 << 60, 0])}, "INVALID_ARGUMENT"),
        ({"x": tensor([-5, 1], float_val=[1])}, "INVALID_ARGUMENT"),
        ({"x": tensor([1, 1], dtype=20)}, "INVALID_ARGUMENT"),
        ({"x": tensor([1, 1], dtype=4321)}, "INVALID_ARGUMENT"),
        ({"x": tensor([1] * 5000, float_val=[1])}, "INVALID_ARGUMENT"),
        ({"x": tensor_pb2.TensorProto()}, "INVALID_ARGUMENT"),
        ({"x": np.zeros((1, 300_000), np.float32)}, "RESOURCE_EXHAUSTED"),
    ],
)
def test_predict_requests(call, fields, code):
    found, message = call(make_request(**fields).SerializeToString())
    assert found == code and is_sentence(message)


def test_what_is_no_http_2(server, call):
    def frame(kind, flags, stream, payload):
        head = struct.pack(">I", len(payload))[1:]
        return head + struct.pack(">BBI", kind, flags, stream) + payload

    place = urlsplit(server["grpc"])
    for sent in (
        b"\xff" * 3000,
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        PREFACE + b"\xff" * 3000,
        PREFACE + frame(1, 4, 1, b"\xff" * 30),
        PREFACE + frame(6, 0, 0, bytes(8)) * 500,
        PREFACE + frame(3, 0, 1, bytes(4)) * 500,
        PREFACE + frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    ):
        address = place.hostname, place.port
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(address, timeout=20) as connection,
        ):
            connection.sendall(sent)
