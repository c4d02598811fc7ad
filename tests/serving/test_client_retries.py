"""What a client does when a server does not answer as it should."""

import base64
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from keras_mscam.errors import UserError
from keras_mscam.serving import Client, ServiceError

from ..conftest import find_free_port

GOOD = (200, b'{"outputs": {"y": [1.5, NaN, Infinity]}}')
#: By protocol: what says that all is well, that it may pass, and that it won't.
ANSWERS = {
    "http": {
        "OK": GOOD,
        "RESOURCE_EXHAUSTED": (429, b'{"error": "Full."}'),
        "UNAVAILABLE": (503, b'{"error": "Draining."}'),
        "INVALID_ARGUMENT": (400, b'{"error": "Wrong\\nshape."}'),
        "INTERNAL": (500, b'{"error": "A defect."}'),
    },
    "grpc": {
        "OK": grpc.StatusCode.OK,
        "RESOURCE_EXHAUSTED": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
        "INVALID_ARGUMENT": grpc.StatusCode.INVALID_ARGUMENT,
        "INTERNAL": grpc.StatusCode.INTERNAL,
    },
}
PROTOCOLS = list(ANSWERS)


class HttpScript:
    """A server of HTTP that gives the answers of a list, the last one for ever."""

    def __init__(self, answers, port=0):
        self.requests = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                place = min(len(script.requests), len(answers) - 1)
                script.requests.append((self.path, dict(self.headers), body))
                status, content = answers[place]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,)).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class GrpcScript(prediction_service_pb2_grpc.PredictionServiceServicer):
    """As `HttpScript`, of gRPC."""

    def __init__(self, answers, port=0):
        self.answers, self.requests = answers, []
        self.server = grpc.server(ThreadPoolExecutor(2))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            self, self.server
        )
        port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.url = f"grpc://127.0.0.1:{port}"
        self.server.start()

    def Predict(self, request, context):  # noqa: N802  # named by gRPC
        code = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append(request)
        if code != grpc.StatusCode.OK:
            context.abort(code, "Two\nlines.")
        response = predict_pb2.PredictResponse()
        values = np.array([1.5, np.nan, np.inf], np.float32)
        response.outputs["y"].CopyFrom(tf.make_tensor_proto(values))
        return response

    def close(self):
        self.server.stop(None).wait()


@pytest.fixture
def serve():
    """Start a scripted server of a protocol; all are closed after the test."""
    servers = []

    def serve(protocol, *codes, port=0):
        kind = {"http": HttpScript, "grpc": GrpcScript}[protocol]
        servers.append(kind([ANSWERS[protocol][code] for code in codes], port))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def naps(monkeypatch):
    """What a client would sleep between its tries, at most; it does not."""
    seconds = []
    most = SimpleNamespace(uniform=lambda low, high: high)
    monkeypatch.setattr("tenacity.wait.random", most)
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=seconds.append))
    return seconds


def ask(url, **options):
    with Client(url, **options) as client:
        return client.call("f", x=np.zeros(1, np.float32))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_may_pass_is_tried_again(serve, naps, protocol):
    server = serve(protocol, "UNAVAILABLE", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "OK")
    found = ask(server.url)
    np.testing.assert_array_equal(found["y"], np.float32([1.5, np.nan, np.inf]))
    assert found["y"].dtype == np.float32
    assert len(server.requests) == 4
    assert naps == pytest.approx([0.1, 0.2, 0.4])  # twice as long each time


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tries_end(serve, naps, protocol):
    server = serve(protocol, "UNAVAILABLE")
    with pytest.raises(ServiceError) as error:
        ask(server.url, retries=2)
    assert (error.value.code, error.value.may_pass) == ("UNAVAILABLE", True)
    assert len(server.requests) == 3 and len(naps) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "INTERNAL"])
def test_what_will_not_pass_is_asked_once(serve, naps, protocol, code):
    server = serve(protocol, code, "OK")
    with pytest.raises(ServiceError) as error:
        ask(server.url)
    assert error.value.code == code
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(server.url.removeprefix("grpc://"))
    assert len(server.requests) == 1 and not naps


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_server_at_all(naps, protocol):
    url = f"{protocol}://127.0.0.1:{find_free_port()}"
    with pytest.raises(ServiceError, match=url.removeprefix("grpc://")) as error:
        ask(url, retries=3)
    assert (error.value.code, error.value.may_pass) == ("UNAVAILABLE", True)
    assert len(naps) == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_starts_meanwhile_is_found(serve, monkeypatch, protocol):
    """Tries come after 0, 0.1, 0.3, 0.7 s and so on; gRPC's own pause would be 1 s."""
    most = SimpleNamespace(uniform=lambda low, high: high)
    monkeypatch.setattr("tenacity.wait.random", most)
    port = find_free_port()
    start = threading.Timer(0.2, serve, (protocol, "OK"), {"port": port})
    start.start()
    assert ask(f"{protocol}://127.0.0.1:{port}", retries=6)["y"].shape == (3,)
    start.join()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_says_nothing(naps, protocol):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{protocol}://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ServiceError) as error:
            ask(url, timeout=0.3)
        seconds = time.monotonic() - start
    assert (error.value.code, error.value.may_pass) == ("DEADLINE_EXCEEDED", False)
    assert 0.25 < seconds < 5 and not naps


