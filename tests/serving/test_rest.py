"""The REST API over a small core that computes y = x / 2 + 2.

Cases "of TF Serving" are those of tensorflow_serving/g3doc/api_rest.md and of
model_servers/http_rest_api_handler_test.cc and http_rest_api_util_test.cc.
"""

import asyncio
import base64
import gzip
import json
import logging
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import grpc
import httpx
import numpy as np
import pytest
import uvicorn
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from keras_mscam.serving import rest
from keras_mscam.serving.errors import ServingError
from keras_mscam.serving.rest import build_app
from keras_mscam.serving.rest_paths import Resource, parse_path

NAME = "half_plus_two"
PREDICT = f"/v1/models/{NAME}:predict"
METRICS = "/monitoring/prometheus/metrics"


class HalfPlusTwo:
    """Version 123, labelled `Version_Label`, as in TF Serving's test."""

    def __init__(self):
        self.cancelled = threading.Event()
        self.asked = threading.Event()
        self.error = None
        self.seconds = 0
        self.requests = []

    def _find(self, name, version, label):
        if label not in (None, "Version_Label"):
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Unrecognized servable version label: {label}",
            )
        if name != NAME or version not in (None, 123):
            raise ServingError(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found for request: Latest({name})",
            )

    def get_input_specs(self, name, version, label, signature):
        self._find(name, version, label)
        dtypes = {"": {"x": "float32"}, "image": {"image_bytes": "string"}}
        if signature not in dtypes:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f'Serving signature name: "{signature}" not found in signature def',
            )
        return {
            key: SimpleNamespace(dtype=SimpleNamespace(name=value), shape=(None,))
            for key, value in dtypes[signature].items()
        }

    def get_states(self, name, version, label):
        self._find(name, version, label)
        return [
            SimpleNamespace(
                version=123, state="AVAILABLE", error_code=0, error_message=""
            )
        ]

    def get_signatures(self, name, version, label):
        self._find(name, version, label)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        signature = signatures.signature_def["serving_default"]
        signature.method_name = "tensorflow/serving/predict"
        for key, infos in (("x", signature.inputs), ("y", signature.outputs)):
            infos[key].name = f"{key}:0"
            infos[key].dtype = 1  # DT_FLOAT
            infos[key].tensor_shape.dim.add().size = -1
            infos[key].tensor_shape.dim.add().size = 1
        return 123, signatures

    async def predict(
        self,
        name,
        *,
        version=None,
        label=None,
        signature="",
        inputs,
        output_filter=(),
        timeout=None,
    ):
        self._find(name, version, label)
        self.requests.append((signature, inputs, timeout))
        self.asked.set()
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error:
            raise self.error
        outputs = (
            {"y": inputs["x"] / 2 + 2}
            if "x" in inputs
            else {
                "size": np.array([len(b) for b in inputs["image_bytes"]], np.int32),
                "copy_bytes": inputs["image_bytes"],
            }
        )
        return SimpleNamespace(version=123, signature=signature, outputs=outputs)


class Metrics:
    def __init__(self):
        self.codes = []

    def count_request(self, name, signature, code, seconds):
        self.codes.append(code.name)

    def render(self):
        return b"# TYPE a counter\na 1\n", "text/plain; version=0.0.4; charset=utf-8"


def make_app(core=None, token=None, most_bytes=1 << 20, timeout=30.0, metrics=None):
    return build_app(
        core or HalfPlusTwo(),
        metrics or Metrics(),
        token=token,
        max_request_bytes=most_bytes,
        timeout=timeout,
    )


class Client:
    """Ask an application within this process, one event loop a request."""

    def __init__(self, app):
        self.transport = httpx.ASGITransport(app)

    def request(self, method, path, **content):
        async def ask():
            async with httpx.AsyncClient(
                transport=self.transport, base_url="http://server"
            ) as client:
                return await client.request(method, path, **content)

        return asyncio.run(ask())

    def get(self, path, **content):
        return self.request("GET", path, **content)

    def post(self, path, **content):
        return self.request("POST", path, **content)


