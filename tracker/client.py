"""A typed client of the API: single prices, paginated lists, exports, and the stream.

The API's errors raise ApiError, which names each invalid parameter; the network's are httpx's own.
A list or an export continues after a lost connection, and after a response of 429 or 503, when its
Retry-After has passed: a page is requested again, an export from the next minute on. It gives up
after `attempts` in a row, about a minute. A connection that fails at first is an error at once.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Self, TypeAlias, TypedDict, TypeVar, Unpack

import httpx
import stamina

from tracker.errors import ApiError
from tracker.gaps import Coverage, Gap
from tracker.models import Candle, SourcedPrice
from tracker.proxies import make_transports
from tracker.times import MINUTE, parse_retry_after

REQUEST_TIMEOUT = 30.0  # seconds
STREAM_TIMEOUT = httpx.Timeout(30.0, read=45.0)  # seconds; the server sends a heartbeat each 15
MAX_RECONNECT_DELAY = 30.0  # seconds
DEFAULT_ATTEMPTS = 10  # of a request of a list or an export, one after the other
MAX_RETRY_AFTER = 120.0  # seconds; an API that needs longer is an error

_ORIGIN = {"include": "source,observed_at"}

T = TypeVar("T")
T_Transport = TypeVar("T_Transport", httpx.HTTPTransport, httpx.AsyncHTTPTransport)
Row: TypeAlias = Mapping[str, Any]
RetryDelay: TypeAlias = Callable[[Exception], bool | float]


class Window(TypedDict, total=False):
    """From start to before end, aware datetimes in any zone; limit: rows a page, 1 to 1000."""

    start: datetime
    end: datetime
    limit: int


class Range(Window, total=False):
    """A window that is read from its newest row (desc) or from its oldest (asc)."""

    order: Literal["desc", "asc"]


class Buckets(Window, total=False):
    """A window in buckets of 1h or 1d."""

    interval: str


class CandleRange(Range, Buckets, total=False):
    """A range in buckets from 1m to 1M; tz: the IANA zone of days, weeks and months."""

    tz: str


@dataclass(frozen=True, slots=True)
class Point:
    """The price of an index for the UTC minute *created_at*."""

    price: Decimal
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Ticker:
    """A row of /tickers; None where an index has no price."""

    ticker: str
    configured: bool
    since: datetime | None
    rows: int
    first: Point | None
    newest: Point | None
    change_24h: Decimal | None
    change_percent_24h: Decimal | None
    high_24h: Decimal | None
    low_24h: Decimal | None


@dataclass(frozen=True, slots=True)
class Reset:
    """Prices of *ticker* from minute *first* to *last* must be read again; None: unbounded."""

    ticker: str
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, slots=True)
class Connected:
    """The stream is open; *resumed* after the last event received, or at the newest price."""

    resumed: bool


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The stream is closed; the client reconnects by itself."""


StreamEvent: TypeAlias = SourcedPrice | Reset | Connected | Disconnected


