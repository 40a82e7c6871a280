"""Deribit's API v2: a client with deadlines and retries, and the parser of its responses.

Sources: https://docs.deribit.com/ (JSON-RPC overview, errors, rate limits, and the methods named
below); RFC 9110, 6.6.1 (Date) and 10.2.3 (Retry-After).
"""

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Thread
from time import monotonic
from typing import Any, Self

import httpx
import stamina

from tracker.errors import (
    ExchangeError,
    InvalidResponse,
    RateLimited,
    Refused,
    Unavailable,
    Unreachable,
    describe,
)
from tracker.models import Quote, exact_price
from tracker.proxies import find_proxy, make_transports
from tracker.recorder import metrics
from tracker.times import EPOCH, elapsed_seconds, parse_http_date, parse_retry_after

MAX_CLOCK_DIFFERENCE = timedelta(hours=1)  # beyond it, one of the clocks is wrong
MAX_SKEW = 2.0  # seconds; beyond it, one of the clocks is not synchronized
MAX_CONCURRENT_REQUESTS = 5  # named index lookups that Deribit accepts at a time

_MAX_ATTEMPTS = 4
_REQUEST_TIMEOUT = 8.0  # seconds, from the first byte sent to the last one read
_MAX_RESPONSE_BYTES = 1_000_000  # a price takes about 160
_CONNECTIONS = httpx.Limits(max_connections=MAX_CONCURRENT_REQUESTS, keepalive_expiry=90)
_FIRST_PAUSE, _GROWTH, _JITTER = 2.0, 4.0, 1.0  # seconds: pauses of 2, 8 and 32 span a minute