@pytest.fixture
def core():
    return HalfPlusTwo()


@pytest.fixture
def client(core):
    return Client(make_app(core))


def get_error(response, status):
    """Return the sentence of a refusal."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    message = response.json()["error"]
    assert message and "Traceback" not in message
    return message


RESERVED = "modelname%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"
UNRESERVED = "modelname!#$%&'()*+,/:;=?@[]"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        # TestParseModelInfoForGet and ForPost of TF Serving.
        ("GET", f"/v1/models/{RESERVED}", (UNRESERVED, None, None, "status")),
        ("GET", "/v1/models/m/versions/99", ("m", 99, None, "status")),
        ("GET", "/v1/models/m/labels/latest", ("m", None, "latest", "status")),
        ("GET", f"/v1/models/m/labels/{RESERVED}", ("m", None, UNRESERVED, "status")),
        ("GET", "/v1/models/m/labels/l/metadata", ("m", None, "l", "metadata")),
        ("POST", f"/v1/models/{RESERVED}:predict", (UNRESERVED, None, None, "predict")),
        ("POST", "/v1/models/m/versions/9:predict", ("m", 9, None, "predict")),
        ("POST", "/v1/models/m/labels/l:classify", ("m", None, "l", "classify")),
        ("POST", "/V1/Models/m:regress", ("m", None, None, "regress")),
        # A query is part of the name there.
        ("GET", "/v1/models/m?a=b", ("m?a=b", None, None, "status")),
        ("GET", "/v1/models/m/METADATA", ("m", None, None, "status")),
        ("GET", "/v1/models/%ff%00%zz", ("\ufffd\0%zz", None, None, "status")),
    ],
)
def test_paths(method, path, expected):
    assert parse_path(method, path) == Resource(*expected)


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        # UnsupportedApiCalls of TF Serving.
        ("GET", "/v1/foo", "Malformed request: GET /v1/foo"),
        ("POST", "/v1/foo", "Malformed request: POST /v1/foo"),
        ("GET", "/v1/models", "Missing model name"),
        ("GET", "/v1/models/debug/model_name", "Malformed request"),
        ("POST", "/v1/models", "Malformed request"),
        ("GET", "/v1/models/foo:predict", "Malformed request"),
        ("GET", "/v1/models/foo/version/50:predict", "Malformed request"),
        ("POST", "/v1/models/foo/version/50:regress", "Malformed request"),
        ("POST", "/v1/models/foo/versions/HELLO:regress", "Malformed request"),
        ("POST", f"/v1/models/foo/versions/{2**64 - 1}:regress", "Failed to convert"),
        ("POST", f"/v1/models/foo/versions/{2**63}:predict", "Failed to convert"),
        ("GET", f"/v1/models/foo/versions/{'9' * 9000}", "Failed to convert version"),
        ("POST", "/v1/models/foo/metadata", "Malformed request"),
        ("POST", "/v1/models/foo/label/some_label:regress", "Malformed request"),
        ("POST", "/v1/models/foo/versions/5/labels/a:regress", "Malformed request"),
        # And of what its dispatcher does with the rest.
        ("PUT", "/v1/models/foo:predict", "Malformed request: PUT"),
        ("DELETE", "/v1/models/foo", "Malformed request: DELETE"),
        ("POST", "/v1/models/foo:PREDICT", "Malformed request"),
        ("POST", "/v1/models/foo:predict?a=b", "Malformed request"),
        ("POST", "/v1/models/foo/versions/\u0663:predict", "Malformed request"),
        ("GET", "/v1/models/" + "a/" * 5000, "Malformed request"),
        ("GET", "/v1/models/versions/3", "Missing model name"),
    ],
)
def test_wrong_paths(client, method, path, message):
    with pytest.raises(ServingError) as raised:
        parse_path(method, path)
    assert raised.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert message in raised.value.message and len(raised.value.message) < 300
    assert message in get_error(client.request(method, path), 400)


def test_other_paths(client):
    for path in ("/", "/v1", "/v2/models", "/statuspage", "/%0a", "/" + "x" * 9000):
        assert len(get_error(client.get(path), 404)) < 300


def test_rows(client):
    # Of TF Serving: Predict, and the example of docker.md.
    rows = {"instances": [[1.0, 2.0], [3.0, 4.0]]}
    response = client.post(PREDICT, json=rows)
    assert response.json() == {"predictions": [[2.5, 3.0], [3.5, 4.0]]}
    assert response.headers["content-type"] == "application/json"
    response = client.post(PREDICT, content=b'{"instances": [1.0, 2.0, 5.0]}')
    assert response.json() == {"predictions": [2.5, 3.0, 4.5]}
    assert response.status_code == 200


@pytest.mark.parametrize("part", ["/versions/123", "/labels/Version_Label", ""])
def test_columns_of_a_version(client, part):
    path = f"/v1/models/{NAME}{part}:predict"
    response = client.post(path, json={"inputs": [2.0, 3.0, 4.0]})
    # testPredictColumnarREST of TF Serving's tensorflow_model_server_test.py.
    assert response.json() == {"outputs": [3.0, 3.5, 4.0]}


def test_a_signature_with_bytes(client, core):
    image = bytes(range(256))
    text = base64.b64encode(image).decode()
    request = {"signature_name": "image", "instances": [{"b64": text}, {"b64": ""}]}
    predictions = client.post(PREDICT, json=request).json()["predictions"]
    assert predictions[0] == {"size": 256, "copy_bytes": {"b64": text}}
    assert predictions[1] == {"size": 0, "copy_bytes": {"b64": ""}}
    signature, inputs, timeout = core.requests[0]
    assert (signature, timeout) == ("image", 30)
    assert inputs["image_bytes"].tolist() == [image, b""]


def test_nan_and_infinity_both_ways(client):
    response = client.post(PREDICT, content=b'{"instances": [NaN, -Infinity]}')
    assert response.content == b'{"predictions":[NaN,-Infinity]}'


@pytest.mark.parametrize("part", ["", "/versions/123", "/labels/Version_Label"])
def test_status(client, part):
    # GetStatus of TF Serving, and "Model status API" of api_rest.md.
    response = client.get(f"/v1/models/{NAME}{part}")
    assert response.json() == {
        "model_version_status": [
            {
                "version": "123",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    assert response.headers["content-type"] == "application/json"


def test_states_of_a_version_that_failed(client, core):
    core.get_states = lambda *_: [
        SimpleNamespace(version=2, state="END", error_code=5, error_message="No file."),
        SimpleNamespace(version=1, state="LOADING", error_code=0, error_message=""),
    ]
    first, second = client.get(f"/v1/models/{NAME}").json()["model_version_status"]
    assert first["state"] == "END" and second["state"] == "LOADING"
    # 5 is NOT_FOUND among the canonical codes.
    assert first["status"] == {"error_code": "NOT_FOUND", "error_message": "No file."}


@pytest.mark.parametrize("part", ["", "/versions/123", "/labels/Version_Label"])
def test_metadata(client, part):
    # In the form of testdata/half_plus_two_model_metadata.json of TF Serving.
    def describe(name):
        dims = [{"size": "-1", "name": ""}, {"size": "1", "name": ""}]
        shape = {"dim": dims, "unknown_rank": False}
        return {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": f"{name}:0"}

    response = client.get(f"/v1/models/{NAME}{part}/metadata")
    signature = {
        "inputs": {"x": describe("x")},
        "outputs": {"y": describe("y")},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    assert response.json() == {
        "model_spec": {"name": NAME, "signature_name": "", "version": "123"},
        "metadata": {
            "signature_def": {"signature_def": {"serving_default": signature}}
        },
    }


def test_metadata_shows_every_field():
    # Those of a TF Serving of the TensorFlow that this is tested with.
    fields = meta_graph_pb2.SignatureDef.DESCRIPTOR.fields_by_name
    assert set(fields) == {"inputs", "outputs", "method_name", "defaults"}


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        # PredictModelNameVersionErrors and PredictRequestErrors of TF Serving.
        ("/v1/models/foo:predict", 404, "Servable not found for request: Latest(foo)"),
        ("/v1/models/foo/versions/50:predict", 404, "Servable not found"),
        (f"/v1/models/{NAME}/versions/99:predict", 404, "Servable not found"),
        (
            f"/v1/models/{NAME}/labels/Version_Nonexistent:predict",
            400,
            "Unrecognized servable version label",
        ),
        (f"/v1/models/{NAME}:classify", 501, "does not classify"),
        (f"/v1/models/{NAME}:regress", 501, "does not regress"),
    ],
)
def test_unknown_models(client, path, status, message):
    assert message in get_error(client.post(path, json={"instances": [1]}), status)


def test_unknown_models_have_no_status_and_no_metadata(client):
    for path in ("/v1/models/foo", "/v1/models/foo/metadata"):
        assert "foo" in get_error(client.get(path), 404)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # PredictRequestErrors of TF Serving.
        (b"", "JSON Parse error: The document is empty"),
        (b"instances = [1, 2]", "JSON Parse error: Invalid value"),
        (b'{"instances": ["x", "y"]}', "not of expected type: float"),
        (b'{"signature_name": 100}', "'signature_name' key must be a string value."),
        (
            b'{"signature_name": "foo", "instances": [1]}',
            '"foo" not found in signature',
        ),
        (b'{"instances": [1], "inputs": [1]}', "Not formatted correctly"),
        (b'{"signature_name": "\\ud800", "instances": [1]}', "characters that no name"),
        (b'{"\\ud800": 1, "\\ud800": 1}', '"\\ud800" twice'),
        (b'{"instances": ' + b"[" * 100_000, "nested more than 64 levels"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b'{"instances": [1e999]}', "too big"),
    ],
)
def test_wrong_bodies(client, body, message):
    assert message in get_error(client.post(PREDICT, content=body), 400)


def test_a_wrong_body_is_found_before_a_wrong_model(client):
    response = client.post("/v1/models/foo:predict", content=b"")
    assert "document is empty" in get_error(response, 400)


def test_a_message_is_escaped(client, core):
    # StatusError of json_tensor_test.cc.
    core.error = ServingError(grpc.StatusCode.INVALID_ARGUMENT, 'Bad key: "key"')
    response = client.post(PREDICT, json={"instances": [1]})
    assert get_error(response, 400) == 'Bad key: "key"'


@pytest.mark.parametrize(
    ("code", "status"),
    [
        # ToHTTPStatusCode of TF Serving's http_server.cc.
        ("CANCELLED", 499),
        ("UNKNOWN", 500),
        ("INVALID_ARGUMENT", 400),
        ("DEADLINE_EXCEEDED", 504),
        ("NOT_FOUND", 404),
        ("ALREADY_EXISTS", 409),
        ("PERMISSION_DENIED", 403),
        ("RESOURCE_EXHAUSTED", 429),
        ("FAILED_PRECONDITION", 400),
        ("ABORTED", 409),
        ("OUT_OF_RANGE", 400),
        ("UNIMPLEMENTED", 501),
        ("INTERNAL", 500),
        ("UNAVAILABLE", 503),
        ("DATA_LOSS", 500),
        ("UNAUTHENTICATED", 401),
    ],
)
def test_codes(client, core, code, status):
    core.error = ServingError(grpc.StatusCode[code], "Said so.")
    response = client.post(PREDICT, json={"instances": [1]})
    assert get_error(response, status) == "Said so."


@pytest.mark.parametrize(
    "place", ["predict", "get_input_specs", "get_states", "render"]
)
def test_a_defect_shows_nothing_of_itself(client, core, caplog, monkeypatch, place):
    def fail(*_, **__):
        raise RuntimeError("a secret of /etc")

    # A server's own set-up of logs may keep them from the root.
    monkeypatch.setattr(rest._log, "handlers", [caplog.handler])
    monkeypatch.setattr(Metrics if place == "render" else core, place, fail)
    with caplog.at_level(logging.ERROR):
        if place in ("get_states", "render"):
            path = METRICS if place == "render" else f"/v1/models/{NAME}"
            response = client.get(path)
        else:
            response = client.post(PREDICT, json={"instances": [1]})
    message = get_error(response, 500)
    assert "secret" not in message and "log" in message
    assert "a secret of /etc" in caplog.text


def test_refused_requests_are_counted(core):
    metrics = Metrics()
    client = Client(make_app(core, most_bytes=100, metrics=metrics))
    client.post(PREDICT, content=b"{")
    client.post("/v1/models/foo:predict", json={"instances": [1]})
    client.post(PREDICT, content=b" " * 101)
    # The core counts the last one, which it gets to see.
    client.post(PREDICT, json={"instances": [1]})
    assert metrics.codes == ["INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE"]


def test_metrics(client):
    # testPrometheusEndpoint of TF Serving.
    response = client.get(METRICS)
    assert "# TYPE" in response.text
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_preflight(client):
    # Without CORS, TF Serving answers preflights, but allows no other origin.
    response = client.request(
        "OPTIONS", PREDICT, headers={"Origin": "https://example.org"}
    )
    assert response.status_code == 200 and response.content == b""
    assert not [name for name in response.headers if "access-control" in name]
    assert "Origin header is missing" in get_error(
        client.request("OPTIONS", PREDICT), 400
    )


# Who may ask.


def test_token(core):
    client = Client(make_app(core, token="s3cret"))
    good = {"Authorization": "Bearer s3cret"}
    for path in (f"/v1/models/{NAME}", METRICS):
        assert client.get(path, headers=good).status_code == 200
        assert client.get(path, headers={"Authorization": "bearer s3cret"}).is_success
        for header in (
            b"",
            b"Bearer",
            b"Bearer ",
            b"Bearer s3cre",
            b"Bearer s3cret2",
            b"Basic s3cret",
            b"s3cret",
            b"Bearer \xff\xb5",
            b"\xff\xb5 s3cret",
        ):
            response = client.get(path, headers={"Authorization": header})
            assert "token" in get_error(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
        get_error(client.get(path), 401)
    assert client.post(PREDICT, json={"instances": [1]}, headers=good).is_success
    get_error(client.post(PREDICT, json={"instances": [1]}), 401)
    # Probes of Kubernetes know no secrets, and this path tells none.
    assert client.get("/healthz").status_code == 200
    get_error(client.get("/healthz/x"), 401)


def test_the_body_of_a_stranger_is_not_read():
    async def receive():
        raise AssertionError("the body was read")

    status, _ = ask(make_app(token="s3cret"), "POST", PREDICT, receive)
    assert status == 401


# Bodies.


def ask(app, method, path, receive, headers=()):
    """Ask an ASGI application; return the status and the answer."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
        "root_path": "",
    }
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(scope, receive, send), 20))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], body


