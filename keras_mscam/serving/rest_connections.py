"""HTTP connections that can't be held open, or filled, without sending a request."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def limit_heads(seconds: float) -> type[H11Protocol]:
    """Return a protocol for `uvicorn.Config(http=...)` that closes silent connections.

    Every connection counts, and only so many are taken: without a limit some hundred
    that send half a head, or nothing, would lock others out. The limit starts when a
    connection is made, and with what comes behind an answer. The body of a request has
    a limit of its own, see `read_body`; idle connections are closed by uvicorn.

    uvicorn's other implementation, `httptools`, takes a head of any size.

    Args:
        seconds: until the head of a request must be there.
    """

    class Connection(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport):
            super().connection_made(transport)
            self._limit()

        def data_received(self, data):
            super().data_received(data)
            self._limit()

        def connection_lost(self, exc):
            self._stop_waiting()
            super().connection_lost(exc)

        def _limit(self):
            if self.cycle and not self.cycle.response_complete:
                self._stop_waiting()
            elif self._waiting is None:
                self._waiting = self.loop.call_later(seconds, self.transport.close)

        def _stop_waiting(self):
            if self._waiting:
                self._waiting.cancel()
                self._waiting = None

    return Connection
