"""Send any bytes to either port, and take what comes back."""

import asyncio
from dataclasses import dataclass

from malformed.requests import GrpcRequest, RawRequest, Request, RestRequest

import grpc

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


@dataclass(frozen=True)
class Answer:
    """What came back.

    Args:
        status: of HTTP or gRPC, "closed" if the connection was, "left" if it was left
            by the client, "no answer" if the time was over.
        content: of the answer, or its error.
    """

    status: str
    content: bytes


class Sender:
    """Keeps a connection to each port, as long as they can be used.

    Args:
        ports: of "rest" and "grpc".
    """

    def __init__(self, ports: dict[str, int]):
        self.ports = ports
        self._streams = None
        self._channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{ports['grpc']}", options=_OPTIONS
        )

    async def send(self, request: Request) -> Answer:
        """Send a request and wait for its answer."""
        if isinstance(request, GrpcRequest):
            return await self._call(request)
        if isinstance(request, RawRequest):
            return await self._send_raw(request)
        return await self._send_rest(request)

    async def close(self) -> None:
        """Close both connections."""
        await self._drop()
        await self._channel.close()

    async def _call(self, request: GrpcRequest) -> Answer:
        method = self._channel.unary_unary(request.method)
        compression = grpc.Compression.Gzip if request.gzip else None
        try:
            answer = await method(
                request.data, timeout=request.timeout, compression=compression
            )
        except grpc.aio.AioRpcError as error:
            return Answer(error.code().name, (error.details() or "").encode())
        return Answer("OK", answer)

    async def _send_raw(self, request: RawRequest) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports["grpc"])
        try:
            writer.write(request.data)
            async with asyncio.timeout(0.2):
                while await reader.read(1 << 16):
                    pass
            return Answer("closed", b"")
        except TimeoutError:
            return Answer("left", b"")
        except OSError:
            return Answer("closed", b"")
        finally:
            writer.close()

    async def _send_rest(self, request: RestRequest) -> Answer:
        answer, is_used = await self._try_rest(request)
        # The server closes a connection that was idle for 5 s, perhaps at the moment
        # at which it is used again: then a client of HTTP makes another.
        if is_used and answer.status == "closed":
            answer, _ = await self._try_rest(request)
        return answer

    async def _try_rest(self, request: RestRequest) -> tuple[Answer, bool]:
        """Return the answer, and whether the connection had been used before."""
        is_kept = request.whole and request.keeps
        is_used = is_kept and self._streams is not None
        if not is_used:
            await self._drop()
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self.ports["rest"], limit=1 << 26
            )
        reader, writer = self._streams
        try:
            async with asyncio.timeout(request.seconds):
                writing = asyncio.create_task(_write(writer, request))
                if request.end == "leave":
                    await writing
                    await asyncio.sleep(0.02)
                    is_kept = False
                    return Answer("left", b""), is_used
                answer, stays = await _read_answer(reader, request.head)
                is_kept = is_kept and stays and writing.done()
                return answer, is_used
        except TimeoutError:
            is_kept = False
            return Answer("no answer", b""), is_used
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            is_kept = False
            return Answer("closed", b""), is_used
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            if not is_kept:
                await self._drop()

    async def _drop(self) -> None:
        if self._streams:
            self._streams[1].transport.abort()
            self._streams = None


async def _write(writer: asyncio.StreamWriter, request: RestRequest) -> None:
    for start in range(0, len(request.data), 1 << 18):
        writer.write(request.data[start : start + (1 << 18)])
        await writer.drain()
    if request.end == "finish":
        writer.write_eof()


async def _read_answer(reader: asyncio.StreamReader, head: bool) -> tuple[Answer, bool]:
    """Return the answer, and whether the connection can be used again."""
    status = b"100"
    while status == b"100":
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        status = lines[0].split()[1]
    fields = dict(line.lower().split(b":", 1) for line in lines[1:] if line)
    fields = {name: value.strip() for name, value in fields.items()}
    if head:
        return Answer(status.decode(), b""), False
    if b"content-length" in fields:
        content = await reader.readexactly(int(fields[b"content-length"]))
        return Answer(status.decode(), content), fields.get(b"connection") != b"close"
    content = await reader.read()
    if fields.get(b"transfer-encoding") == b"chunked":
        content = content.split(b"\r\n")[1]  # one chunk: only short errors come so
    return Answer(status.decode(), content), False
