"""A typed client of the API: values, paginated lists, exports, and the stream.

Client blocks, AsyncClient has the same methods for asyncio: `await` a value, iterate over lists
with `async for`.

The API's errors raise ApiError, which names each invalid parameter; the network's are httpx's own.
A request is repeated after a lost connection, and after a response of 429 or 503 when its
Retry-After has passed: of a list the page, of an export from the next minute on. The client gives
up after `attempts` in a row, about a minute. A connection that fails at first is an error at once.
"""

from tracker.client.aio import AsyncClient
from tracker.client.blocking import Client
from tracker.client.events import Connected, Disconnected, Events, Reset, StreamEvent
from tracker.client.http import DEFAULT_ATTEMPTS, next_delay
from tracker.client.values import Point, Ticker

__all__ = [
    "DEFAULT_ATTEMPTS",
    "AsyncClient",
    "Client",
    "Connected",
    "Disconnected",
    "Events",
    "Point",
    "Reset",
    "StreamEvent",
    "Ticker",
    "next_delay",
]
