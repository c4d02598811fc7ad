"""The REST API over the toy model; malformed requests are in `test_malformed`.

Answers are those of tensorflow_serving/g3doc/api_rest.md.
"""

import asyncio
import base64
import contextlib
import gzip
import threading

import httpx
import numpy as np
import pytest
import uvicorn

from keras_mscam.serving import rest
from keras_mscam.serving.rest import build_app, watch_connections

from .conftest import hold_up

PREDICT = "/v1/models/toy:predict"
METRICS = "/monitoring/prometheus/metrics"


@pytest.fixture
def ask(run_core):
    """Run an asynchronous test with a client of the application, in one process."""

    def ask(test, token=None, **options):
        async def serve(core):
            core.token = token
            app = build_app(core)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://server"
            ) as client:
                client.core, client.app = core, app
                return await test(client)

        return run_core(serve, **options)

    return ask


def get_error(response, status):
    """Return the sentence of a refusal."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    message = response.json()["error"]
    assert message.endswith(".") and "Traceback" not in message
    return message


def test_rows_columns_and_versions(ask):
    async def test(client):
        rows = {"instances": [[1.0, 2.0], [3.0, 4.0]]}
        response = await client.post(PREDICT, json=rows)
        assert response.headers["content-type"] == "application/json"
        first, second = response.json()["predictions"]
        assert first == {"y": [2.0, 4.0], "batch": 2} and second["y"] == [6.0, 8.0]
        for place in ("", "/versions/1", "/labels/stable"):
            path = f"/v1/models/toy{place}:predict"
            response = await client.post(path, json={"inputs": {"x": [[1], [2]]}})
            assert response.json() == {
                "outputs": {"y": [[2.0], [4.0]], "batch": [2, 2]}
            }
        # A signature's only output comes without its name.
        body = {"signature_name": "total", "inputs": [1, 2, 3]}
        assert (await client.post(PREDICT, json=body)).json() == {"outputs": 6}

    ask(test, labels=("stable=1",))


def test_a_signature_with_bytes(ask):
    image = bytes(range(256))
    text = base64.b64encode(image).decode()
    request = {"signature_name": "image", "instances": [{"b64": text}, {"b64": ""}]}

    async def test(client):
        predictions = (await client.post(PREDICT, json=request)).json()["predictions"]
        assert predictions[0] == {"size": 256, "copy_bytes": {"b64": text}}
        assert predictions[1] == {"size": 0, "copy_bytes": {"b64": ""}}

    ask(test)


def test_status_and_metadata(ask):
    async def test(client):
        for place in ("", "/versions/1", "/labels/stable"):
            # "Model status API" of api_rest.md.
            response = await client.get(f"/v1/models/toy{place}")
            assert response.json() == {
                "model_version_status": [
                    {
                        "version": "1",
                        "state": "AVAILABLE",
                        "status": {"error_code": "OK", "error_message": ""},
                    }
                ]
            }
            response = await client.get(f"/v1/models/toy{place}/metadata")
            content = response.json()
            # In the form of TF Serving's testdata/half_plus_two_model_metadata.json.
            assert content["model_spec"] == {
                "name": "toy", "signature_name": "", "version": "1",
            }  # fmt: skip
            signatures = content["metadata"]["signature_def"]["signature_def"]
            assert signatures["serving_default"]["inputs"]["x"] == {
                "dtype": "DT_FLOAT",
                "tensor_shape": {
                    "dim": [{"size": "-1", "name": ""}, {"size": "-1", "name": ""}],
                    "unknown_rank": False,
                },
                "name": "serving_default_x:0",
            }

    ask(test, labels=("stable=1",))


def test_a_version_that_failed(ask, model_repository, make_version):
    path = make_version(model_repository / "toy", 2, 3)
    (path / "saved_model.pb").write_bytes(b"no model")

    async def test(client):
        first, second = (await client.get("/v1/models/toy")).json()[
            "model_version_status"
        ]
        assert (first["version"], first["state"]) == ("2", "END")
        assert (
            first["status"]["error_code"] != "OK" and first["status"]["error_message"]
        )
        assert (second["version"], second["state"]) == ("1", "AVAILABLE")

    ask(test)


def test_tokens(ask):
    async def receive():
        raise AssertionError("the body was read")

    async def test(client):
        good = {"Authorization": "Bearer s3cret"}
        for path in ("/v1/models/toy", METRICS):
            assert (await client.get(path, headers=good)).is_success
            for header in (
                b"", b"Bearer", b"Bearer ", b"Bearer s3cre", b"Bearer s3cret2",
                b"Basic s3cret", b"s3cret", b"Bearer \xff\xb5", b"\xff\xb5 s3cret",
            ):  # fmt: skip
                response = await client.get(path, headers={"Authorization": header})
                assert "token" in get_error(response, 401)
                assert response.headers["www-authenticate"] == "Bearer"
        # Probes know no secrets, and this path tells none.
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        get_error(await client.get("/healthz/x"), 401)
        # The body of a stranger is not read.
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": []}
        await client.app(scope, receive, send)
        assert sent[0]["status"] == 401

    ask(test, token="s3cret")


def test_a_defect_shows_nothing_of_itself(ask):
    async def test(client):
        def fail(*_):
            raise RuntimeError("a secret of /etc")

        client.core.models.find = fail
        message = get_error(await client.post(PREDICT, json={"instances": [1]}), 500)
        assert "secret" not in message and "log" in message
        return client.core.metrics.render()[0].decode()

    assert 'status="INTERNAL"} 1.0' in ask(test)


async def post_parts(client, parts, length=None, headers=()):
    """Send a body in parts to the application; return the status and what was read."""
    read, sent = 0, []

    async def receive():
        nonlocal read
        part = next(parts, None)
        if part is None:
            await asyncio.sleep(60)
        read += len(part)
        return {"type": "http.request", "body": part, "more_body": True}

    async def send(message):
        sent.append(message)

    headers = [*headers, (b"content-length", length)] if length else [*headers]
    scope = {
        "type": "http", "method": "POST", "path": PREDICT, "query_string": b"",
        "headers": headers, "root_path": "",
    }  # fmt: skip
    await client.app(scope, receive, send)
    return sent[0]["status"], read


def test_bodies_are_read_within_bounds(ask):
    async def test(client):
        blanks = (b" " * 1000 for _ in range(1000))
        assert await post_parts(client, blanks) == (413, 11_000)
        for length in (b"10001", b"9" * 5000):
            assert await post_parts(client, iter([b" "]), length) == (413, 0)
        body = b'{"instances": [[1]]}'.ljust(10_000)
        assert (await client.post(PREDICT, content=body)).status_code == 200
        message = get_error(await client.post(PREDICT, content=body + b" "), 413)
        assert "larger than 10000 bytes" in message

    ask(test, max_request_bytes=10_000)


def test_a_body_that_does_not_come_is_late(ask):
    async def test(client):
        assert await post_parts(client, iter([b" "])) == (408, 1)

    ask(test, timeout=0.2)


def test_bodies_take_so_much_memory_in_all(ask):
    async def test(client):
        # Two bodies of 900 bytes that don't end, where 1000 may be read at once.
        first = asyncio.create_task(post_parts(client, iter([b" " * 900])))
        while client.core.bytes_read < 900:
            await asyncio.sleep(0.01)
        assert await post_parts(client, iter([b" " * 900])) == (429, 900)
        assert client.core.bytes_read == 900
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        # What is over is forgotten, and one alone may be larger.
        answer = await client.post(PREDICT, content=b'{"instances": [[1]]}'.ljust(5000))
        assert answer.status_code == 200
        assert client.core.bytes_read == 0

    ask(test, max_queue_bytes=1000)


def test_so_many_requests_are_answered_at_once(ask):
    async def test(client):
        most = client.core.most_at_once
        waiting = [
            asyncio.create_task(post_parts(client, iter([b" "]))) for _ in range(most)
        ]
        while client.core.bytes_read < most:
            await asyncio.sleep(0.01)
        message = get_error(await client.get("/v1/models/toy"), 503)
        assert f"{most} requests" in message
        assert (await client.get("/healthz")).status_code == 200
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (await client.get("/v1/models/toy")).status_code == 200

    ask(test, max_queue=1)


def test_gzip(ask):
    body = gzip.compress(b'{"instances": [[1.0]]}')
    # 200 MB of blanks in 200 kB.
    bomb = gzip.compress(b" " * 200_000_000, compresslevel=1)

    async def test(client):
        async def post(content, encoding="gzip"):
            headers = {"Content-Encoding": encoding}
            return await client.post(PREDICT, content=content, headers=headers)

        assert (await post(body)).json()["predictions"][0]["y"] == [2.0]
        for damaged in (b"{}", body[:-9], b"", b"\x1f\x8b" + b"\xff" * 100):
            assert "gzip" in get_error(await post(damaged), 400)
        assert "use gzip" in get_error(await post(body, "br"), 415)
        for behind in (b"junk", body):
            assert "behind the end" in get_error(await post(body + behind), 400)
        parts = (part for part in (body, b"", b"x" * 1000, b"x" * 1000))
        headers = (b"content-encoding", b"gzip")
        assert await post_parts(client, parts, headers=[headers]) == (
            400,
            1000 + len(body),
        )
        get_error(await post(bomb), 413)

    ask(test, max_request_bytes=2_000_000)


def test_large_messages_are_read_and_written_beside_the_loop(ask, monkeypatch):
    threads = {}
    for name in ("parse_document", "read_inputs", "write_outputs"):
        function = getattr(rest, name)

        def watch(*arguments, name=name, function=function):
            threads[name] = threading.current_thread().name
            return function(*arguments)

        monkeypatch.setattr(rest, name, watch)

    async def test(client):
        x = np.zeros((2, 20_000)).tolist()
        response = await client.post(PREDICT, json={"inputs": x})
        assert len(response.json()["outputs"]["y"][1]) == 20_000

    ask(test)
    assert {name.split("_")[0] for name in threads.values()} == {"convert"}


def test_to_predict_is_to_post(ask):
    async def test(client):
        for model in ("/v1/models/toy", "/v1/models/toy/versions/1"):
            response = await client.get(model + ":predict")
            assert "Method Not Allowed" in get_error(response, 405)
            assert response.headers["allow"] == "POST"

    ask(test)


def test_too_slow_and_too_many(ask):
    async def test(client):
        go_on = hold_up(client.core)
        body = {"instances": [[1.0]]}
        calls = [asyncio.create_task(client.post(PREDICT, json=body))]
        await asyncio.sleep(0.1)  # the first is taken from the queue
        calls += [
            asyncio.create_task(client.post(PREDICT, json=body)) for _ in range(3)
        ]
        answers = await asyncio.gather(*calls)
        go_on.set()
        assert [a.status_code for a in answers] == [504, 504, 504, 429]
        assert "after 0.3 s" in get_error(answers[0], 504)
        assert "try again later" in get_error(answers[3], 429)
        assert client.core.room.waiting == 0

    ask(test, timeout=0.3, max_queue=2)


# The longest that a head may take, in seconds.
LIMIT = 0.2
WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def talk(test, app=None, limit=LIMIT):
    """Run a test with a new connection to a server that takes 0.4 s for an answer.

    It gets the connections that the server has, too.
    """

    async def answer_late(scope, receive, send):
        await asyncio.sleep(2 * LIMIT)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def main():
        config = uvicorn.Config(
            app or answer_late, port=0, http=watch_connections(limit), lifespan="off",
            log_config=None, timeout_keep_alive=30,
        )  # fmt: skip
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await test(reader, writer, server.server_state.connections)
        writer.close()
        server.should_exit = True
        await serving

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
def test_half_a_head_ends_the_connection(sent):
    async def test(reader, writer, _):
        writer.write(sent)
        assert await reader.read() == b""

    talk(test)


async def answer_much(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(MUCH)})


MUCH = 30_000_000


def test_an_answer_that_nobody_reads_ends_the_connection():
    async def test(reader, writer, connections):
        writer.write(WHOLE)
        await reader.readline()
        while connections:
            await asyncio.sleep(0.01)
        # What was on its way comes still, and then it is over, before the end.
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while part := await reader.read(1 << 20):
                got += len(part)
        assert got < MUCH

    talk(test, answer_much)


def test_an_answer_that_is_read_slowly_is_read_to_its_end():
    async def test(reader, writer, _):
        writer.write(WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        got = 0
        for _ in range(15):  # longer than three looks
            got += len(await reader.readexactly(MUCH // 20))
            await asyncio.sleep(0.25)
        while part := await reader.read(1 << 20):
            got += len(part)
        assert got > MUCH  # with its head

    talk(test, answer_much, limit=1)


def test_byte_by_byte_does_not_keep_it_open():
    async def test(reader, writer, _):
        async def drip():
            while not writer.is_closing():
                writer.write(b"G")
                await asyncio.sleep(LIMIT / 4)

        dripping = asyncio.create_task(drip())
        assert not (await reader.read()).startswith(b"HTTP/1.1 2")
        dripping.cancel()

    talk(test)


def test_a_whole_head_has_all_the_time_and_half_a_head_behind_it_has_not():
    async def test(reader, writer, _):
        # The answer takes longer than the head might have; then a second request.
        for _ in range(2):
            writer.write(WHOLE)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        writer.write(b"GET /")
        assert await reader.read() == b""

    talk(test)


def test_what_a_client_that_left_asked_for_is_not_run(run_core):
    async def test(core):
        go_on = hold_up(core)
        config = uvicorn.Config(
            build_app(core), port=0, lifespan="off", log_config=None
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            body = {"instances": [[1.0]]}
            first = asyncio.create_task(client.post(PREDICT, json=body))
            while not core.in_flight or core.room.waiting:  # it is being run
                await asyncio.sleep(0.01)
            gone = asyncio.create_task(client.post(PREDICT, json=body))
            while core.in_flight < 2:
                await asyncio.sleep(0.01)
            gone.cancel()
            while core.in_flight > 1:
                await asyncio.sleep(0.01)
            assert core.room.waiting == 0
            go_on.set()
            assert (await first).is_success
        server.should_exit = True
        await serving
        return core.metrics.render()[0].decode()

    page = run_core(test)
    labels = 'model_name="toy",signature="serving_default"'
    assert f"batch_size_sum{{{labels}}} 1.0" in page
    assert 'status="CANCELLED"} 1.0' in page
