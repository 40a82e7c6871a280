"""Requests and responses, without input and output: queries, errors, and when to try again."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import httpx
import stamina

from tracker.client.events import Events
from tracker.client.values import Row
from tracker.errors import ApiError
from tracker.proxies import make_transports
from tracker.times import parse_retry_after

REQUEST_TIMEOUT = 30.0  # seconds
STREAM_TIMEOUT = httpx.Timeout(30.0, read=45.0)  # seconds; the server sends a heartbeat each 15
MAX_RECONNECT_DELAY = 30.0  # seconds
DEFAULT_ATTEMPTS = 10  # of a request, one after the other
MAX_RETRY_AFTER = 120.0  # seconds; an API that needs longer is an error

ORIGIN = {"include": "source,observed_at"}

T_Transport = TypeVar("T_Transport", httpx.HTTPTransport, httpx.AsyncHTTPTransport)
RetryDelay: TypeAlias = Callable[[Exception], bool | float]


def with_defaults(
    transport: type[T_Transport],
    base_url: str,
    options: dict[str, Any],
) -> dict[str, Any]:
    """*options* with a timeout, and with the proxy of the environment unless they choose one."""
    if not options.keys() & {"transport", "mounts", "proxy", "verify", "cert", "trust_env"}:
        options |= make_transports(transport, base_url)
    return {"timeout": REQUEST_TIMEOUT, **options}


def retry_context(delay: RetryDelay, attempts: int) -> Any:
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


def export_query(ticker: str, start: datetime | None, end: datetime | None) -> dict[str, Any]:
    """The query of an export, whose lines continue from any minute."""
    return {"ticker": ticker, "start": start, "end": end, "format": "ndjson", **ORIGIN}


def encode_query(query: Row) -> dict[str, str]:
    """*query* by the API's names: moments and lists as text, without empty lists."""
    names = {"start": "start_date", "end": "end_date"}
    return {
        names.get(name, name): _encode_value(value)
        for name, value in query.items()
        if value not in (None, ())
    }


def _encode_value(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


def stream_request(tickers: tuple[str, ...], events: Events) -> dict[str, Any]:
    """Options of a request that continues after the last complete event."""
    events.discard_partial_event()
    headers = {"Last-Event-ID": events.last_id} if events.last_id else {}
    return {
        "url": "/prices/stream",
        "params": {"ticker": tickers},
        "headers": headers,
        "timeout": STREAM_TIMEOUT,
    }


def next_page(response: httpx.Response) -> httpx.URL | None:
    """The address of the page that follows; None after the last one."""
    link = response.links.get("next")
    return response.url.join(link["url"]) if link else None


def check_status(response: httpx.Response) -> httpx.Response:
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
