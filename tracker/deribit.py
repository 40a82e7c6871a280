"""Talking to Deribit's API v2: what to ask, how often, and how long to wait.

Sources: https://docs.deribit.com/ (rate limits, errors, public/get_index_price).
"""

import time

import httpx
import stamina

from tracker.answers import Answer, read_names, read_quote
from tracker.errors import BadAnswer, ExchangeError, Unreachable
from tracker.models import Quote

AT_ONCE = 5  # named index lookups that Deribit bears at a time

_ATTEMPTS = 4  # one call and three retries
_LONGEST_ANSWER = 1_000_000  # bytes; a price takes about 160
_LONGEST_CALL = 8.0  # seconds, over the time-outs of a single read


def open_client(base_url: str) -> httpx.Client:
    """A client of the exchange, whose connections outlive the pause between two polls."""
    return httpx.Client(
        base_url=base_url,
        follow_redirects=True,
        headers={"Accept": "application/json", "User-Agent": "deribit-price-tracker"},
        limits=httpx.Limits(max_connections=AT_ONCE, keepalive_expiry=90),
        timeout=httpx.Timeout(5, connect=3, pool=20),
    )


def fetch_quote(http: httpx.Client, ticker: str, *, testnet: bool, budget: float) -> Quote:
    """Ask for the price of *ticker* now; no new try begins after *budget* seconds.

    Retries what passes by itself, three times. Raises ExchangeError, its `attempts` set.
    Source: https://docs.deribit.com/#public-get_index_price
    """
    give_up = time.monotonic() + budget

    def pause(error: Exception) -> bool | float:
        return _pause(error, give_up - time.monotonic())

    def ask(attempt: int) -> Quote:
        try:
            answer = _get(http, "/public/get_index_price", {"index_name": ticker})
            return read_quote(answer, ticker, testnet=testnet)
        except ExchangeError as error:
            error.attempts = attempt
            raise

    for attempt in stamina.retry_context(pause, _ATTEMPTS, budget, wait_initial=0.5, wait_max=8):
        with attempt:
            return ask(attempt.num)
    raise AssertionError("stamina returns or raises")


def fetch_names(http: httpx.Client) -> set[str]:
    """The names of all indexes, asked for once. Raises ExchangeError.

    Source: https://docs.deribit.com/#public-get_index_price_names
    """
    return read_names(_get(http, "/public/get_index_price_names", {}))


def _pause(error: Exception, left: float) -> bool | float:
    """Whether to try again with *left* seconds to go; a number is the pause that was asked for."""
    if not isinstance(error, ExchangeError) or not error.passing:
        return False
    if error.retry_after is None:
        return left > 0
    return error.retry_after if error.retry_after < left else False


def _get(http: httpx.Client, path: str, params: dict[str, str]) -> Answer:
    try:
        with http.stream("GET", path, params=params) as response:
            content = _read(response, time.monotonic() + _LONGEST_CALL)
    except httpx.TransportError as error:
        raise Unreachable(f"{http.base_url.host}: {error or type(error).__name__}") from error
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise BadAnswer(f"{http.base_url.host}: {error}") from error
    return Answer(content, response.status_code, response.headers)


def _read(response: httpx.Response, give_up: float) -> bytes:
    """The body; a time-out of httpx bounds one read, so a slow drip is cut off here."""
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > _LONGEST_ANSWER:
            raise BadAnswer(f"an answer of more than {_LONGEST_ANSWER} bytes")
        if time.monotonic() > give_up:
            raise Unreachable(f"an answer that takes over {_LONGEST_CALL:.0f} s")
    return bytes(content)
