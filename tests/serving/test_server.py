"""The server as a whole: both protocols, its start and its end."""

import asyncio
import os
import signal
import socket
import sys
import threading
import time

import grpc
import httpx
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from keras_mscam.cli import serve
from keras_mscam.errors import UserError
from keras_mscam.serving.core import Core
from keras_mscam.serving.server import run_server
from keras_mscam.serving.server_options import ServerOptions

from .conftest import hold_up, make_request

PREDICT = "/v1/models/toy:predict"
BODY = {"instances": [[1.0]]}


def connect(url, **options):
    channel = grpc.aio.insecure_channel(url.removeprefix("grpc://"), **options)
    return channel, prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def run_whole(model_repository):
    """Run a server and a test in one event loop; end it with SIGTERM after the test."""

    def run_whole(test, number=signal.SIGTERM, **options):
        options = {"rest_port": 0, "grpc_port": 0, "poll_interval": 0.05} | options

        async def main():
            core = Core(model_repository, ServerOptions(**options))
            tasks = []

            def announce(rest, grpc_):
                tasks.append(asyncio.create_task(end(rest, grpc_)))

            async def end(rest, grpc_):
                try:
                    return await test(core, rest, grpc_)
                finally:
                    os.kill(os.getpid(), number)

            async with asyncio.timeout(60):
                await run_server(core, announce)
            core.executor.shutdown(wait=False)
            return [await task for task in tasks]

        return asyncio.run(main())

    return run_whole


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_protocols_and_a_token(run_whole, number, tmp_path):
    (tmp_path / "token").write_text("secret\n")

    async def test(core, rest, grpc_):
        channel, stub = connect(grpc_)
        headers = {"authorization": "Bearer secret"}
        async with httpx.AsyncClient(base_url=rest) as client, channel:
            assert (await client.post(PREDICT, json=BODY)).status_code == 401
            with pytest.raises(grpc.RpcError) as error:
                await stub.Predict(make_request(x=[[1.0]]))
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
            answer = await client.post(PREDICT, json=BODY, headers=headers)
            assert answer.json()["predictions"][0]["y"] == [2]
            page = await client.get("/monitoring/prometheus/metrics", headers=headers)
            assert ":tensorflow:serving:request_count{" in page.text
            request = make_request(x=[[1.0], [2.0]])
            answer = await stub.Predict(request, metadata=tuple(headers.items()))
            assert list(answer.outputs["y"].float_val) == [2, 4]
        return "passed"

    assert run_whole(test, number, token_file=tmp_path / "token") == ["passed"]


def test_new_versions_are_found(run_whole, model_repository, make_version):
    async def test(core, rest, grpc_):
        await asyncio.to_thread(make_version, model_repository / "toy", 2, 3)
        async with httpx.AsyncClient(base_url=rest) as client:
            while core.models.list_available() != {"toy": [2]}:
                await asyncio.sleep(0.01)
            answer = await client.post(PREDICT, json=BODY)
            assert answer.json()["predictions"][0]["y"] == [3]
        return "passed"

    assert run_whole(test) == ["passed"]


def test_what_is_in_flight_at_the_end_is_answered(run_whole):
    """SIGTERM comes while two requests wait for the thread of the graphs."""
    results = []

    async def test(core, rest, grpc_):
        go_on = hold_up(core)
        client = httpx.AsyncClient(base_url=rest, timeout=30)
        channel, stub = connect(grpc_)
        calls = [
            asyncio.ensure_future(client.post(PREDICT, json=BODY)),
            asyncio.ensure_future(stub.Predict(make_request(x=[[1.0]]))),
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

    (check,) = run_whole(test)
    assert check.done()
    assert results == [[2], [2]]


def test_the_end_does_not_wait_for_ever(run_whole):
    async def test(core, rest, grpc_):
        test.go_on = hold_up(core)
        channel, stub = connect(grpc_)
        test.call = asyncio.ensure_future(stub.Predict(make_request(x=[[1.0]])))
        test.channel = channel
        while not core.in_flight:
            await asyncio.sleep(0.01)
        test.start = time.monotonic()

    run_whole(test, drain=0.2)
    seconds = time.monotonic() - test.start
    test.go_on.set()
    assert seconds < 5


def test_a_second_interrupt_ends_it_at_once(run_whole):
    async def test(core, rest, grpc_):
        test.go_on = hold_up(core)
        test.channel, stub = connect(grpc_)
        test.call = asyncio.ensure_future(stub.Predict(make_request(x=[[1.0]])))
        while not core.in_flight:
            await asyncio.sleep(0.01)
        test.start = time.monotonic()
        again = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
        again.start()

    with pytest.raises(KeyboardInterrupt):
        run_whole(test, signal.SIGINT)
    seconds = time.monotonic() - test.start
    test.go_on.set()
    assert seconds < 10  # where it waits for 30


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6")
def test_all_addresses(run_whole):
    async def test(core, rest, grpc_):
        port = rest.rpartition(":")[2]
        for address in ("127.0.0.1", "[::1]"):
            async with httpx.AsyncClient(base_url=f"http://{address}:{port}") as client:
                assert (await client.post(PREDICT, json=BODY)).status_code == 200
        return "passed"

    assert run_whole(test, host="::") == ["passed"]


def test_a_port_in_use(run_whole):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        for option in ("rest_port", "grpc_port"):
            with pytest.raises(UserError, match=f"127.0.0.1:{port}: .*in use"):
                run_whole(None, **{option: port})


def test_no_model_that_can_be_loaded(run_whole, model_repository):
    (model_repository / "toy" / "1" / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(UserError, match="No model can be served: toy/1: "):
        run_whole(None)


def test_ended_while_it_loads(run_whole, monkeypatch):
    def load(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)

    monkeypatch.setattr("keras_mscam.serving.served_models._load_warm", load)
    assert run_whole(None) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{empty}"], "holds no model"),
        (["{empty}/missing"], "No such file"),
        (["{models}", "--versions", "newest"], "--versions newest is not understood"),
        (["{models}", "--labels", "stable"], "--labels stable is not understood"),
        (["{models}", "--labels", "a=x"], "--labels a=x is not understood"),
        (["{models}", "--token-file", "{empty}/x"], "Cannot read the token"),
        (["{models}", "--timeout", "nan"], "--timeout is nan; it must be positive"),
        (["{models}", "--drain", "inf"], "--drain is inf; it must be 0 or more"),
        (["{models}", "--max-batch-size", "0"], "--max-batch-size is 0"),
        (["{models}", "--host", "no.such.host.invalid"], "Cannot listen at no.such"),
        (["{models}", "--host", "a..b"], "Cannot listen at a..b"),
        (["{models}", "--rest-port", "70000"], "Cannot listen at 127.0.0.1:70000"),
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
    monkeypatch.setattr("keras_mscam.serving.monitoring.set_up_logs", lambda: None)
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


def test_tokens(tmp_path, monkeypatch):
    path = tmp_path / "token"
    monkeypatch.delenv("KERAS_MSCAM_TOKEN", raising=False)
    assert ServerOptions().read_token() is None
    monkeypatch.setenv("KERAS_MSCAM_TOKEN", "from-environment")
    assert ServerOptions().read_token() == "from-environment"
    path.write_text("from-file\n")
    assert ServerOptions(token_file=path).read_token() == "from-file"
    for content in ("", " \n", "two words", "schön"):
        path.write_text(content)
        with pytest.raises(UserError, match="visible ASCII"):
            ServerOptions(token_file=path).read_token()


def test_labels():
    options = ServerOptions(labels=("stable=1", "canary=2"))
    assert options.parse_labels() == {"stable": 1, "canary": 2}
