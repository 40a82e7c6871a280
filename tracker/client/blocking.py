"""Client, made of aio.py by `just blocking-client`: change that file."""

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any, Literal, Self, TypeVar, Unpack

import httpx

from tracker.client.events import Connected, Disconnected, Events, Reset, StreamEvent
from tracker.client.frames import Library, read_frame
from tracker.client.http import (
    DEFAULT_ATTEMPTS,
    ORIGIN,
    RetryDelay,
    check_status,
    encode_query,
    export_query,
    next_delay,
    next_page,
    retry_context,
    retry_delay,
    retry_delay_at_first,
    stream_request,
    with_defaults,
)
from tracker.client.values import (
    Buckets,
    CandleRange,
    Fill,
    Range,
    Row,
    Ticker,
    Window,
    parse_candle,
    parse_coverage,
    parse_filled_candle,
    parse_filled_price,
    parse_gap,
    parse_price,
    parse_statistics,
    parse_ticker,
)
from tracker.errors import ApiError
from tracker.gaps import Coverage, Gap
from tracker.models import Candle, EmptyBucket, FilledPrice, SourcedPrice, Statistics
from tracker.times import MINUTE

T = TypeVar("T")


class Client:
    """A client of the API; its iterators request the next page on demand."""

    def __init__(self, base_url: str, *, attempts: int = DEFAULT_ATTEMPTS, **options: Any) -> None:
        """A client of the API at *base_url*; *options* are those of httpx's client.

        Raises SettingsError for an invalid proxy in the environment.
        """
        options = with_defaults(httpx.HTTPTransport, base_url, options)
        self._http = httpx.Client(base_url=base_url, **options)
        self._attempts = attempts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def last(self, ticker: str) -> SourcedPrice:
        """The newest price."""
        return parse_price((self._get("/prices/last", {"ticker": ticker, **ORIGIN})).json())

    def at(self, ticker: str, date: datetime, tolerance: int = 0) -> SourcedPrice:
        """The price of the minute that contains *date*, or the nearest in *tolerance* seconds."""
        query = {"ticker": ticker, "date": date, "tolerance": tolerance, **ORIGIN}
        return parse_price((self._get("/prices/filtered", query)).json())

    def latest(self, *tickers: str) -> list[SourcedPrice]:
        """The newest price of each of *tickers* that has one, by default of all, in one request."""
        query = {"ticker": tickers, **ORIGIN}
        return [parse_price(row) for row in (self._get("/prices/latest", query)).json()]

    def prices_at(self, date: datetime, *tickers: str, tolerance: int = 0) -> list[SourcedPrice]:
        """The newest price of each of *tickers* at or before *date*, in one request.

        That of the minute that contains *date*, or one that begins up to *tolerance* seconds before
        *date*; an index without one is left out. By default of all indexes.
        """
        query = {"ticker": tickers, "date": date, "tolerance": tolerance, **ORIGIN}
        return [parse_price(row) for row in (self._get("/prices/at", query)).json()]

    def prices(self, ticker: str, **query: Unpack[Range]) -> Iterator[SourcedPrice]:
        """Prices from start to end in the given order, newest first by default."""
        return self._pages("/prices", parse_price, {"ticker": ticker, **query, **ORIGIN})

    def filled_prices(
        self, ticker: str, fill: Fill, **query: Unpack[Range]
    ) -> Iterator[FilledPrice]:
        """Every minute from start to end, both of which it needs: stored, or filled."""
        return self._pages(
            "/prices", parse_filled_price, {"ticker": ticker, "fill": fill, **query, **ORIGIN}
        )

    def gaps(self, ticker: str, **query: Unpack[Window]) -> Iterator[Gap]:
        """Gaps, newest first."""
        return self._pages("/prices/gaps", parse_gap, {"ticker": ticker, **query})

    def coverage(self, ticker: str, **query: Unpack[Buckets]) -> Iterator[Coverage]:
        """The coverage of each hour or day, newest first."""
        return self._pages("/prices/coverage", parse_coverage, {"ticker": ticker, **query})

    def candles(self, ticker: str, **query: Unpack[CandleRange]) -> Iterator[Candle]:
        """The candle of each bucket that has prices, newest first by default."""
        return self._pages("/prices/candles", parse_candle, {"ticker": ticker, **query})

    def filled_candles(
        self, ticker: str, fill: Fill, **query: Unpack[CandleRange]
    ) -> Iterator[Candle | EmptyBucket]:
        """Every bucket from start to end, both of which it needs: its candle, or a filled one."""
        return self._pages(
            "/prices/candles", parse_filled_candle, {"ticker": ticker, "fill": fill, **query}
        )

    def stats(
        self, ticker: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> Statistics:
        """Statistics of the prices from start to before end; default: of the last 24 hours."""
        query = {"ticker": ticker, "start": start, "end": end}
        return parse_statistics((self._get("/prices/stats", query)).json())

    def tickers(self) -> list[Ticker]:
        """The indexes that are tracked, or were."""
        return [parse_ticker(row) for row in (self._get("/tickers", {})).json()]

    def export(
        self, ticker: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> Generator[SourcedPrice, None, None]:
        """Prices from start to before end, oldest first, of a range of any length in one stream."""
        query, has_begun, has_advanced = export_query(ticker, start, end), False, True
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

    def frame(
        self,
        ticker: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        price_type: Literal["decimal", "float64"] = "float64",
        library: Library = "polars",
    ) -> Any:
        """The same prices as a DataFrame: ticker, created_at, price, source and observed_at.

        library: pandas needs pyarrow too. Raises ImportError without it.
        """
        query = export_query(ticker, start, end) | {"format": "arrow", "price_type": price_type}
        return read_frame((self._get("/prices/export", query)).content, library)

    def stream(
        self, *tickers: str, events: Events | None = None
    ) -> Generator[SourcedPrice | Reset, None, None]:
        """Prices as they are stored, without end: it reconnects, and resumes where it was.

        Of *tickers*, by default of all indexes, also those that become known later.
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
                with self._http.stream("GET", **stream_request(tickers, events)) as response:
                    if response.is_error:
                        response.read()
                    check_status(response)
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
        response = self._get(path, query)
        for row in response.json():
            yield parse_row(row)
        while url := next_page(response):
            response = self._send(self._http.build_request("GET", url), retry_delay)
            for row in response.json():
                yield parse_row(row)

    def _open_export(self, query: Row, *, has_begun: bool) -> httpx.Response:
        params = encode_query(query)
        request = self._http.build_request("GET", "/prices/export", params=params)
        delay = retry_delay if has_begun else retry_delay_at_first
        return self._send(request, delay, stream=True)

    def _send(
        self, request: httpx.Request, delay: RetryDelay, *, stream: bool = False
    ) -> httpx.Response:
        for attempt in retry_context(delay, self._attempts):
            with attempt:
                response = self._http.send(request, stream=stream)
                if not response.is_success:
                    response.read()
                return check_status(response)
        raise AssertionError("stamina returns or raises")

    def _get(self, path: str, query: Row) -> httpx.Response:
        request = self._http.build_request("GET", path, params=encode_query(query))
        return self._send(request, retry_delay_at_first)
