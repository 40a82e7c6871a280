"""The connection of a streamed response.

ASGI has no message for the end of the server or for a client that does not read, and cannot close a
connection: protocol.py passes on what uvicorn has.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "tracker.connection"  # of the ASGI scope

_STREAM_BUFFER = 32_768  # bytes


class Connection:
    """The state of a connection, and its control, for a streamed response.

    stopping: whether the server stops.
    closed: set when the connection is closed.
    """

    def __init__(self, protocol: "HttpToolsProtocol | None") -> None:
        """The connection of *protocol*; None: that of another server or protocol."""
        self._protocol = protocol
        self._task: asyncio.Task[Any] | None = None
        self._hanging_up = False
        self.stopping = False
        self.closed = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether nothing more can be written."""
        return self.stopping or self.closed.is_set()

    def cancel_at_end(self, task: asyncio.Task[Any]) -> None:
        """Cancel *task* when nothing more can be written."""
        self._task = task
        if self.ended:
            task.cancel()

    def limit_buffer(self) -> None:
        """Buffer few bytes for a client that does not read: the default is megabytes."""
        if self._protocol:
            transport = self._protocol.transport
            transport.set_write_buffer_limits(_STREAM_BUFFER)
            peer = transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _STREAM_BUFFER)

    def resume_writing(self) -> None:
        """Accept the next message, though the client has not read those before it."""
        if self._protocol:
            self._protocol.flow.resume_writing()

    def reset(self) -> None:
        """Close it at once with a reset, because to HTTP/1.0 a usual close completes a response."""
        if self._protocol and not self.closed.is_set():
            peer = self._protocol.transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._abort()

    async def hang_up(self, seconds: float) -> None:
        """Close the connection once the client has read everything, or after *seconds*."""
        self._hanging_up = True
        try:
            async with asyncio.timeout(seconds):
                await self.closed.wait()
        except TimeoutError:
            self._abort()

    def server_stops(self) -> None:
        """Note that the server stops."""
        self.stopping = True
        if self._hanging_up:
            self._abort()
        elif self._task:
            self._task.cancel()

    def connection_closed(self) -> None:
        """Note that the connection is closed."""
        self.closed.set()
        if self._task:
            self._task.cancel()

    def _abort(self) -> None:
        """Close it at once."""
        if self._protocol:
            self._protocol.transport.abort()
        else:
            self.closed.set()

    async def watch(self, receive: Receive) -> None:
        """Wait for the disconnect message of ASGI, without our protocol."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.connection_closed()


@asynccontextmanager
async def connection_of(scope: Scope, receive: Receive) -> AsyncIterator[Connection]:
    """The connection of a request."""
    connection = scope.get("extensions", {}).get(EXTENSION)
    if isinstance(connection, Connection):
        yield connection
        return
    connection = Connection(None)
    watching = asyncio.create_task(connection.watch(receive))
    try:
        yield connection
    finally:
        watching.cancel()