def test_a_streamed_body_ends_at_the_limit():
    read = 0

    async def receive():
        nonlocal read
        read += 1000
        return {"type": "http.request", "body": b" " * 1000, "more_body": True}

    status, body = ask(make_app(most_bytes=10_000), "POST", PREDICT, receive)
    assert status == 413 and b"larger than 10000 bytes" in body
    assert read == 11_000


def test_a_large_length_is_refused_at_once():
    async def receive():
        raise AssertionError("the body was read")

    for length in (b"10001", b"9" * 5000):
        header = (b"content-length", length)
        app = make_app(most_bytes=10_000)
        status, _ = ask(app, "POST", PREDICT, receive, [header])
        assert status == 413


def test_a_body_of_just_the_limit(core):
    body = b'{"instances": [1]}'
    client = Client(make_app(core, most_bytes=len(body)))
    assert client.post(PREDICT, content=body).status_code == 200
    message = get_error(client.post(PREDICT, content=body + b" "), 413)
    assert f"larger than {len(body)} bytes" in message


def test_a_slow_body():
    async def receive():
        await asyncio.sleep(60)

    status, body = ask(make_app(timeout=0.05), "POST", PREDICT, receive)
    assert status == 408 and b"not there after 0.05 s" in body


def test_gzip(client):
    body = gzip.compress(b'{"instances": [1.0, 2.0, 5.0]}')
    headers = {"Content-Encoding": "gzip"}
    response = client.post(PREDICT, content=body, headers=headers)
    assert response.json() == {"predictions": [2.5, 3.0, 4.5]}
    for damaged in (b"{}", body[:-9], b"", b"\x1f\x8b" + b"\xff" * 100):
        response = client.post(PREDICT, content=damaged, headers=headers)
        assert "gzip" in get_error(response, 400)
    response = client.post(PREDICT, content=body, headers={"Content-Encoding": "br"})
    assert "use gzip" in get_error(response, 415)


