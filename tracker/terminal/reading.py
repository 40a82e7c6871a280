"""`tracker last`, `prices`, `candles`, `gaps`, `coverage`: one question, one answer."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from tracker import progress
from tracker.client import Client
from tracker.errors import ApiError
from tracker.models import SourcedPrice
from tracker.settings import Settings
from tracker.terminal import api, kinds, writing
from tracker.terminal.kinds import Kind

T = TypeVar("T")
Listing = Callable[..., Iterable[T]]

NOTHING = 3  # the exit status, so that a script can tell it from a failure

_NOT_FOUND = 404
_LARGEST_PAGE = 1000
_OPTIONS = ("start", "end", "order", "interval", "tz")


def last(settings: Settings, arguments: argparse.Namespace) -> int:
    """The newest price of each index; NOTHING if one of them has none."""
    missing: list[str] = []
    address = api.url(settings, arguments)
    with api.quiet(), api.client(address) as client:
        found = api.answers(address, lambda: newest(client, arguments.ticker, missing))
        writing.write(arguments, kinds.LAST, found)
    return NOTHING if missing else 0


def newest(client: Client, named: list[str], missing: list[str]) -> Iterator[SourcedPrice]:
    """The newest price of each index *named*, or of each that is polled.

    An index without one is told, and added to *missing*.
    """
    for ticker in named or polled(client):
        try:
            yield client.last(ticker)
        except ApiError as error:
            if error.status != _NOT_FOUND or "ticker" not in error.errors:
                raise
            missing.append(ticker)
            sys.stderr.write(f"tracker: {error}\n")


def polled(client: Client) -> list[str]:
    """The indexes that the API's tracker polls."""
    return [each.ticker for each in client.tickers() if each.configured]


def prices(settings: Settings, arguments: argparse.Namespace) -> int:
    """Prices of an index."""
    return _listed(settings, arguments, kinds.PRICE, Client.prices)


def candles(settings: Settings, arguments: argparse.Namespace) -> int:
    """Candles of an index."""
    return _listed(settings, arguments, kinds.CANDLE, Client.candles)


def gaps(settings: Settings, arguments: argparse.Namespace) -> int:
    """What is missing of an index."""
    return _listed(settings, arguments, kinds.GAP, Client.gaps)


def coverage(settings: Settings, arguments: argparse.Namespace) -> int:
    """How much of an index is stored."""
    return _listed(settings, arguments, kinds.COVERAGE, Client.coverage)


def _listed(
    settings: Settings, arguments: argparse.Namespace, kind: Kind[T], listing: Listing[T]
) -> int:
    """A listing of the client, as many pages as it takes."""
    ticker, count, address = arguments.ticker, arguments.limit, api.url(settings, arguments)
    given = {name: getattr(arguments, name, None) for name in _OPTIONS}
    options = {name: value for name, value in given.items() if value is not None}
    page = min(count or _LARGEST_PAGE, _LARGEST_PAGE)
    with api.quiet(), api.client(address) as client:
        found = api.answers(address, lambda: listing(client, ticker, limit=page, **options))
        written = writing.write(arguments, kind, _counted(islice(found, count), count))
    if not written:
        sys.stderr.write(f"tracker: {ticker}: there is nothing to list\n")
    return 0 if written else NOTHING


def _counted(values: Iterator[T], total: int | None) -> Iterator[T]:
    """The same; counted on a terminal, if it is a file that they go to."""
    return progress.counted(values, total, "reading") if progress.shows(sys.stdout) else values
