"""Talking to Deribit's API v2: what to ask, how often, and how long to wait.

Sources: https://docs.deribit.com/ (rate limits, errors, public/get_index_price).
"""

import asyncio
import random
import time
from datetime import datetime
from threading import Thread
from typing import Self

import httpx
import stamina

from tracker import metrics
from tracker.answers import Answer, read_chart, read_names, read_quote, read_time
from tracker.errors import BadAnswer, ExchangeError, Unreachable, describe
from tracker.models import Quote

AT_ONCE = 5  # named index lookups that Deribit bears at a time

_ATTEMPTS = 4  # one call and three retries
_FIRST_PAUSE, _GROWTH, _JITTER = 2.0, 4.0, 1.0  # seconds: pauses of 2, 8 and 32 span a minute
_LONGEST_CALL = 8.0  # seconds, from the first byte sent to the last one read
_LONGEST_ANSWER = 1_000_000  # bytes; a price takes about 160


class Client:
    """The exchange over HTTP, for many threads; connections outlive the pause between two polls.

    It works on an event loop of its own, as only there a call can be cut off as a whole: the
    time-outs of a blocking one bound each read, but no drip of bytes and no name lookup.
    """

    def __init__(self, base_url: str) -> None:
        """A client of the exchange at *base_url*; nothing is asked yet."""
        self._http = httpx.AsyncClient(
            base_url=base_url,
            follow_redirects=True,
            headers={"Accept": "application/json", "User-Agent": "deribit-price-tracker"},
            limits=httpx.Limits(max_connections=AT_ONCE, keepalive_expiry=90),
            timeout=httpx.Timeout(5, connect=3),
        )
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="exchange", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections; no call may be under way."""
        for work in (self._http.aclose(), self._loop.shutdown_asyncgens()):
            asyncio.run_coroutine_threadsafe(work, self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def get(self, path: str, params: dict[str, str], within: float) -> Answer:
        """The whole answer, *within* seconds at most. Raises Unreachable, BadAnswer."""
        work = self._get(path, params, within)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _get(self, path: str, params: dict[str, str], within: float) -> Answer:
        host = self._http.base_url.host
        try:
            async with (
                asyncio.timeout(within),
                self._turn,
                asyncio.timeout(_LONGEST_CALL),
                self._http.stream("GET", path, params=params) as response,
            ):
                return Answer(await _read(response), response.status_code, response.headers)
        except TimeoutError:
            raise Unreachable(f"{host}: no whole answer in time") from None
        except httpx.TransportError as error:
            raise Unreachable(f"{host}: {describe(error)}") from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise BadAnswer(f"{host}: {describe(error)}") from error


def fetch_quote(client: Client, ticker: str, *, testnet: bool, within: float) -> Quote:
    """Ask for the price of *ticker*; whatever comes of it comes *within* seconds.

    Retries what passes by itself, three times. Raises ExchangeError, its `attempts` set.
    Source: https://docs.deribit.com/#public-get_index_price
    """
    end = time.monotonic() + within

    def ask(attempt: int) -> Quote:
        metrics.RETRIES.inc(attempt > 1)
        try:
            left = end - time.monotonic()
            answer = client.get("/public/get_index_price", {"index_name": ticker}, left)
            return read_quote(answer, ticker, testnet=testnet)
        except ExchangeError as error:
            error.attempts = attempt
            raise

    def pause(error: Exception) -> bool | float:
        return _pause(error, end - time.monotonic() - _LONGEST_CALL)

    for attempt in stamina.retry_context(pause, _ATTEMPTS, timeout=None):
        with attempt:
            return ask(attempt.num)
    raise AssertionError("stamina returns or raises")


def fetch_chart(client: Client, ticker: str, reach: str, *, testnet: bool) -> list[Quote]:
    """The averages of *ticker* over *reach* (1h, 1d, 2d, 1m, 1y or all), oldest first, asked once.

    Raises ExchangeError. Source: https://docs.deribit.com/#public-get_index_chart_data
    """
    asked = {"index_name": ticker, "range": reach}
    answer = client.get("/public/get_index_chart_data", asked, _LONGEST_CALL)
    return read_chart(answer, ticker, testnet=testnet)


def fetch_names(client: Client) -> set[str]:
    """The names of all indexes, asked for once. Raises ExchangeError.

    Source: https://docs.deribit.com/#public-get_index_price_names
    """
    return read_names(client.get("/public/get_index_price_names", {}, _LONGEST_CALL))


def fetch_time(client: Client) -> datetime:
    """The exchange's clock, fetched once. Raises ExchangeError.

    Source: https://docs.deribit.com/#public-get_time
    """
    return read_time(client.get("/public/get_time", {}, _LONGEST_CALL))


def _pause(error: Exception, left: float) -> bool | float:
    """Seconds until the next try, which may begin within *left* seconds; False: none.

    The pause that the exchange asked for, or else one that grows, cut to the time there is.
    """
    if not isinstance(error, ExchangeError) or not error.passing or left <= 0:
        return False
    if error.retry_after:
        return error.retry_after if error.retry_after < left else False
    backoff = _FIRST_PAUSE * _GROWTH ** (error.attempts - 1)
    return min(backoff + random.uniform(0, _JITTER), left)  # noqa: S311 -- no secret


async def _read(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _LONGEST_ANSWER:
            raise BadAnswer(f"an answer of more than {_LONGEST_ANSWER} bytes")
    return bytes(content)