def test_a_gzip_bomb(core):
    # 200 MB of blanks in 200 kB.
    bomb = gzip.compress(b" " * 200_000_000, compresslevel=1)
    assert len(bomb) < 1_000_000
    client = Client(make_app(core, most_bytes=2_000_000))
    start = time.perf_counter()
    headers = {"Content-Encoding": "gzip"}
    get_error(client.post(PREDICT, content=bomb, headers=headers), 413)
    assert time.perf_counter() - start < 2


def test_large_documents_are_parsed_beside_the_loop(client, monkeypatch):
    threads = {}

    def watch(name):
        function = getattr(rest, name)

        def run(*arguments):
            threads[name] = threading.current_thread().name
            return function(*arguments)

        monkeypatch.setattr(rest, name, run)

    watch("parse_object")
    watch("read_inputs")
    watch("write_outputs")
    response = client.post(PREDICT, json={"instances": [0.5] * 40_000})
    assert len(response.json()["predictions"]) == 40_000
    assert all(name.startswith("json") for name in threads.values())
    client.post(PREDICT, json={"instances": [0.5]})
    assert not any(name.startswith("json") for name in threads.values())


def test_random_requests_are_refused_with_a_sentence(client):
    generator = np.random.default_rng(0)
    for _ in range(200):
        body = generator.integers(0, 256, generator.integers(0, 3000), np.uint8)
        get_error(client.post(PREDICT, content=body.tobytes()), 400)


