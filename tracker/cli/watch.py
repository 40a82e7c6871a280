"""`tracker watch`: prices as they are stored, across lost connections."""

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext

import httpx

from tracker.cli.output import ROW_FORMATS, output_format, write_csv, write_error, write_json_lines
from tracker.cli.reads import api_url, newest_prices, open_client, polled_tickers, translate_errors
from tracker.client import Client, Connected, Disconnected, Reset, next_delay
from tracker.errors import ApiError
from tracker.models import SourcedPrice
from tracker.settings import Settings
from tracker.times import format_moment

_CONNECTION_LOST = "connection lost; reconnecting"
_MAX_DIGITS = 120  # a price has fewer than 50


@dataclass(frozen=True, slots=True)
class PriceChange:
    """A price and its difference from the newest one before.

    change: None for the first price of an index, and for a minute before the newest one.
    """

    price: SourcedPrice
    change: Decimal | None = None


def watch_prices(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print the newest price of each index, then each price as it is stored; it never returns."""
    url = api_url(settings, arguments)
    with open_client(url) as client:
        tickers = list(translate_errors(url, _chosen_tickers(client, arguments.ticker)))
        changes = price_changes(translate_errors(url, _stream_prices(client, tickers)))
        row_format = ROW_FORMATS[arguments.name]
        rows = (row_format.render(each.price) for each in changes)
        match output_format(arguments):
            case "json":
                write_json_lines(rows)
            case "csv":
                write_csv(row_format.columns, rows, at_once=True)
            case _:
                from tracker.cli import tables  # rich is slow to import

                tables.print_changes(tickers, changes)
    return 0


def price_changes(prices: Iterable[SourcedPrice]) -> Iterator[PriceChange]:
    """Compare each of *prices* with the newest one of its index; a repeated price is left out."""
    newest: dict[str, SourcedPrice] = {}
    for price in prices:
        previous = newest.get(price.ticker)
        if previous is None or price.created_at >= previous.created_at:
            newest[price.ticker] = price
            if price != previous:
                change = _subtract(price.price, previous.price) if previous else None
                yield PriceChange(price, change)
        else:
            yield PriceChange(price)


def _subtract(price: Decimal, previous: Decimal) -> Decimal:
    with localcontext(prec=_MAX_DIGITS):
        return price - previous


def _chosen_tickers(client: Client, named: list[str]) -> Iterator[str]:
    """The indexes to watch; the request fails at once where the stream would reconnect forever."""
    polled = polled_tickers(client)
    yield from dict.fromkeys(named or polled)


def _stream_prices(client: Client, tickers: list[str]) -> Iterator[SourcedPrice]:
    """The newest prices, then those of the stream; changes of the connection go to stderr.

    The newest prices are read after the stream has begun, so that none is missed in between.
    """
    for event in client.stream_events(*tickers):
        match event:
            case SourcedPrice():
                yield event
            case Reset(ticker, first, last):
                bounds = " to ".join(format_moment(bound) for bound in (first, last) if bound)
                period = f" from {bounds}" if bounds else ""
                write_error(f"{ticker}: many changes{period}; `tracker prices` lists them")
            case Connected(resumed=True):
                write_error("connected again; missed prices follow")
            case Connected():
                yield from _read_newest(client, tickers)
            case Disconnected():
                write_error(_CONNECTION_LOST)


def _read_newest(client: Client, tickers: list[str]) -> Iterator[SourcedPrice]:
    """The newest price of each index, as soon as the API serves them."""
    delay = 0.0
    while True:
        try:
            yield from newest_prices(client, tickers, [])
        except (httpx.TransportError, ApiError) as error:
            if not delay:
                write_error(_CONNECTION_LOST)
            delay = next_delay(delay, error)
            time.sleep(delay)
        else:
            return