class Events:
    """A parser of Server-Sent Events that keeps the stream's position across connections.

    last_id: of the last complete event; another stream can resume there.
    retry: seconds until a reconnection, as the server requests.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    def __init__(self, last_id: str = "") -> None:
        """Resume after the event *last_id*; without one, at the newest price."""
        self.last_id = last_id
        self.retry = 1.0
        self.discard_partial_event()

    def discard_partial_event(self) -> None:
        """Drop the lines of an event that a lost connection left incomplete."""
        self._id, self._name, self._data = self.last_id, "", ""

    def parse_line(self, line: str) -> SourcedPrice | Reset | None:
        """The event that *line* completes, if it completes a known one."""
        field, _, value = line.partition(":")
        match field:
            case "" if not line:
                return self._complete_event()
            case "id":
                self._id = value.strip()
            case "event":
                self._name = value.strip()
            case "data":
                self._data = value
            case "retry":
                self.retry = int(value) / 1000
        return None

    def _complete_event(self) -> SourcedPrice | Reset | None:
        name, data = self._name, self._data
        self.last_id = self._id
        self.discard_partial_event()
        if name == "price":
            return parse_price(json.loads(data))
        if name == "reset":
            row = json.loads(data)
            return Reset(row["ticker"], _parse_moment(row["from"]), _parse_moment(row["to"]))
        return None


class Client:
    """A blocking client; its iterators request the next page on demand."""

    def __init__(self, base_url: str, *, attempts: int = DEFAULT_ATTEMPTS, **options: Any) -> None:
        """A client of the API at *base_url*; *options* are those of httpx.Client.

        Raises SettingsError for an invalid proxy in the environment.
        """
        options = _with_defaults(httpx.HTTPTransport, base_url, options)
        self._http = httpx.Client(base_url=base_url, **options)
        self._attempts = attempts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def last(self, ticker: str) -> SourcedPrice:
        """The newest price."""
        return parse_price(self._get("/prices/last", {"ticker": ticker, **_ORIGIN}).json())

    def at(self, ticker: str, date: datetime, tolerance: int = 0) -> SourcedPrice:
        """The price of the minute that contains *date*, or the nearest in *tolerance* seconds."""
        query = {"ticker": ticker, "date": date, "tolerance": tolerance, **_ORIGIN}
        return parse_price(self._get("/prices/filtered", query).json())

    def prices(self, ticker: str, **query: Unpack[Range]) -> Iterator[SourcedPrice]:
        """Prices from start to end in the given order, newest first by default."""
        return self._pages("/prices", parse_price, {"ticker": ticker, **query, **_ORIGIN})

    def gaps(self, ticker: str, **query: Unpack[Window]) -> Iterator[Gap]:
        """Gaps, newest first."""
        return self._pages("/prices/gaps", parse_gap, {"ticker": ticker, **query})

    def coverage(self, ticker: str, **query: Unpack[Buckets]) -> Iterator[Coverage]:
        """The coverage of each hour or day, newest first."""
        return self._pages("/prices/coverage", parse_coverage, {"ticker": ticker, **query})

    def candles(self, ticker: str, **query: Unpack[CandleRange]) -> Iterator[Candle]:
        """The candle of each bucket that has prices, newest first by default."""
        return self._pages("/prices/candles", parse_candle, {"ticker": ticker, **query})

    def tickers(self) -> list[Ticker]:
        """The indexes that are tracked, or were."""
        return [parse_ticker(row) for row in self._get("/tickers", {}).json()]

    def export(
        self, ticker: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[SourcedPrice]:
        """Prices from start to before end, oldest first, of a range of any length in one stream."""
        query, has_begun, has_advanced = _export_query(ticker, start, end), False, True
        while has_advanced:
            has_advanced = False
            response = self._open_export(query, has_begun=has_begun)
            try:
                with closing(response):
                    for line in response.iter_lines():
                        price = parse_price(json.loads(line))
                        query["start"] = price.created_at + MINUTE
                        has_begun = has_advanced = True
                        yield price
            except httpx.TransportError:
                if not has_advanced:
                    raise
            else:
                return

    def stream(
        self, *tickers: str, events: Events | None = None
    ) -> Generator[SourcedPrice | Reset, None, None]:
        """Prices as they are stored, without end: it reconnects, and resumes where it was.

        *events* holds the position: a stream with `Events(last_id)` resumes another one.
        Raises ApiError if the API refuses the request itself.
        """
        with closing(self.stream_events(*tickers, events=events)) as stream:
            for event in stream:
                if isinstance(event, SourcedPrice | Reset):
                    yield event

    def stream_events(
        self, *tickers: str, events: Events | None = None
    ) -> Generator[StreamEvent, None, None]:
        """The events of `stream`, and each change of the connection."""
        events, delay, is_lost = events or Events(), 0.0, False
        while True:
            try:
                with self._http.stream("GET", **_stream_request(tickers, events)) as response:
                    if response.is_error:
                        response.read()
                    _check_status(response)
                    is_lost = False
                    yield Connected(resumed=bool(events.last_id))
                    for line in response.iter_lines():
                        delay = 0.0
                        if (event := events.parse_line(line)) is not None:
                            yield event
            except (httpx.TransportError, ApiError) as error:
                delay = next_delay(delay, error)
            if not is_lost:
                is_lost = True
                yield Disconnected()
            time.sleep(max(delay, events.retry))

    def _pages(self, path: str, parse_row: Callable[[Row], T], query: Row) -> Iterator[T]:
        request = self._http.build_request("GET", path, params=_encode_query(query))
        response = self._send(request, retry_delay_at_first)
        yield from map(parse_row, response.json())
        while url := _next_page(response):
            response = self._send(self._http.build_request("GET", url), retry_delay)
            yield from map(parse_row, response.json())

    def _open_export(self, query: Row, *, has_begun: bool) -> httpx.Response:
        params = _encode_query(query)
        request = self._http.build_request("GET", "/prices/export", params=params)
        return self._send(request, retry_delay if has_begun else retry_delay_at_first, stream=True)

    def _send(
        self, request: httpx.Request, delay: RetryDelay, *, stream: bool = False
    ) -> httpx.Response:
        for attempt in _retry_context(delay, self._attempts):
            with attempt:
                response = self._http.send(request, stream=stream)
                if not response.is_success:
                    response.read()
                return _check_status(response)
        raise AssertionError("stamina returns or raises")

    def _get(self, path: str, query: Row) -> httpx.Response:
        return _check_status(self._http.get(path, params=_encode_query(query)))


class AsyncClient:
    """The same without blocking: `await` a value, iterate over lists with `async for`."""

    def __init__(self, base_url: str, *, attempts: int = DEFAULT_ATTEMPTS, **options: Any) -> None:
        """See Client; *options* are those of httpx.AsyncClient."""
        options = _with_defaults(httpx.AsyncHTTPTransport, base_url, options)
        self._http = httpx.AsyncClient(base_url=base_url, **options)
        self._attempts = attempts

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def last(self, ticker: str) -> SourcedPrice:
        """See Client."""
        return parse_price((await self._get("/prices/last", {"ticker": ticker, **_ORIGIN})).json())

    async def at(self, ticker: str, date: datetime, tolerance: int = 0) -> SourcedPrice:
        """See Client."""
        query = {"ticker": ticker, "date": date, "tolerance": tolerance, **_ORIGIN}
        return parse_price((await self._get("/prices/filtered", query)).json())

    def prices(self, ticker: str, **query: Unpack[Range]) -> AsyncIterator[SourcedPrice]:
        """See Client."""
        return self._pages("/prices", parse_price, {"ticker": ticker, **query, **_ORIGIN})

    def gaps(self, ticker: str, **query: Unpack[Window]) -> AsyncIterator[Gap]:
        """See Client."""
        return self._pages("/prices/gaps", parse_gap, {"ticker": ticker, **query})

    def coverage(self, ticker: str, **query: Unpack[Buckets]) -> AsyncIterator[Coverage]:
        """See Client."""
        return self._pages("/prices/coverage", parse_coverage, {"ticker": ticker, **query})

    def candles(self, ticker: str, **query: Unpack[CandleRange]) -> AsyncIterator[Candle]:
        """See Client."""
        return self._pages("/prices/candles", parse_candle, {"ticker": ticker, **query})

    async def tickers(self) -> list[Ticker]:
        """See Client."""
        return [parse_ticker(row) for row in (await self._get("/tickers", {})).json()]

    async def export(
        self, ticker: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> AsyncGenerator[SourcedPrice, None]:
        """See Client."""
        query, has_begun, has_advanced = _export_query(ticker, start, end), False, True
        while has_advanced:
            has_advanced = False
            response = await self._open_export(query, has_begun=has_begun)
            try:
                async with aclosing(response):
                    async for line in response.aiter_lines():
                        price = parse_price(json.loads(line))
                        query["start"] = price.created_at + MINUTE
                        has_begun = has_advanced = True
                        yield price
            except httpx.TransportError:
                if not has_advanced:
                    raise
            else:
                return

    async def stream(
        self, *tickers: str, events: Events | None = None
    ) -> AsyncGenerator[SourcedPrice | Reset, None]:
        """See Client."""
        async with aclosing(self.stream_events(*tickers, events=events)) as stream:
            async for event in stream:
                if isinstance(event, SourcedPrice | Reset):
                    yield event

    async def stream_events(
        self, *tickers: str, events: Events | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        """See Client."""
        events, delay, is_lost = events or Events(), 0.0, False
        while True:
            try:
                async with self._http.stream("GET", **_stream_request(tickers, events)) as response:
                    if response.is_error:
                        await response.aread()
                    _check_status(response)
                    is_lost = False
                    yield Connected(resumed=bool(events.last_id))
                    async for line in response.aiter_lines():
                        delay = 0.0
                        if (event := events.parse_line(line)) is not None:
                            yield event
            except (httpx.TransportError, ApiError) as error:
                delay = next_delay(delay, error)
            if not is_lost:
                is_lost = True
                yield Disconnected()
            await asyncio.sleep(max(delay, events.retry))

    async def _pages(
        self, path: str, parse_row: Callable[[Row], T], query: Row
    ) -> AsyncIterator[T]:
        request = self._http.build_request("GET", path, params=_encode_query(query))
        response = await self._send(request, retry_delay_at_first)
        for row in response.json():
            yield parse_row(row)
        while url := _next_page(response):
            response = await self._send(self._http.build_request("GET", url), retry_delay)
            for row in response.json():
                yield parse_row(row)

    async def _open_export(self, query: Row, *, has_begun: bool) -> httpx.Response:
        params = _encode_query(query)
        request = self._http.build_request("GET", "/prices/export", params=params)
        delay = retry_delay if has_begun else retry_delay_at_first
        return await self._send(request, delay, stream=True)

    async def _send(
        self, request: httpx.Request, delay: RetryDelay, *, stream: bool = False
    ) -> httpx.Response:
        async for attempt in _retry_context(delay, self._attempts):
            with attempt:
                response = await self._http.send(request, stream=stream)
                if not response.is_success:
                    await response.aread()
                return _check_status(response)
        raise AssertionError("stamina returns or raises")

    async def _get(self, path: str, query: Row) -> httpx.Response:
        return _check_status(await self._http.get(path, params=_encode_query(query)))


def _with_defaults(
    transport: type[T_Transport],
    base_url: str,
    options: dict[str, Any],
) -> dict[str, Any]:
    """*options* with a timeout, and with the proxy of the environment unless they choose one."""
    if not options.keys() & {"transport", "mounts", "proxy", "verify", "cert", "trust_env"}:
        options |= make_transports(transport, base_url)
    return {"timeout": REQUEST_TIMEOUT, **options}


def _retry_context(delay: RetryDelay, attempts: int) -> Any:
    """Attempts with waits of half a second to ten seconds, unless the API says how long."""
    return stamina.retry_context(delay, attempts, timeout=None, wait_initial=0.5, wait_max=10.0)


def retry_delay(error: Exception) -> bool | float:
    """Whether a request that failed with *error* is repeated, or after how many seconds."""
    if isinstance(error, ApiError) and error.transient:
        wait = error.retry_after or True
        return wait <= MAX_RETRY_AFTER and wait
    return isinstance(
        error, httpx.NetworkError | httpx.TimeoutException | httpx.RemoteProtocolError
    )


def retry_delay_at_first(error: Exception) -> bool | float:
    """The same for a first request, whose failed connection may be due to a wrong address."""
    wrong = httpx.ConnectError, httpx.TimeoutException, httpx.RemoteProtocolError
    return not isinstance(error, wrong) and retry_delay(error)


def _export_query(ticker: str, start: datetime | None, end: datetime | None) -> dict[str, Any]:
    bounds = {name: bound for name, bound in (("start", start), ("end", end)) if bound}
    return {"ticker": ticker, "format": "ndjson", **_ORIGIN, **bounds}


def _encode_query(query: Row) -> dict[str, str]:
    names = {"start": "start_date", "end": "end_date"}
    return {
        names.get(name, name): value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in query.items()
    }


def _stream_request(tickers: tuple[str, ...], events: Events) -> dict[str, Any]:
    events.discard_partial_event()
    headers = {"Last-Event-ID": events.last_id} if events.last_id else {}
    return {
        "url": "/prices/stream",
        "params": {"ticker": tickers},
        "headers": headers,
        "timeout": STREAM_TIMEOUT,
    }


def _next_page(response: httpx.Response) -> httpx.URL | None:
    link = response.links.get("next")
    return response.url.join(link["url"]) if link else None


def _check_status(response: httpx.Response) -> httpx.Response:
    """The successful *response*; raises ApiError with a problem document's parameters."""
    if response.is_success:
        return response
    errors = {}
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        errors = {error["name"]: error["reason"] for error in response.json()["errors"]}
    status, location = response.status_code, response.headers.get("location", "")
    redirect = f", which redirects to {location}" if response.has_redirect_location else ""
    errors = errors or {"response": f"HTTP {status}{redirect}"}
    raise ApiError(status, errors, parse_retry_after(response.headers))