# Clients that go away.


def test_a_client_that_goes_away_ends_the_prediction(core):
    core.seconds = 60
    messages = [
        {"type": "http.request", "body": b'{"instances": [1]}', "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive():
        return messages.pop(0)

    status, _ = ask(make_app(core), "POST", PREDICT, receive)
    assert status == 499 and core.cancelled.is_set()


def test_a_client_that_goes_away_within_its_body(core):
    async def receive():
        return {"type": "http.disconnect"}

    status, _ = ask(make_app(core), "POST", PREDICT, receive)
    assert status == 499 and not core.requests


@contextmanager
def serve(app):
    """Serve at a free port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def exchange(address, request):
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(1 << 16):
            answer += chunk
    return answer


def test_over_a_socket(core):
    with serve(make_app(core, most_bytes=1000)) as address:
        body = b'{"instances": [1.0]}'
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode()
        answer = exchange(address, request + body)
        assert answer.startswith(b"HTTP/1.1 200") and b'{"predictions":[2.5]}' in answer
        chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
        answer = exchange(address, chunked + b"3e9\r\n" + b" " * 1001 + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 413")
        path = f"/v1/models/{RESERVED}?q"
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        answer = exchange(address, request.encode())
        assert answer.startswith(b"HTTP/1.1 404")
        assert json.dumps(UNRESERVED)[1:-1].encode() in answer
        core.seconds = 60
        with socket.create_connection(address) as connection:
            request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode()
            core.asked.clear()
            connection.sendall(request + body)
            assert core.asked.wait(10)
        assert core.cancelled.wait(10)
