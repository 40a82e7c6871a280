"""Output for a terminal: tables, and lines of prices, in colours and bold without NO_COLOR."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracker.cli.watch import PriceChange
from tracker.gaps import Coverage, Gap
from tracker.models import Candle, EmptyBucket, FilledPrice, SourcedPrice, Statistics
from tracker.progress import COLOR_SYSTEM
from tracker.rows import format_decimal
from tracker.times import DAY, HOUR, MINUTE

UP, DOWN, REPAIRED = "green", "red", "yellow"

_STALE_AGE = 2 * MINUTE
_ROWS_PER_TABLE = 1000  # a page of the API, so that the first page shows before the last
_UNLIMITED_WIDTH = 10_000  # columns
_TIME_WIDTH = len("2026-11-20 09:30")
_PRICE_WIDTH, _CHANGE_WIDTH = 12, 9  # minima

Cells = tuple[str | Text, ...]

_FILLED = Text("yes", REPAIRED)


@dataclass(frozen=True, slots=True)
class TableFormat:
    """A table of one type of value.

    headings: of the columns; "<" marks a left-aligned one.
    render: the cells of a value.
    optional: how many of the last columns a narrow terminal leaves out.
    """

    headings: tuple[str, ...]
    render: Callable[[Any], Cells]
    optional: int = 0


class _Console(Console):
    """Standard output with unlimited lines: the terminal wraps what is too long for it."""

    def __init__(self) -> None:
        super().__init__(
            width=_UNLIMITED_WIDTH,
            color_system=COLOR_SYSTEM,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def on_broken_pipe(self) -> None:
        """Let the caller handle it, instead of exiting with status 1."""
        raise BrokenPipeError


def table_format(arguments: argparse.Namespace) -> TableFormat:
    """The table of a command; candles have the local time of `--tz`."""
    match arguments.name:
        case "last" | "latest":
            headings = "<ticker", "price", "<minute (UTC)", "age", "<source"
            return TableFormat(headings, _render_last, optional=2)
        case "prices":
            return _FILLED_PRICES if arguments.fill else _PRICES
        case "gaps":
            return TableFormat(("<from (UTC)", "<to", "minutes", "<reason"), _render_gap)
        case "coverage":
            counts = ("expected", "polled", "chart", "imported", "missing", "stored")
            return TableFormat(("<from (UTC)", *counts), _render_coverage)
        case "stats":
            return TableFormat(("<figure", "value", "<minute (UTC)"), tuple)
    zone = _find_zone(arguments.tz)
    return _filled_candle_format(zone) if arguments.fill else _candle_format(zone)


def _render_last(price: SourcedPrice) -> Cells:
    age = datetime.now(UTC) - price.created_at
    return (
        price.ticker,
        Text(format_decimal(price.price), "bold"),
        _format_minute(price.created_at),
        Text(_format_age(age), REPAIRED if age > _STALE_AGE else ""),
        _render_source(price),
    )


def _render_price(price: SourcedPrice | FilledPrice) -> Cells:
    at = price.observed_at
    return (
        _format_minute(price.created_at),
        Text(_format_price(price.price), "bold"),
        _render_source(price),
        f"{at.astimezone(UTC):%H:%M:%S.%f}" if at else "",
    )


def _render_filled_price(price: FilledPrice) -> Cells:
    minute, shown, *origin = _render_price(price)
    return minute, shown, _FILLED if price.filled else "", *origin


def _render_source(price: SourcedPrice | FilledPrice) -> Text:
    return Text("repaired", REPAIRED) if price.source == "chart" else Text(price.source or "")


_PRICES = TableFormat(("<minute (UTC)", "price", "<source", "<observed"), _render_price, optional=2)
_FILLED_PRICES = TableFormat(
    ("<minute (UTC)", "price", "<filled", "<source", "<observed"), _render_filled_price, optional=2
)


def _render_gap(gap: Gap) -> Cells:
    last = gap.until - MINUTE
    reason = Text(gap.reason, DOWN)
    return _format_minute(gap.since), _format_minute(last), str(gap.minutes), reason


def _render_coverage(bucket: Coverage) -> Cells:
    style = DOWN if bucket.missing else UP
    return (
        _format_minute(bucket.since),
        str(bucket.expected),
        str(bucket.polled),
        Text(str(bucket.chart), REPAIRED if bucket.chart else ""),
        str(bucket.imported),
        Text(str(bucket.missing), style),
        Text(f"{bucket.ratio:.2%}", style),
    )


def list_figures(found: Statistics) -> Iterator[Cells]:
    """The rows of a table of statistics: each figure, and its minute if it has one."""
    figures: list[tuple[str, Decimal | float | None, datetime | None, str]] = [
        ("first", found.first, found.first_at, ""),
        ("last", found.last, found.last_at, ""),
        ("high", found.high, found.high_at, ""),
        ("low", found.low, found.low_at, ""),
        ("change", found.change, None, ""),
        ("change", found.change_percent, None, " %"),
        ("mean", found.mean, None, ""),
        ("TWAP", found.twap, None, ""),
        ("log returns", found.log_returns, None, ""),
        ("their mean", found.log_return_mean, None, ""),
        ("their standard deviation", found.log_return_stddev, None, ""),
        ("realised volatility", found.realised_volatility, None, ""),
        ("maximum drawdown", found.max_drawdown_percent, None, " %"),
        ("its peak", found.peak, found.peak_at, ""),
        ("its trough", found.trough, found.trough_at, ""),
        ("minutes polled", found.polled, None, ""),
        ("from charts", found.chart, None, ""),
        ("imported", found.imported, None, ""),
        ("missing", found.missing, None, ""),
        ("stored", None if found.ratio is None else 100 * found.ratio, None, " %"),
    ]
    for name, value, minute, unit in figures:
        if value is not None:
            text = format_decimal(value) if isinstance(value, Decimal) else f"{value:.6g}"
            yield name, text + unit, _format_minute(minute) if minute else ""


def _candle_format(zone: tzinfo) -> TableFormat:
    def render(candle: Candle) -> Cells:
        prices = (format_decimal(price) for price in (candle.open, candle.high, candle.low))
        close = Text(format_decimal(candle.close), _change_style(candle.close - candle.open))
        return _format_minute(candle.start, zone), *prices, close, str(candle.samples)

    return TableFormat((f"<begins ({zone})", "open", "high", "low", "close", "samples"), render)


def _filled_candle_format(zone: tzinfo) -> TableFormat:
    candles = _candle_format(zone)

    def render(bucket: Candle | EmptyBucket) -> Cells:
        if isinstance(bucket, Candle):
            return *candles.render(bucket), ""
        price = _format_price(bucket.close)
        return _format_minute(bucket.start, zone), price, price, price, price, "0", _FILLED

    return TableFormat((*candles.headings, "<filled"), render)


def _format_price(price: Decimal | None) -> str:
    return "" if price is None else format_decimal(price)


def _find_zone(name: str | None) -> tzinfo:
    """The zone of that name; UTC where this machine lacks it, because the API validates it."""
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):
        return UTC


def _format_minute(moment: datetime, zone: tzinfo = UTC) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"


def _format_age(age: timedelta) -> str:
    if age < _STALE_AGE:
        return f"{age.total_seconds():.0f} s"
    if age < 2 * HOUR:
        return f"{age // MINUTE} min"
    return f"{age // HOUR} h" if age < 2 * DAY else f"{age // DAY} days"


def print_table(table_format: TableFormat, values: Iterable[Any]) -> int:
    """Print a table of all *values*, or several if they are many; the number of values."""
    console, count, remaining = _Console(), 0, iter(values)
    while batch := list(islice(remaining, _ROWS_PER_TABLE)):
        console.print(_fit_table(console, table_format, batch))
        count += len(batch)
    return count


def _fit_table(console: Console, table_format: TableFormat, values: list[Any]) -> Table:
    """A table without the optional columns for which the terminal is too narrow."""
    width = Console().width if sys.stdout.isatty() else _UNLIMITED_WIDTH
    rows = [table_format.render(value) for value in values]
    for columns in range(len(table_format.headings), 0, -1):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for heading in table_format.headings[:columns]:
            is_left = heading.startswith("<")
            table.add_column(heading.removeprefix("<"), justify="left" if is_left else "right")
        for cells in rows:
            table.add_row(*cells[:columns])
        is_minimal = columns == len(table_format.headings) - table_format.optional
        if is_minimal or console.measure(table).maximum <= width:
            break
    return table


def print_changes(tickers: Iterable[str], changes: Iterable[PriceChange]) -> None:
    """Print the headings, then a line for each of *changes* at once."""
    console, width = _Console(), max(map(len, tickers), default=0)

    def print_line(*cells: str | Text) -> None:
        line = Text("  ").join(Text.assemble(cell) for cell in cells)
        line.rstrip()
        console.print(line)
        sys.stdout.flush()

    headings = (
        "minute (UTC)".ljust(_TIME_WIDTH),
        "index".ljust(width),
        "price".rjust(_PRICE_WIDTH),
    )
    print_line(*(Text(each, "bold") for each in (*headings, "change".rjust(_CHANGE_WIDTH))))
    for each in changes:
        price, change = each.price, each.change
        signed = "" if change is None else f"{change:+f}"  # readable without colours
        print_line(
            _format_minute(price.created_at),
            price.ticker.ljust(width),
            Text(format_decimal(price.price).rjust(_PRICE_WIDTH), "bold"),
            Text(signed.rjust(_CHANGE_WIDTH), _change_style(change) or "dim"),
            "" if price.source == "poll" else _render_source(price),
        )


def _change_style(change: Decimal | None) -> str:
    """Green for a rise, red for a fall."""
    return UP if change and change > 0 else DOWN if change else ""
