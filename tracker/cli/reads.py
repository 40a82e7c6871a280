"""`tracker last`, `prices`, `candles`, `gaps` and `coverage`: rows of the API."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import httpx

from tracker import progress
from tracker.cli.output import write_error, write_values
from tracker.client import Client
from tracker.errors import ApiError, ApiUnavailable, describe
from tracker.models import SourcedPrice
from tracker.proxies import find_proxy
from tracker.settings import Settings, user_command

NO_ROWS = 3  # exit status: nothing failed, but rows are missing

_HTTP_NOT_FOUND = 404
_MAX_PAGE_SIZE = 1000
_LISTS: dict[str, Callable[..., Iterator[Any]]] = {
    "prices": Client.prices,
    "candles": Client.candles,
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


def print_list(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print up to `--limit` rows of an index, page by page; NO_ROWS if it has none."""
    url, limit = api_url(settings, arguments), arguments.limit
    names = ("start", "end", "order", "interval", "tz")
    query = {name: value for name in names if (value := getattr(arguments, name, None)) is not None}
    query["limit"] = min(limit or _MAX_PAGE_SIZE, _MAX_PAGE_SIZE)
    with open_client(url) as client:
        values = _LISTS[arguments.name](client, arguments.ticker, **query)
        values = islice(translate_errors(url, values), limit)
        if progress.is_visible(sys.stdout):
            values = progress.track_items(values, limit, "reading")
        count = write_values(arguments, values)
    if not count:
        write_error(f"{arguments.ticker}: no rows found")
    return 0 if count else NO_ROWS


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


def polled_tickers(client: Client) -> list[str]:
    """The indexes that the tracker polls."""
    return [each.ticker for each in client.tickers() if each.configured]


def api_url(settings: Settings, arguments: argparse.Namespace) -> str:
    """The API's address: `--url`, or WEB_PORT of this machine."""
    return arguments.url or f"http://127.0.0.1:{settings.web_port}"


def open_client(url: str) -> Client:
    """A client of the API at *url*."""
    return Client(url)


def translate_errors(url: str, values: Iterable[T]) -> Iterator[T]:
    """*values* unchanged. Raises ApiUnavailable, also for an unexpected response."""
    proxy = find_proxy(url)
    server = f"{url} through {proxy.variable}" if proxy else url
    try:
        yield from values
    except httpx.ConnectError as error:
        reason = describe(error)
        raise ApiUnavailable(
            f"{server} is unavailable: {reason}; is `{user_command('up')}` running?"
        ) from error
    except httpx.RequestError as error:
        raise ApiUnavailable(f"{server}: {describe(error)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ApiUnavailable(
            f"{url}: unexpected response; this is not the API of a tracker"
        ) from error
