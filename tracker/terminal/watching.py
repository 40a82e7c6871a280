"""`tracker watch`: prices as they are stored, over whatever becomes of the connection."""

import argparse
import sys
from collections.abc import Callable, Sequence

from tracker.client import Client
from tracker.models import SourcedPrice
from tracker.replies import Reset
from tracker.settings import Settings
from tracker.terminal import api, kinds, writing
from tracker.terminal.link import Link, Started, tell
from tracker.terminal.reading import newest, polled
from tracker.terminal.tape import Move, Tape
from tracker.times import format_moment


def watch(settings: Settings, arguments: argparse.Namespace) -> int:
    """The newest price of each index, then each one that comes; it never ends by itself."""
    address, link = api.url(settings, arguments), Link()
    with api.quiet(), api.client(address, event_hooks=link.hooks) as client:
        tickers = list(api.answers(address, lambda: _chosen(client, arguments.ticker)))
        show = _shower(_writer(arguments, tickers))

        def begin() -> None:
            for price in newest(client, tickers, []):
                show(price)

        stream = client.stream(*tickers, events=Started(begin))
        for event in api.answers(address, lambda: stream):
            if isinstance(event, Reset):
                tell(_told(event))
            else:
                show(event)
    return 0


def _chosen(client: Client, named: list[str]) -> list[str]:
    """The API is asked in any case: if it is away from the start, nobody shall wait for it."""
    every = polled(client)
    return list(dict.fromkeys(named)) or every


def _shower(put: Callable[[Move], None]) -> Callable[[SourcedPrice], None]:
    tape = Tape()

    def show(price: SourcedPrice) -> None:
        if move := tape.take(price):
            put(move)
            sys.stdout.flush()

    return show


def _writer(arguments: argparse.Namespace, tickers: Sequence[str]) -> Callable[[Move], None]:
    """Lines for eyes; for programs lines of csv, or an object of json on each line."""
    chosen = writing.form(arguments)
    if chosen == "table":
        from tracker.terminal import lines  # noqa: PLC0415 -- no pipe waits for it

        return lines.writer(tickers)
    start = writing.csv_writer if chosen == "csv" else writing.json_writer
    put = start(kinds.PRICE)
    return lambda move: put(move.price)


def _told(reset: Reset) -> str:
    """What the stream does not carry, and where it is."""
    ends = [format_moment(end) for end in (reset.first, reset.last) if end]
    when = f" from {' to '.join(ends)}" if ends else ""
    return f"{reset.ticker}: much has changed{when}; `tracker prices` has it"
