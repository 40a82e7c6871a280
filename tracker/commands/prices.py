"""What the API has, for a terminal or a pipe."""

import argparse
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tracker.buckets import INTERVALS
from tracker.commands.group import Group
from tracker.times import parse_moment

if TYPE_CHECKING:
    from tracker.settings import Settings

_FORMATS = ("table", "json", "csv")
_LIMIT = 50  # what the API gives by default


def register(group: Group) -> None:
    """Declare them."""
    _add_many(group.add("last", _last, "the newest price of each index"))
    prices = group.add("prices", _prices, "prices, newest first")
    _add_window(prices, "where to start, inclusive", "where to stop, exclusive")
    _add_order(prices)
    candles = group.add("candles", _candles, "open, high, low and close, newest first")
    _add_window(candles, "the earliest start of a candle", "candles begin before it")
    _add_order(candles)
    candles.add_argument("--interval", choices=INTERVALS, help="default: 1h")
    candles.add_argument(
        "--tz", help="whose days, weeks and months: Europe/Berlin, say; default: UTC"
    )
    gaps = group.add("gaps", _gaps, "which minutes are missing, and why, newest first")
    _add_window(gaps, "the first minute that counts", "the minute to stop before")
    coverage = group.add("coverage", _coverage, "how many minutes are stored, newest first")
    _add_window(coverage, "the first minute that counts", "the minute to stop before")
    coverage.add_argument("--interval", choices=("1h", "1d"), help="of each hour (default) or day")
    _add_many(group.add("watch", _watch, "prices as they are stored, until Ctrl-C"))


def _add_many(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ticker", nargs="*", help="btc_usd, say; default: all that are polled")
    _add_common(parser)


def _add_window(parser: argparse.ArgumentParser, start: str, end: str) -> None:
    parser.add_argument("ticker", help="btc_usd, say")
    for name, about in (("start", start), ("end", end)):
        parser.add_argument(f"--{name}-date", dest=name, type=_moment, metavar="DATE", help=about)
    count = parser.add_mutually_exclusive_group()
    count.add_argument(
        "--limit", type=_count, default=_LIMIT, help=f"at most so many (default: {_LIMIT})"
    )
    count.add_argument(
        "--all", dest="limit", action="store_const", const=None, help="as many as there are"
    )
    _add_common(parser)


def _add_order(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--order", choices=("desc", "asc"), help="asc: oldest first")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=_FORMATS, help="default: table on a terminal, json elsewhere"
    )
    parser.add_argument(
        "--url", type=_url, help="of the API; default: the one that runs here, at WEB_PORT"
    )


def _moment(text: str) -> datetime:

    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:18]) > 0):
        raise argparse.ArgumentTypeError(f"is not a whole number from 1 on: {text!r}")
    return int(text[:18])


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return text.rstrip("/")
    except ValueError:  # a port that is none
        pass
    raise argparse.ArgumentTypeError(f"is not an http or https URL: {text!r}")


def _last(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.terminal import reading

    return reading.last(settings, arguments)


def _prices(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.terminal import reading

    return reading.prices(settings, arguments)


def _candles(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.terminal import reading

    return reading.candles(settings, arguments)


def _gaps(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.terminal import reading

    return reading.gaps(settings, arguments)


def _coverage(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.terminal import reading

    return reading.coverage(settings, arguments)


def _watch(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.terminal import watching

    return watching.watch(settings, arguments)
