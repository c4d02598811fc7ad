"""The server as a whole: both protocols, its start and its end."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from keras_mscam.cli import serve
from keras_mscam.errors import UserError
from keras_mscam.serving.core import Core
from keras_mscam.serving.metrics import Metrics
from keras_mscam.serving.options import parse_labels, parse_versions, read_token
from keras_mscam.serving.repository import ModelRepository
from keras_mscam.serving.server import ServerOptions, run_server
from keras_mscam.serving.version_folders import find_models
from keras_mscam.serving.versions import VersionPolicy

PREDICT = "/v1/models/toy:predict"


def make(signature="", **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def connect(url, **options):
    channel = grpc.aio.insecure_channel(url.removeprefix("grpc://"), **options)
    return channel, prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def run(model_repository):
    """Run a server and a test in one event loop; end it with SIGTERM after the test."""

    def run(test, number=signal.SIGTERM, models=None, **options):
        options = {"rest_port": 0, "grpc_port": 0, "poll_interval": 0.05} | options

        async def main():
            repository = ModelRepository(
                find_models(models or model_repository), ThreadPoolExecutor(1)
            )
            core = Core(repository, Metrics())
            tasks = []

            def announce(rest, grpc_):
                tasks.append(asyncio.create_task(end(rest, grpc_)))

            async def end(rest, grpc_):
                try:
                    return await test(core, rest, grpc_)
                finally:
                    os.kill(os.getpid(), number)

            async with asyncio.timeout(60):
                clean = await run_server(core, ServerOptions(**options), announce)
            core.executor.shutdown(wait=False)
            return clean, [await task for task in tasks]

        return asyncio.run(main())

    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_protocols(run, number):
    async def test(core, rest, grpc_):
        async with httpx.AsyncClient(base_url=rest) as client:
            answer = await client.post(PREDICT, json={"instances": [[1.0], [2.0]]})
            assert [row["y"] for row in answer.json()["predictions"]] == [[2], [4]]
            page = (await client.get("/monitoring/prometheus/metrics")).text
            assert ":tensorflow:serving:request_count{" in page
        channel, stub = connect(grpc_)
        async with channel:
            answer = await stub.Predict(make(x=[[1.0], [2.0]]))
        assert list(answer.outputs["y"].float_val) == [2, 4]
        return "passed"

    assert run(test, number) == (True, ["passed"])


def test_new_versions_are_found(run, model_repository, make_version):
    async def test(core, rest, grpc_):
        await asyncio.to_thread(make_version, model_repository / "toy", 2, 3)
        async with httpx.AsyncClient(base_url=rest) as client:
            while core.repository.list_available() != {"toy": [2]}:
                await asyncio.sleep(0.01)
            answer = await client.post(PREDICT, json={"instances": [[1.0]]})
            assert answer.json()["predictions"][0]["y"] == [3]
        return "passed"

    assert run(test) == (True, ["passed"])


def test_a_token_for_both(run):
    async def test(core, rest, grpc_):
        body = {"instances": [[1.0]]}
        channel, stub = connect(grpc_)
        async with httpx.AsyncClient(base_url=rest) as client, channel:
            assert (await client.post(PREDICT, json=body)).status_code == 401
            with pytest.raises(grpc.RpcError) as error:
                await stub.Predict(make(x=[[1.0]]))
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
            headers = {"authorization": "Bearer secret"}
            answer = await client.post(PREDICT, json=body, headers=headers)
            assert answer.status_code == 200
            await stub.Predict(make(x=[[1.0]]), metadata=tuple(headers.items()))
        return "passed"

    assert run(test, token="secret") == (True, ["passed"])


def test_what_is_in_flight_at_the_end_is_answered(run):
    """SIGTERM comes while two requests wait for the thread of the graphs."""
    results = []

    async def test(core, rest, grpc_):
        go_on = threading.Event()
        core.executor.submit(go_on.wait, 30)
        client = httpx.AsyncClient(base_url=rest, timeout=30)
        channel, stub = connect(grpc_)
        calls = [
            asyncio.ensure_future(client.post(PREDICT, json={"instances": [[1.0]]})),
            asyncio.ensure_future(stub.Predict(make(x=[[1.0]]))),
        ]
        while core.in_flight < 2:
            await asyncio.sleep(0.01)

        async def check():
            await asyncio.sleep(0.3)  # the server ends meanwhile, but for these
            with pytest.raises(httpx.ConnectError):
                await httpx.AsyncClient(base_url=rest).get("/healthz")
            go_on.set()
            answer, message = await asyncio.gather(*calls)
            results.append(answer.json()["predictions"][0]["y"])
            results.append(list(message.outputs["y"].float_val))
            await client.aclose()
            await channel.close()

        test.check = asyncio.create_task(check())
        return test.check

    clean, (check,) = run(test)
    assert clean
    assert check.done()
    assert results == [[2], [2]]


def test_the_end_does_not_wait_for_ever(run):
    go_on = threading.Event()

    async def test(core, rest, grpc_):
        core.executor.submit(go_on.wait, 30)
        channel, stub = connect(grpc_)
        test.call = asyncio.ensure_future(stub.Predict(make(x=[[1.0]])))
        test.channel = channel
        while not core.in_flight:
            await asyncio.sleep(0.01)
        test.start = time.monotonic()

    run(test, drain=0.2)
    seconds = time.monotonic() - test.start
    go_on.set()
    assert seconds < 5


def test_a_port_in_use(run):
    async def test(*_):
        raise AssertionError

    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        for option in ("rest_port", "grpc_port"):
            with pytest.raises(UserError, match=f"127.0.0.1:{port}: .*in use"):
                run(test, **{option: port})


def test_no_model_that_can_be_loaded(run, model_repository):
    (model_repository / "toy" / "1" / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(UserError, match="No model can be served: toy/1: "):
        run(None)


def test_ended_while_it_loads(run, model_repository, monkeypatch):
    async def test(*_):
        raise AssertionError

    def load(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)

    monkeypatch.setattr("keras_mscam.serving.repository._load_warm", load)
    assert run(test) == (False, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{empty}"], "holds no model"),
        (["{empty}/missing"], "No such file"),
        (["{models}", "--versions", "newest"], "--versions newest is not understood"),
        (["{models}", "--labels", "stable"], "Cannot read the labels of stable"),
        (["{models}", "--labels", "a=x"], "the version of 'a' is 'x'"),
        (["{models}", "--labels", "other/a=1"], "there is no model other, only toy"),
        (["{models}", "--token-file", "{empty}/x"], "Cannot read the token"),
        (["{models}", "--timeout", "nan"], "nan is no value for --timeout"),
        (["{models}", "--max-batch-size", "0"], "0 is no value for --max-batch-size"),
        (["{models}", "--host", "no.such.host.invalid"], "Cannot listen at no.such"),
        (["{models}", "--rest-port", "70000"], "70000 is no value for a port"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path, model_repository, monkeypatch, capsys, arguments, message
):
    empty = tmp_path / "empty"
    empty.mkdir()
    places = {"empty": empty, "models": model_repository}
    arguments = [argument.format(**places) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["keras_mscam-serve", *arguments])
    monkeypatch.setattr("keras_mscam.serving.logs.set_up_logs", lambda: None)
    with pytest.raises(SystemExit) as end:
        serve.main()
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert message in lines[0]


def test_missing_packages(model_repository, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["keras_mscam-serve", str(model_repository)])
    monkeypatch.setattr(serve, "_PACKAGES", ("grpc", "no_such_package"))
    with pytest.raises(SystemExit) as end:
        serve.main()
    assert end.value.code == 2
    line = capsys.readouterr().err
    assert "needs no_such_package: pip install 'keras_mscam[serve]'" in line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["latest"], VersionPolicy(1)),
        (["latest", "3"], VersionPolicy(3)),
        (["all"], VersionPolicy(None)),
        (["specific", "2", "5"], VersionPolicy(specific=(2, 5))),
    ],
)
def test_versions(words, expected):
    assert parse_versions(words) == expected


@pytest.mark.parametrize("words", [[], ["latest", "0"], ["specific"], ["all", "1"]])
def test_wrong_versions(words):
    with pytest.raises(UserError, match="latest"):
        parse_versions(words)


def test_labels(tmp_path):
    models = ["a", "b"]
    expected = {"a": {"stable": 1, "canary": 2}, "b": {"stable": 1}}
    assert parse_labels(["stable=1", "a/canary=2"], models) == expected
    path = tmp_path / "labels.json"
    path.write_text('{"stable": 1, "a": {"canary": 2}}')
    assert parse_labels([str(path)], models) == expected
    assert parse_labels([], models) == {"a": {}, "b": {}}
    for content in ("[]", '{"stable": true}', '{"stable": -1}', "{"):
        path.write_text(content)
        with pytest.raises(UserError):
            parse_labels([str(path)], models)


def test_tokens(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_MSCAM_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("KERAS_MSCAM_TOKEN", "from-environment")
    assert read_token(None) == "from-environment"
    path = tmp_path / "token"
    path.write_text("from-file\n")
    assert read_token(path) == "from-file"
    for content in ("", " \n", "two words", "schön"):
        path.write_text(content)
        with pytest.raises(UserError, match="visible ASCII"):
            read_token(path)


def test_the_command(model_repository, tmp_path):
    """In a process of its own: what it prints, what it logs, how it ends."""
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "keras_mscam.cli.serve",
                str(model_repository / "toy"), "--labels", "stable=1",
                "--rest-port", "0", "--grpc-port", "0",
            ],
            stdout=subprocess.PIPE, stderr=file, text=True,
            env=os.environ | {"KERAS_MSCAM_TOKEN": "secret"},
        )  # fmt: skip
        try:
            words = process.stdout.readline().split()
            assert words[0] == "Ready:" and words[-3:] == ["serve", "toy", "1."]
            rest = next(word for word in words if word.startswith("http://127.0.0.1:"))
            body = {"signature_name": "image", "instances": ["patient Doe"]}
            response = httpx.post(
                f"{rest}/v1/models/toy/labels/stable:predict",
                json=body,
                headers={"authorization": "Bearer secret"},
            )
            assert response.json()["predictions"][0]["size"] == 11
            process.terminate()
            assert process.wait(20) == 0
            assert process.stdout.read() == ""
        finally:
            process.kill()
    text = errors.read_text()
    assert "Doe" not in text and "secret" not in text and "Traceback" not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    (request,) = [line for line in lines if line["message"] == "request"]
    assert request["status"] == "OK" and request["signature"] == "image"