_OK = 200
_SERVER_ERROR = 500  # and above: proxies on the way have codes of their own, 520 for example
_RATE_LIMIT_CODES = {429, 10028}
_TRANSIENT_CODES = {
    *(10001, 10040, 10041, 10047, 10048, 10066, 11051, 11056, 11094, 13025, 13028, 13503),
}
_PERMANENT_CODES = {
    *(-32700, -32600, -32601, -32602, -32000, 10030),
    *(11029, 11043, 11049, 11050, 12005, 13018, 13020),
}
_MAX_CODE = 2**31  # misses.code is an integer
_MAX_MICROSECONDS = 10**17  # since 1970: the year 5138
_MAX_EXCERPT = 80  # characters
# OpenSSL's errors that a wrong clock of this machine causes too.
_CLOCK_ERRORS = ("certificate has expired", "certificate is not yet valid")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One response; the names in *headers* are in lower case."""

    content: bytes
    status: int = _OK
    headers: Mapping[str, str] = field(default_factory=dict)


class DeribitClient:
    """Deribit's public methods, for many threads; each raises ExchangeError.

    Requests run on an event loop in a thread of its own, because only there a request can be cut
    off as a whole: the time-outs of a blocking client bound each read, but neither a slow drip of
    bytes nor a name lookup. Connections outlive the pause between two polls.
    """

    def __init__(
        self, base_url: str, *, testnet: bool = False, request_timeout: float = _REQUEST_TIMEOUT
    ) -> None:
        """A client that sends nothing yet. Raises SettingsError for an invalid proxy.

        testnet: which net's responses it accepts; the other one has different prices.
        request_timeout: seconds for a whole request, once it is its turn.
        """
        self._testnet = testnet
        self._request_timeout = request_timeout
        self._http = httpx.AsyncClient(
            base_url=base_url,
            follow_redirects=True,
            headers={"Accept": "application/json", "User-Agent": "deribit-price-tracker"},
            timeout=httpx.Timeout(5, connect=3),
            **make_transports(
                httpx.AsyncHTTPTransport, base_url, redirects=True, limits=_CONNECTIONS
            ),
        )
        proxy = find_proxy(base_url)
        self._through = f" through {proxy.variable}" if proxy else ""
        self._heard: tuple[float, datetime] | None = None  # elapsed seconds; the exchange's time
        self._turn = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
        self._loop = asyncio.new_event_loop()
        # For name lookups; asyncio's own would grow with the number of processors.
        self._loop.set_default_executor(ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, "lookup"))
        self._thread = Thread(target=self._loop.run_forever, name="exchange", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections; no request may be under way."""
        for work in (self._http.aclose(), self._loop.shutdown_asyncgens()):
            asyncio.run_coroutine_threadsafe(work, self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fetch_price(
        self,
        ticker: str,
        within: float,
        note_failure: Callable[[ExchangeError], None] = lambda _: None,
    ) -> Quote:
        """The present price of *ticker*, from public/get_index_price.

        Transient errors are retried three times. It returns or raises *within* seconds; the error
        has the number of its attempts, and *note_failure* gets that of each one.
        """
        deadline = monotonic() + within

        def delay(error: Exception) -> bool | float:
            return retry_delay(error, deadline - monotonic() - self._request_timeout)

        for attempt in stamina.retry_context(delay, _MAX_ATTEMPTS, timeout=None):
            with attempt:
                metrics.RETRIES.inc(attempt.num > 1)
                try:
                    left = deadline - monotonic()
                    document = self._get("get_index_price", left, index_name=ticker)
                    return parse_quote(document, ticker)
                except ExchangeError as error:
                    error.attempts = attempt.num
                    note_failure(error)
                    raise
        raise AssertionError("stamina returns or raises")

    def fetch_chart(self, ticker: str, chart: str) -> list[Quote]:
        """The averages of *chart* (1h, 1d, 2d, 1m, 1y or all), ascending, in one attempt.

        From public/get_index_chart_data. Each is an average over the step that its time stands
        for, not a price of that moment.
        """
        parameters = {"index_name": ticker, "range": chart}
        response = self._get("get_index_chart_data", self._request_timeout, **parameters)
        return parse_chart(response, ticker)

    def fetch_index_names(self) -> set[str]:
        """The names of all indexes, from public/get_index_price_names, in one attempt."""
        return parse_names(self._get("get_index_price_names", self._request_timeout))

    def fetch_time(self) -> datetime:
        """The exchange's clock, from public/get_time, in one attempt."""
        result = self._get("get_time", self._request_timeout)["result"]
        return _parse_moment(result, "result", in_milliseconds=True)

    def fetch_response(self, method: str, **parameters: str) -> HttpResponse:
        """The response of public/*method*, whatever it contains, in one attempt.

        Raises Unreachable or InvalidResponse if none comes.
        """
        return self._send(method, self._request_timeout, parameters)

    def fetch_locked(self, tickers: Iterable[str]) -> set[str]:
        """Those of *tickers* that the exchange has locked, from public/status, in one attempt."""
        return parse_locked(self._get("status", self._request_timeout), tickers)

    def estimate_time(self) -> datetime | None:
        """The exchange's clock now, by its newest response of any kind; None before the first.

        It is accurate to some seconds, and independent of this machine's clock.
        """
        if self._heard is None:
            return None
        heard_at, moment = self._heard
        return moment + timedelta(seconds=elapsed_seconds() - heard_at)

    def _get(self, method: str, within: float, **parameters: str) -> dict[str, Any]:
        return parse_envelope(self._send(method, within, parameters), testnet=self._testnet)

    def _send(self, method: str, within: float, parameters: dict[str, str]) -> HttpResponse:
        request = self._request(method, within, parameters)
        response = asyncio.run_coroutine_threadsafe(request, self._loop).result()
        if (moment := parse_http_date(response.headers.get("date", ""))) is not None:
            self._heard = elapsed_seconds(), moment
        return response

    async def _request(
        self, method: str, within: float, parameters: dict[str, str]
    ) -> HttpResponse:
        host = f"{self._http.base_url.host}{self._through}"
        try:
            async with (
                asyncio.timeout(within),
                self._turn,
                asyncio.timeout(self._request_timeout),
                self._http.stream("GET", f"/public/{method}", params=parameters) as response,
            ):
                content = bytearray()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > _MAX_RESPONSE_BYTES:
                        raise InvalidResponse(f"response of more than {_MAX_RESPONSE_BYTES} bytes")
                return HttpResponse(bytes(content), response.status_code, response.headers)
        except TimeoutError:
            raise Unreachable(f"{host}: no complete response in time") from None
        except (httpx.TransportError, RuntimeError) as error:
            # RuntimeError: no thread can be started to look a name up
            why = describe(error)
            if any(each in why for each in _CLOCK_ERRORS):
                why += "; is this machine's clock right?"
            raise Unreachable(f"{host}: {why}") from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise InvalidResponse(f"{host}: {describe(error)}") from error


def describe_difference(difference: timedelta) -> str:
    """How far this machine's clock is ahead of the exchange's, and what to do about it."""
    side = "ahead of" if difference > timedelta() else "behind"
    return (
        f"this machine's clock is {abs(difference).total_seconds() / 3600:,.0f} h {side}"
        " the exchange's: set it right, or check CLIENT_BASE_URL"
    )


def retry_delay(error: Exception, seconds_left: float) -> bool | float:
    """Seconds until the next attempt, which must begin within *seconds_left*; False: no retry.

    The exchange's own Retry-After, or else an exponential back-off with jitter.
    """
    if not isinstance(error, ExchangeError) or not error.transient or seconds_left <= 0:
        return False
    if error.retry_after:
        return error.retry_after if error.retry_after < seconds_left else False
    backoff = _FIRST_PAUSE * _GROWTH ** (error.attempts - 1)
    return min(backoff + random.uniform(0, _JITTER), seconds_left)  # noqa: S311 -- no secret


def parse_envelope(response: HttpResponse, *, testnet: bool) -> dict[str, Any]:
    """The JSON-RPC object of a successful response, with its `result`. Raises ExchangeError.

    The body is judged before the status, because errors come with HTTP 200 too.
    """
    try:
        document = json.loads(response.content, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        _check_status(response)
        raise InvalidResponse(f"not JSON ({error}): {_excerpt(response.content)}") from None
    if not isinstance(document, dict):
        _check_status(response)
        raise InvalidResponse(f"not a JSON object: {_excerpt(response.content)}")
    if (rpc_error := document.get("error")) is not None:
        raise _rpc_error(rpc_error, response)
    _check_status(response)
    if "result" not in document:
        raise InvalidResponse(f"result: missing in {_excerpt(response.content)}")
    if document.get("testnet", testnet) is not testnet:
        raise InvalidResponse(f"testnet: expected {testnet}, got {_excerpt(document['testnet'])}")
    return document


def parse_quote(document: dict[str, Any], ticker: str) -> Quote:
    """The price of *ticker* in the envelope of public/get_index_price. Raises InvalidResponse.

    The result has no time, so the response's own is taken: usOut, microseconds since 1970 UTC.
    """
    result = document["result"]
    if not isinstance(result, dict):
        raise InvalidResponse(f"result: not an object: {_excerpt(result)}")
    if result.get("index_name", ticker) != ticker:
        raise InvalidResponse(f"index_name: not {ticker}: {_excerpt(result['index_name'])}")
    price = _parse_price(result.get("index_price"))
    observed_at = _parse_moment(document.get("usOut"), "usOut")
    return Quote(ticker=ticker, price=price, observed_at=observed_at)


def parse_chart(document: dict[str, Any], ticker: str) -> list[Quote]:
    """The points of *ticker* in the envelope of a chart, [milliseconds, price] each.

    Raises InvalidResponse.
    """
    result = document["result"]
    if not isinstance(result, list):
        raise InvalidResponse(f"result: not a list of points: {_excerpt(result)}")
    points = []
    for point in result:
        match point:
            case [time, price]:
                moment = _parse_moment(time, "time of a point", in_milliseconds=True)
                points.append(Quote(ticker=ticker, price=_parse_price(price), observed_at=moment))
            case _:
                raise InvalidResponse(f"result: not a point: {_excerpt(point)}")
    return points


def parse_names(document: dict[str, Any]) -> set[str]:
    """Every name in the envelope of public/get_index_price_names. Raises InvalidResponse."""
    result = document["result"]
    if not isinstance(result, list) or not all(isinstance(name, str) for name in result):
        raise InvalidResponse(f"result: not a list of index names: {_excerpt(result)}")
    if not result:
        raise InvalidResponse("result: lists no index")
    return set(result)


def parse_locked(document: dict[str, Any], tickers: Iterable[str]) -> set[str]:
    """Those of *tickers* that the envelope of public/status locks. Raises InvalidResponse.

    `locked` is a boolean or its name, or "partial"; the lists have names of indexes or currencies,
    in upper or lower case.
    """
    result = document["result"]
    if not isinstance(result, dict):
        raise InvalidResponse(f"result: not an object: {_excerpt(result)}")
    if str(result.get("locked")).lower() == "true":
        return set(tickers)
    lists = (result.get("locked_indices"), result.get("locked_currencies"))
    names = {str(name).lower() for each in lists if isinstance(each, list) for name in each}
    return {ticker for ticker in tickers if not names.isdisjoint((ticker, ticker.split("_")[0]))}


def _rpc_error(error: object, response: HttpResponse) -> ExchangeError:
    """A known code is more specific than the status; without one the status decides."""
    known = error if isinstance(error, dict) else {}
    code, data = known.get("code"), known.get("data")
    if not isinstance(code, Decimal) or not -_MAX_CODE < code < _MAX_CODE or code != int(code):
        code = None
    text = _excerpt(known.get("message", error))
    if isinstance(data, dict) and "reason" in data:
        text += f" ({_excerpt(data['reason'])})"
    if response.status == _OK or code in _RATE_LIMIT_CODES | _TRANSIENT_CODES | _PERMANENT_CODES:
        code = None if code is None else int(code)
        return _classified_error(code, f"exchange error {text}, code {code}", response)
    status = response.status
    return _classified_error(status, f"exchange error {text}, HTTP {status}", response)


def _check_status(response: HttpResponse) -> None:
    """Raise ExchangeError for a status other than 200, for a body that does not explain it."""
    status = response.status
    if status != _OK:
        raise _classified_error(status, f"HTTP {status}: {_excerpt(response.content)}", response)


def _classified_error(code: int | None, message: str, response: HttpResponse) -> ExchangeError:
    retry_after = parse_retry_after(response.headers)
    if code in _RATE_LIMIT_CODES:
        return RateLimited(message, code=code, retry_after=retry_after)
    server_failed = response.status >= _SERVER_ERROR and code not in _PERMANENT_CODES
    if server_failed or code in _TRANSIENT_CODES:
        return Unavailable(message, code=code, retry_after=retry_after)
    return Refused(message, code=code)


def _parse_price(price: object) -> Decimal:
    if not isinstance(price, Decimal):
        raise InvalidResponse(f"index_price: not a number: {_excerpt(price)}")
    try:
        return exact_price(price)
    except ValueError:
        raise InvalidResponse(f"index_price: not a credible price: {_excerpt(price)}") from None


def _parse_moment(number: object, name: str, *, in_milliseconds: bool = False) -> datetime:
    """The moment that many microseconds, or milliseconds, after 1970 UTC."""
    if isinstance(number, Decimal) and number < _MAX_MICROSECONDS:
        microseconds = number * 1000 if in_milliseconds else number
        if 0 < microseconds < _MAX_MICROSECONDS and microseconds == int(microseconds):
            return EPOCH + timedelta(microseconds=int(microseconds))
    raise InvalidResponse(f"{name}: not a time since 1970: {_excerpt(number)}")


def _excerpt(value: object) -> str:
    """*value*, short enough for a log line; only the type of a nested one."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return repr(text if len(text) <= _MAX_EXCERPT else f"{text[:_MAX_EXCERPT]}…")