@pytest.mark.parametrize(
    ("status", "content", "code", "message"),
    [
        (502, b"<html>", "UNAVAILABLE", "answered 502 without JSON"),
        (401, b"", "UNAUTHENTICATED", "answered 401 without JSON"),
        (200, b"Hello", "INTERNAL", "is it a model server"),
        (200, b"[]", "INTERNAL", "no outputs by name, but none"),
        (200, b'{"predictions": [1]}', "INTERNAL", "no outputs by name, but none"),
        (200, b'{"outputs": [1]}', "INTERNAL", "but one without its name"),
        (404, b'["odd"]', "NOT_FOUND", r"answered 404: \['odd'\]"),
    ],
)
def test_what_is_no_model_server(naps, status, content, code, message):
    server = HttpScript([(status, content)])
    try:
        with pytest.raises(ServiceError, match=message) as error:
            ask(server.url, retries=1)
    finally:
        server.close()
    assert error.value.code == code
    assert len(server.requests) == (2 if code == "UNAVAILABLE" else 1)


def test_what_rest_sends(serve):
    server = serve("http", "OK")
    with Client(
        f"{server.url}/proxy/", name="a b", label="x/y", token="secret"
    ) as client:
        client.call(
            "f",
            numbers=np.array([1, 2], np.int32),
            floats=np.array([[0.1, np.nan], [-np.inf, 1]], np.float32),
            texts=np.array(["ä", "b"]),
            files=[b"a\0", b"\xff\0\0"],  # NumPy drops zeros at the end of bytes
            table=np.array([[b"a", b""], [b"b", b"c\0"]], object),
            flags=np.array([True, False]),
            one=np.float32(0.5),
        )
    ((path, headers, body),) = server.requests
    assert path == "/proxy/v1/models/a%20b/labels/x%2Fy:predict"
    assert headers["Authorization"] == "Bearer secret"
    content = json.loads(body)
    inputs = content.pop("inputs")
    assert content == {"signature_name": "f"}
    assert inputs["numbers"] == [1, 2]
    sent = np.array(inputs["floats"], np.float32)
    expected = np.array([[0.1, np.nan], [-np.inf, 1]], np.float32)
    np.testing.assert_array_equal(sent, expected)
    assert inputs["texts"] == ["ä", "b"]
    encode = [base64.b64encode(file).decode() for file in (b"a\0", b"\xff\0\0")]
    assert inputs["files"] == [{"b64": text} for text in encode]
    assert inputs["table"][1][1] == {"b64": base64.b64encode(b"c\0").decode()}
    assert inputs["flags"] == [True, False] and inputs["one"] == 0.5


def test_what_grpc_sends(serve):
    server = serve("grpc", "OK")
    with Client(server.url, name="a b", version=3) as client:
        client.call("f", files=[b"a\0"], floats=np.array([[1.5]], np.float32))
    (request,) = server.requests
    assert (request.model_spec.name, request.model_spec.version.value) == ("a b", 3)
    assert request.model_spec.signature_name == "f"
    assert list(request.inputs["files"].string_val) == [b"a\0"]
    assert tf.make_ndarray(request.inputs["floats"]).tolist() == [[1.5]]


def test_what_can_not_be_read_is_not_sent(tmp_path, naps):
    """No server is asked for images that no server would see."""
    path = tmp_path / "missing.png"
    with Client("http://127.0.0.1:9") as client:
        with pytest.raises(UserError, match=r"missing\.png cannot be opened"):
            client.predict(path)
        errors = [p.error for p in client.predict_batch([path, np.zeros((2, 2))])]
        assert errors[0].startswith("cannot be opened") and "float64" in errors[1]
        assert client.predict_batch([]) == []
    assert not naps


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8501", "localhost", "ftp://host:1", "http://", "http://:8501", "",
        "http://host:port", "http://host:99999", "http://host:0", "http://[::1",
        "http://a b:8501", "grpc://host:8500/v1", "grpc://", "http://host:1?x=1",
    ],
)  # fmt: skip
def test_what_is_no_address(url):
    with pytest.raises(UserError, match="no address of a server") as error:
        Client(url)
    assert not isinstance(error.value, ServiceError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 1, "label": "stable"}, "a version or a label"),
        ({"token": "two\nlines"}, "visible ASCII"),
        ({"token": "schön"}, "visible ASCII"),
        ({"timeout": 0}, "must be positive"),
        ({"timeout": float("nan")}, "must be positive"),
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_wrong_arguments(protocol, options, message):
    with pytest.raises(UserError, match=message):
        Client(f"{protocol}://127.0.0.1:9", **options)
