"""A connection as a stream needs to know it: uvicorn's protocol, and what it tells the application.

ASGI has no word for a server that stops, for a client that does not read, nor for hanging up.
"""

import asyncio
import socket
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tracker.web.live.bounds import Bounded

_KEY = "tracker.line"
_BUFFER = 32_768  # bytes


class Line:
    """What a stream may know and ask of its connection.

    stopping: the server was asked to stop.
    closed: set when the connection is no more.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        """The line of *protocol*."""
        self._protocol = protocol
        self._task: asyncio.Task[Any] | None = None
        self._parting = False
        self.stopping = False
        self.closed = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to be written."""
        return self.stopping or self.closed.is_set()

    def cancels(self, task: asyncio.Task[Any]) -> None:
        """Cancel *task* when it has nothing more to write."""
        self._task = task
        if self.ended:
            task.cancel()

    def narrow(self) -> None:
        """Keep little for a client that does not read: the system would take megabytes."""
        self._protocol.transport.set_write_buffer_limits(_BUFFER)
        line = self._protocol.transport.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)

    def press(self) -> None:
        """Let the next message through, though the client has not read those before it."""
        self._protocol.flow.resume_writing()

    async def part(self, seconds: float) -> None:
        """Hang up once the client has read all, or after *seconds*."""
        self._parting = True
        try:
            async with asyncio.timeout(seconds):
                await self.closed.wait()
        except TimeoutError:
            self._protocol.transport.abort()

    def stop(self) -> None:
        """The server stops."""
        self.stopping = True
        if self._parting:
            self._protocol.transport.abort()
        elif self._task:
            self._task.cancel()

    def close(self) -> None:
        """The connection is no more."""
        self.closed.set()
        if self._task:
            self._task.cancel()


class Protocol(Bounded):
    """uvicorn's protocol, within bounds, and with a Line in each request's scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Open its line."""
        super().connection_made(transport)
        self.line = Line(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close its line."""
        super().connection_lost(exc)
        self.line.close()

    def on_message_begin(self) -> None:
        """Give the request its line."""
        super().on_message_begin()
        cast("Scope", self.scope)["extensions"] = {_KEY: self.line}

    def shutdown(self) -> None:
        """Tell its stream that the server stops."""
        super().shutdown()
        self.line.stop()


def line_of(scope: Scope) -> Line:
    """The line of a request that came through Protocol."""
    line = scope["extensions"][_KEY]
    assert isinstance(line, Line)  # nobody else has the key
    return line
