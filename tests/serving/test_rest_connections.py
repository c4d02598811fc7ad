"""Connections of a real server, whose application takes 0.4 s for an answer."""

import asyncio
import time

import pytest
import uvicorn

from keras_mscam.serving.rest_connections import limit_heads

LIMIT = 0.2
WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer_late(scope, receive, send):
    await asyncio.sleep(2 * LIMIT)
    head = {"type": "http.response.start", "status": 204, "headers": []}
    await send(head)
    await send({"type": "http.response.body"})


def talk(test):
    """Run a test with a new connection."""

    async def main():
        config = uvicorn.Config(
            answer_late, port=0, http=limit_heads(LIMIT), lifespan="off",
            log_config=None, timeout_keep_alive=30,
        )  # fmt: skip
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await test(reader, writer)
        writer.close()
        server.should_exit = True
        await serving

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
def test_half_a_head_ends_the_connection(sent):
    async def test(reader, writer):
        writer.write(sent)
        start = time.perf_counter()
        assert await reader.read() == b""
        assert LIMIT * 0.5 < time.perf_counter() - start < 10

    talk(test)


def test_byte_by_byte_does_not_keep_it_open():
    async def test(reader, writer):
        async def drip():
            while not writer.is_closing():
                writer.write(b"G")
                await asyncio.sleep(LIMIT / 4)

        dripping = asyncio.create_task(drip())
        assert not (await reader.read()).startswith(b"HTTP/1.1 2")
        dripping.cancel()

    talk(test)


def test_a_whole_head_has_all_the_time():
    async def test(reader, writer):
        # The answer takes longer than the head might have; then a second request.
        for _ in range(2):
            writer.write(WHOLE)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")

    talk(test)


def test_half_a_head_behind_an_answer_ends_it_too():
    async def test(reader, writer):
        writer.write(WHOLE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /")
        assert await reader.read() == b""

    talk(test)
