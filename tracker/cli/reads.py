"""`tracker last`, `latest`, `prices`, `candles`, `gaps`, `coverage`, `stats`: rows of the API."""

import argparse
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from tracker import progress
from tracker.cli.output import values_name, write_error, write_values
from tracker.client import DEFAULT_ATTEMPTS, Client
from tracker.embedded.lock import running_url
from tracker.errors import ApiError, ApiUnavailable, describe
from tracker.models import SourcedPrice
from tracker.proxies import Proxy, find_proxy, is_loopback
from tracker.settings import Settings, user_command

NO_ROWS = 3  # exit status: nothing failed, but rows are missing

_HTTP_BAD_REQUEST, _HTTP_NOT_FOUND, _HTTP_SERVER_ERROR = 400, 404, 500
_PROXY_STATUSES = {401, 403, 407, 429}  # also of a proxy before a tracker
_MAX_PAGE_SIZE = 1000
_LISTS: dict[str, Callable[..., Iterator[Any]]] = {
    "prices": Client.prices,
    "filled prices": Client.filled_prices,
    "candles": Client.candles,
    "filled candles": Client.filled_candles,
    "gaps": Client.gaps,
    "coverage": Client.coverage,
}

T = TypeVar("T")


def print_last(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print the newest price of each index; NO_ROWS if an index has none."""
    url = api_url(settings, arguments)
    missing: list[str] = []
    with open_client(url) as client:
        prices = newest_prices(client, arguments.ticker, missing)
        write_values(arguments, translate_errors(url, prices))
    return NO_ROWS if missing else 0


def print_latest(settings: Settings, arguments: argparse.Namespace) -> int:
    """The same in one request, by default also of indexes that are no longer polled."""
    url, missing = api_url(settings, arguments), list[str]()
    with open_client(url) as client:
        prices = _latest_prices(client, [*dict.fromkeys(arguments.ticker)], missing)
        write_values(arguments, translate_errors(url, prices))
    return NO_ROWS if missing else 0


def print_list(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print up to `--limit` rows of an index, page by page; NO_ROWS if it has none.

    The client repeats failed requests of a read of several pages only.
    """
    url, limit = api_url(settings, arguments), arguments.limit
    names = ("start", "end", "order", "interval", "tz", "fill")
    query = {name: value for name in names if (value := getattr(arguments, name, None)) is not None}
    query["limit"] = min(limit or _MAX_PAGE_SIZE, _MAX_PAGE_SIZE)
    is_long = limit is None or limit > _MAX_PAGE_SIZE
    with open_client(url, attempts=DEFAULT_ATTEMPTS if is_long else 1) as client:
        values = _LISTS[values_name(arguments)](client, arguments.ticker, **query)
        values = islice(translate_errors(url, values), limit)
        if progress.is_visible(sys.stdout):
            values = progress.track_items(values, limit, "reading")
        count = write_values(arguments, values)
    if not count:
        write_error(f"{arguments.ticker}: no rows found")
    return 0 if count else NO_ROWS


def print_statistics(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print the statistics of a range; NO_ROWS if no price is stored in it."""
    url, ticker = api_url(settings, arguments), arguments.ticker
    with open_client(url) as client:
        read = (client.stats(ticker, start=arguments.start, end=arguments.end) for _ in range(1))
        [found] = translate_errors(url, read)
    write_values(arguments, [found])
    if not found.samples:
        write_error(f"{ticker}: no rows found")
    return 0 if found.samples else NO_ROWS


def newest_prices(
    client: Client, tickers: Iterable[str], missing: list[str]
) -> Iterator[SourcedPrice]:
    """The newest price of each of *tickers*, by default of each index that is polled.

    An index without a price is reported on standard error and added to *missing*.
    """
    for ticker in tickers or polled_tickers(client):
        try:
            yield client.last(ticker)
        except ApiError as error:
            if error.status != _HTTP_NOT_FOUND or "ticker" not in error.errors:
                raise
            missing.append(ticker)
            write_error(str(error))


def _latest_prices(
    client: Client, tickers: list[str], missing: list[str]
) -> Iterator[SourcedPrice]:
    """The newest prices of *tickers*, by default of all; missing ones as `newest_prices` does."""
    prices = client.latest(*tickers)
    yield from prices
    found = {price.ticker for price in prices}
    missing += [name for name in tickers or polled_tickers(client) if name not in found]
    for name in missing:
        write_error(f"ticker: no price of {name} yet")


def polled_tickers(client: Client) -> list[str]:
    """The indexes that the tracker polls."""
    return [each.ticker for each in client.tickers() if each.configured]


def api_url(settings: Settings, arguments: argparse.Namespace) -> str:
    """The API's address: `--url`, else by WEB_PORT if it is set, else of a tracker that runs here.

    A demo's address has a notice, as its database has.
    """
    if arguments.url:
        return str(arguments.url)
    found = None if "web_port" in settings.model_fields_set else running_url(settings)
    return found or settings.web_url


def open_client(url: str, *, attempts: int = 1) -> Client:
    """A client of the API at *url*, which reports each wait before a request is repeated."""

    def report_retry(details: RetryDetails) -> None:
        reason, shown = _reason(details.caused_by), _without_login(url)
        write_error(f"{shown}: {reason}; the next attempt is in {details.wait_for:.0f} s")

    set_on_retry_hooks([report_retry])
    return Client(url, attempts=attempts)


def translate_errors(url: str, values: Iterable[T]) -> Iterator[T]:
    """*values* unchanged. Raises ApiUnavailable and ApiError in one line that names *url*.

    Errors of parameters, and an index without a price, remain as they are.
    """
    proxy, server = find_proxy(url), _without_login(url)
    if proxy:
        server += f" through {proxy.variable}"
    try:
        yield from values
    except httpx.ConnectError as error:
        reason = _explain_failure(url, proxy, error)
        raise ApiUnavailable(f"{server} is unavailable: {reason}") from error
    except httpx.RemoteProtocolError as error:
        hint = "; if it expects TLS, its address begins with https" if _is_plain(url) else ""
        raise ApiUnavailable(f"{server}: {describe(error)}{hint}") from error
    except httpx.RequestError as error:
        raise ApiUnavailable(f"{server}: {describe(error)}") from error
    except ApiError as error:
        raise _name_server(server, error) from error
    except (ValueError, KeyError, TypeError, RecursionError, httpx.InvalidURL) as error:
        raise ApiUnavailable(
            f"{server}: unexpected response; this is not the API of a tracker"
        ) from error


def _explain_failure(url: str, proxy: Proxy | None, error: httpx.ConnectError) -> str:
    """Why no connection was made: name lookup, TLS, or nothing that listens."""
    host = urlsplit(proxy.url if proxy else url).hostname or ""
    for cause in _causes(error):
        match cause:
            case socket.gaierror():
                return f"the name {host} does not resolve ({cause.strerror})"
            case ssl.SSLCertVerificationError():
                return f"its certificate is not valid: {cause.verify_message}"
            case ssl.SSLError():
                return f"it does not speak TLS ({cause.reason}); a plain address begins with http:"
    is_here = not proxy and is_loopback(host)
    return describe(error) + (f"; is `{user_command('up')}` running?" if is_here else "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _name_server(server: str, error: ApiError) -> ApiError:
    """*error* with *server* in its message, unless it is about the parameters of the request."""
    names = set(error.errors)
    if names == {"response"}:
        reason = _reason(error)
        if error.status < _HTTP_SERVER_ERROR and error.status not in _PROXY_STATUSES:
            reason += "; this is not the API of a tracker"
        if error.status == _HTTP_BAD_REQUEST:
            reason += "; if it expects TLS, its address begins with https"
    elif names == {"path"}:
        reason = "the server has no such path; the API of a tracker is at / or /v1, for example"
    elif error.transient:
        reason = str(error)
    else:
        return error
    return ApiError(error.status, {server: reason}, error.retry_after)


def _reason(error: Exception) -> str:
    """The text of *error*; of a response that is not the API's, its status."""
    is_foreign = isinstance(error, ApiError) and set(error.errors) == {"response"}
    return describe(error).removeprefix("response: ") if is_foreign else describe(error)


def _is_plain(url: str) -> bool:
    return urlsplit(url).scheme == "http"


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