def next_delay(delay: float, error: Exception) -> float:
    """Seconds until the next attempt; raises *error* if another attempt would fail too."""
    next_one = min(max(2 * delay, 1.0), MAX_RECONNECT_DELAY)
    if not isinstance(error, ApiError):
        return next_one
    if not error.transient:
        raise error
    return max(next_one, error.retry_after or 0.0)


def parse_price(row: Row) -> SourcedPrice:
    """A row of /prices that includes its origin; like all parsers, raises ValueError, KeyError."""
    return SourcedPrice(
        id=row["id"],
        ticker=row["ticker"],
        price=Decimal(row["price"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        source=row["source"],
        observed_at=_parse_moment(row["observed_at"]),
    )


def parse_gap(row: Row) -> Gap:
    """A row of /prices/gaps; its `to` is the last missing minute."""
    first, last = (datetime.fromisoformat(row[end]) for end in ("from", "to"))
    return Gap(first, last + MINUTE, row["reason"])


def parse_coverage(row: Row) -> Coverage:
    """A row of /prices/coverage."""
    since = datetime.fromisoformat(row["from"])
    return Coverage(since, row["expected"], row["polled"], row["chart"], row["imported"])


def parse_candle(row: Row) -> Candle:
    """A row of /prices/candles."""
    prices = {name: Decimal(row[name]) for name in ("open", "high", "low", "close")}
    start = datetime.fromisoformat(row["created_at"])
    return Candle(start=start, samples=row["samples"], **prices)


def parse_ticker(row: Row) -> Ticker:
    """A row of /tickers."""
    day = ("change_24h", "change_percent_24h", "high_24h", "low_24h")
    return Ticker(
        ticker=row["ticker"],
        configured=row["configured"],
        since=_parse_moment(row["since"]),
        rows=row["rows"],
        first=_parse_point(row["first"]),
        newest=_parse_point(row["newest"]),
        **{name: None if row[name] is None else Decimal(row[name]) for name in day},
    )


def _parse_point(row: Row | None) -> Point | None:
    if row is None:
        return None
    return Point(Decimal(row["price"]), datetime.fromisoformat(row["created_at"]))


def _parse_moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
