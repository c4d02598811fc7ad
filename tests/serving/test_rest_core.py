"""REST over the real core, with a SavedModel that computes y = x / 2 + 2."""

import asyncio
import base64
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import tensorflow as tf
import uvicorn

from keras_mscam.serving.core import Core
from keras_mscam.serving.metrics import Metrics
from keras_mscam.serving.repository import ModelRepository, VersionPolicy
from keras_mscam.serving.rest import build_app

NAME = "half_plus_two"
PREDICT = f"/v1/models/{NAME}:predict"


def save(path, offset):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def add(x):
        return {"y": x / 2 + offset}

    @tf.function(
        input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")]
    )
    def measure(image_bytes):
        size = tf.strings.length(image_bytes)
        return {"size": size, "copy_bytes": image_bytes, "mean": size / 4}

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.int32, name="x")])
    def fail(x):
        tf.debugging.assert_positive(x, "x must be positive.")
        return {"y": x}

    module.add, module.measure, module.fail = add, measure, fail
    signatures = {"serving_default": add, "image": measure, "positive": fail}
    tf.saved_model.save(module, str(path), signatures)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / NAME
    save(folder / "123", 2.0)
    save(folder / "124", 3.0)
    (folder / "125").mkdir()
    (folder / "125" / "saved_model.pb").write_bytes(b"no model")
    repository = ModelRepository(
        {NAME: folder},
        ThreadPoolExecutor(1),
        VersionPolicy(latest=None),
        labels={"stable": 123},
    )
    asyncio.run(repository.refresh())
    metrics = Metrics()
    app = build_app(
        Core(repository, metrics),
        metrics,
        token=None,
        max_request_bytes=30_000_000,
        timeout=30.0,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=address, timeout=30) as client:
            yield client
        server.should_exit = True
        thread.join(10)


def get_error(response, status):
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    message = response.json()["error"]
    assert message and "Traceback" not in message and "\n" not in message
    return message


@pytest.mark.parametrize(
    ("part", "offset"),
    [("", 3), ("/versions/123", 2), ("/versions/124", 3), ("/labels/stable", 2)],
)
def test_predictions_of_each_version(client, part, offset):
    path = f"/v1/models/{NAME}{part}:predict"
    response = client.post(path, json={"instances": [1.0, 2.0, 5.0]})
    expected = [0.5 + offset, 1.0 + offset, 2.5 + offset]
    assert response.json() == {"predictions": expected}
    response = client.post(path, json={"inputs": {"x": [1.0, 2.0, 5.0]}})
    assert response.json() == {"outputs": expected}


def test_numbers_that_json_lacks(client):
    response = client.post(PREDICT, content=b'{"instances": [NaN, Infinity]}')
    assert response.content == b'{"predictions":[NaN,Infinity]}'


def test_bytes_come_back(client):
    image = bytes(range(256)) + b"\0"
    text = base64.b64encode(image).decode()
    request = {"signature_name": "image", "instances": [{"b64": text}, "ab"]}
    first, second = client.post(PREDICT, json=request).json()["predictions"]
    # 257 / 4 = 64.25.
    assert first == {"size": 257, "copy_bytes": {"b64": text}, "mean": 64.25}
    assert second == {"size": 2, "copy_bytes": {"b64": "YWI="}, "mean": 0.5}


def test_states(client):
    statuses = client.get(f"/v1/models/{NAME}").json()["model_version_status"]
    states = [(status["version"], status["state"]) for status in statuses]
    # The newest first, as TF Serving gives them.
    assert states == [("125", "END"), ("124", "AVAILABLE"), ("123", "AVAILABLE")]
    assert statuses[0]["status"]["error_code"] != "OK"
    assert statuses[0]["status"]["error_message"]
    for part in ("versions/123", "labels/stable"):
        answer = client.get(f"/v1/models/{NAME}/{part}").json()
        assert answer == {"model_version_status": [statuses[2]]}


def test_metadata(client):
    answer = client.get(f"/v1/models/{NAME}/labels/stable/metadata").json()
    spec = {"name": NAME, "signature_name": "", "version": "123"}
    assert answer["model_spec"] == spec
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "image", "positive"} <= set(signatures)
    signature = signatures["positive"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"]["dtype"] == "DT_INT32"
    shape = {
        "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
        "unknown_rank": False,
    }
    assert signature["inputs"]["x"]["tensor_shape"] == shape


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/foo:predict", 404, "Servable not found for request: Latest(foo)"),
        (f"/v1/models/{NAME}/versions/99:predict", 404, "Servable not found"),
        (f"/v1/models/{NAME}/versions/125:predict", 404, "Servable not found"),
        (f"/v1/models/{NAME}/labels/x:predict", 400, "Unrecognized servable version"),
    ],
)
def test_unknown_versions(client, path, status, message):
    assert message in get_error(client.post(path, json={"instances": [1.0]}), status)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("foo", 404),
        ("foo/metadata", 404),
        (f"{NAME}/versions/99", 404),
        (f"{NAME}/labels/x", 400),
        (f"{NAME}/versions/125/metadata", 404),
    ],
)
def test_what_is_not_known_has_no_status_and_no_metadata(client, path, status):
    get_error(client.get(f"/v1/models/{path}"), status)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"signature_name": "foo", "instances": [1]}, '"foo"'),
        ({"instances": [[1.0, 2.0]]}, "shape"),
        ({"inputs": 1.0}, "shape"),
        ({"instances": ["a"]}, "not of expected type: float"),
        ({"signature_name": "positive", "instances": [[1, 2, 3]]}, "shape"),
        # The graph refuses it. What it says is the core's to tell.
        ({"signature_name": "positive", "instances": [[1, -2]]}, ""),
        ({"signature_name": "image", "instances": [1]}, "expected type: string"),
    ],
)
def test_requests_that_do_not_fit_the_model(client, body, message):
    assert message in get_error(client.post(PREDICT, json=body), 400)


def test_an_empty_column(client):
    response = client.post(PREDICT, json={"inputs": {"x": []}})
    assert response.json() == {"outputs": []}


def test_hostile_requests_leave_the_server_as_it_was(client):
    generator = np.random.default_rng(0)
    bodies = [
        generator.integers(0, 256, 1_000_000, np.uint8).tobytes(),
        b'{"instances": ' + b"[" * 100_000,
        b'{"instances": [' + b"1," * 10_000_000 + b"1]}",
        b'{"instances": [1' + b"0" * 5000 + b"]}",
        b'{"instances": [1e999999999]}',
        b'{"signature_name": "image", "instances": [{"b64": "'
        + b"%" * 5_000_000
        + b'"}]}',
        b'{"signature_name": "image", "instances": ["\\ud800"]}',
        b'{"signature_name": "image", "instances": ["\xff"]}',
    ]
    for body in bodies:
        get_error(client.post(PREDICT, content=body), 400)
    get_error(client.post(PREDICT, content=b" " * 30_000_001), 413)
    answer = client.post(PREDICT, json={"instances": [1.0]}).json()
    assert answer == {"predictions": [3.5]}


def test_metrics(client):
    client.post(PREDICT, json={"instances": [1.0]})
    client.post(PREDICT, content=b"{")
    client.get("/v1/models/x")
    response = client.get("/monitoring/prometheus/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    counts = [line for line in lines if ":tensorflow:serving:request_count" in line]
    assert any(f'model_name="{NAME}"' in line and '"OK"' in line for line in counts)
    assert any('status="INVALID_ARGUMENT"' in line for line in counts)
