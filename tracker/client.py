"""A typed client of the API: one value, pages that follow each other, and the stream.

What the API refuses is an ApiError that names each culprit; what the network does is httpx's error.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Self, TypeVar, Unpack

import httpx

from tracker import replies
from tracker.asking import ORIGIN, Asked, Buckets, Candles, Range, Window, near, texts
from tracker.errors import ApiError
from tracker.gaps import Coverage, Gap
from tracker.models import Candle, SourcedPrice
from tracker.replies import Events, Reset, Ticker

T = TypeVar("T")
Read = Callable[[Mapping[str, Any]], T]

_TIMEOUT = 30.0  # seconds
_SILENCE = httpx.Timeout(30.0, read=45.0)  # three signs of life
_LONGEST_PAUSE = 30.0  # seconds


class Client:
    """A blocking client; iterators ask for the next page when they get there."""

    def __init__(self, base_url: str, **options: Any) -> None:
        """A client of the API at *base_url*; *options* are those of httpx.Client."""
        self._http = httpx.Client(base_url=base_url, **{"timeout": _TIMEOUT, **options})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def last(self, ticker: str) -> SourcedPrice:
        """The newest price."""
        return replies.price(self._get("/prices/last", {"ticker": ticker, **ORIGIN}).json())

    def at(self, ticker: str, date: datetime, tolerance: int = 0) -> SourcedPrice:
        """The price of the minute that contains *date*, or the nearest within so many seconds."""
        return replies.price(self._get("/prices/filtered", near(ticker, date, tolerance)).json())

    def prices(self, ticker: str, **asked: Unpack[Range]) -> Iterator[SourcedPrice]:
        """Prices, newest first by default."""
        return self._pages("/prices", replies.price, {"ticker": ticker, **asked, **ORIGIN})

    def gaps(self, ticker: str, **asked: Unpack[Window]) -> Iterator[Gap]:
        """Runs of missing minutes, newest first."""
        return self._pages("/prices/gaps", replies.gap, {"ticker": ticker, **asked})

    def coverage(self, ticker: str, **asked: Unpack[Buckets]) -> Iterator[Coverage]:
        """How much of each hour or day is stored, newest first."""
        return self._pages("/prices/coverage", replies.coverage, {"ticker": ticker, **asked})

    def candles(self, ticker: str, **asked: Unpack[Candles]) -> Iterator[Candle]:
        """Open, high, low and close of each bucket that has prices, newest first by default."""
        return self._pages("/prices/candles", replies.candle, {"ticker": ticker, **asked})

    def tickers(self) -> list[Ticker]:
        """What is tracked, or was."""
        return [replies.ticker(row) for row in self._get("/tickers", {}).json()]

    def stream(self, *tickers: str, events: Events | None = None) -> Iterator[SourcedPrice | Reset]:
        """Prices as they are stored, for ever: it comes back after whatever cuts it off.

        *events* knows where it is: its last_id, kept, lets another stream go on from there.
        """
        events, pause = events or Events(), 0.0
        while True:
            try:
                with self._http.stream("GET", **_stream(tickers, events)) as answer:
                    if answer.is_error:
                        answer.read()
                    _check(answer)
                    for line in answer.iter_lines():
                        pause = 0.0
                        if (value := events.take(line)) is not None:
                            yield value
            except (httpx.TransportError, ApiError) as error:
                pause = _longer(pause, error)
            time.sleep(max(pause, events.retry))

    def _pages(self, path: str, read: Read[T], asked: Asked) -> Iterator[T]:
        answer = self._get(path, asked)
        yield from map(read, answer.json())
        while following := _next(answer):
            answer = _check(self._http.get(following))
            yield from map(read, answer.json())

    def _get(self, path: str, asked: Asked) -> httpx.Response:
        return _check(self._http.get(path, params=texts(asked)))


class AsyncClient:
    """The same without blocking: await one value, iterate over many with `async for`."""

    def __init__(self, base_url: str, **options: Any) -> None:
        """A client of the API at *base_url*; *options* are those of httpx.AsyncClient."""
        self._http = httpx.AsyncClient(base_url=base_url, **{"timeout": _TIMEOUT, **options})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def last(self, ticker: str) -> SourcedPrice:
        """See Client."""
        answer = await self._get("/prices/last", {"ticker": ticker, **ORIGIN})
        return replies.price(answer.json())

    async def at(self, ticker: str, date: datetime, tolerance: int = 0) -> SourcedPrice:
        """See Client."""
        answer = await self._get("/prices/filtered", near(ticker, date, tolerance))
        return replies.price(answer.json())

    def prices(self, ticker: str, **asked: Unpack[Range]) -> AsyncIterator[SourcedPrice]:
        """See Client."""
        return self._pages("/prices", replies.price, {"ticker": ticker, **asked, **ORIGIN})

    def gaps(self, ticker: str, **asked: Unpack[Window]) -> AsyncIterator[Gap]:
        """See Client."""
        return self._pages("/prices/gaps", replies.gap, {"ticker": ticker, **asked})

    def coverage(self, ticker: str, **asked: Unpack[Buckets]) -> AsyncIterator[Coverage]:
        """See Client."""
        return self._pages("/prices/coverage", replies.coverage, {"ticker": ticker, **asked})

    def candles(self, ticker: str, **asked: Unpack[Candles]) -> AsyncIterator[Candle]:
        """See Client."""
        return self._pages("/prices/candles", replies.candle, {"ticker": ticker, **asked})

    async def tickers(self) -> list[Ticker]:
        """See Client."""
        return [replies.ticker(row) for row in (await self._get("/tickers", {})).json()]

    async def stream(
        self, *tickers: str, events: Events | None = None
    ) -> AsyncIterator[SourcedPrice | Reset]:
        """See Client."""
        events, pause = events or Events(), 0.0
        while True:
            try:
                async with self._http.stream("GET", **_stream(tickers, events)) as answer:
                    if answer.is_error:
                        await answer.aread()
                    _check(answer)
                    async for line in answer.aiter_lines():
                        pause = 0.0
                        if (value := events.take(line)) is not None:
                            yield value
            except (httpx.TransportError, ApiError) as error:
                pause = _longer(pause, error)
            await asyncio.sleep(max(pause, events.retry))

    async def _pages(self, path: str, read: Read[T], asked: Asked) -> AsyncIterator[T]:
        answer: httpx.Response | None = await self._get(path, asked)
        while answer is not None:
            for row in map(read, answer.json()):
                yield row
            following = _next(answer)
            answer = _check(await self._http.get(following)) if following else None

    async def _get(self, path: str, asked: Asked) -> httpx.Response:
        return _check(await self._http.get(path, params=texts(asked)))


def _stream(tickers: tuple[str, ...], events: Events) -> dict[str, Any]:
    """How the stream is asked for, from where *events* are on."""
    events.begin()
    last = {"headers": {"Last-Event-ID": events.last_id}} if events.last_id else {}
    return {"url": "/prices/stream", "params": {"ticker": tickers}, "timeout": _SILENCE, **last}


def _next(answer: httpx.Response) -> httpx.URL | None:
    """The next page: its link resolves against the URL of this one."""
    link = answer.links.get("next")
    return answer.url.join(link["url"]) if link else None


def _check(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    named = replies.errors(answer.headers.get("content-type", ""), answer.content)
    raise ApiError(answer.status_code, named or {"answer": f"HTTP {answer.status_code}"})


def _longer(pause: float, error: Exception) -> float:
    """The pause after another failure; raises *error* if the API says that it is ours."""
    if isinstance(error, ApiError) and not error.passing:
        raise error
    return min(max(2 * pause, 1.0), _LONGEST_PAUSE)
