"""Answers stay as quick as they were: far back, in a large archive, over a year."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median

import psycopg

from ops.bench.bench import Bench
from ops.bench.figures import Figure, ratios
from ops.bench.rounds import alternate
from ops.bench.scale import BASE_MINUTES, DEEP, MANY, PAIR
from ops.bench.wrk import Asked, shoot

_PAGE = "/prices?ticker={ticker}&limit=50&start_date={minute}"
_READS = {
    "last": "/prices/last?ticker={ticker}",
    "page": _PAGE,
    "filtered": "/prices/filtered?ticker={ticker}&date={minute}",
}
_YEAR = "/prices/candles?ticker=btc_usd&interval=1d&order=asc&limit=365&start_date={minute}"
_RAW = Path(__file__).with_name("raw_candles.sql").read_bytes()
_WINDOW = 10_000 * 60  # seconds: enough different pages to ask for


def deep(bench: Bench) -> Iterator[Figure]:
    """A page 500,000 rows below the newest against one at the top, a new one each time."""
    now = int(time.time()) - 3600
    url = f"{bench.ours('deep').url}{_PAGE}"
    sides = (
        partial(_p50, bench, Asked(url=url, first=last - _WINDOW, last=last, clients=1))
        for last in (now - DEEP * 60, now)
    )
    far, near = alternate(bench.scale.shots, *sides)
    yield _slower(f"p50 of a page {DEEP:,} rows deep, against the first page", far, near, 1.15)


def large(bench: Bench) -> Iterator[Figure]:
    """50 million rows of 1,000 indexes against 100,000 of two."""
    ours, small = bench.ours("large").url, bench.ours("base").url
    now = int(time.time())
    first, last = now - (BASE_MINUTES - 100) * 60, now - 3600
    for name, path in _READS.items():
        sides = (
            partial(
                _p50,
                bench,
                Asked(url=f"{url}{path}", first=first, last=last, names=names, clients=1),
            )
            for url, names in ((ours, MANY), (small, PAIR))
        )
        many, few = alternate(bench.scale.shots, *sides)
        yield _slower(f"p50 of {name} at 50 M rows, against 100,000 rows", many, few, 1.25)


def candles(bench: Bench) -> Iterator[Figure]:
    """A year of daily candles, a year that begins at another minute each time."""
    now = int(time.time())
    first = now - bench.scale.minutes * 60 + 3600
    asked = Asked(
        url=f"{bench.ours('deep').url}{_YEAR}", first=first, last=now - 366 * 86_400, clients=1
    )
    with psycopg.connect(bench.database("deep").database_dsn, autocommit=True) as conn:
        begin = datetime.fromtimestamp(first, UTC)
        ours, raw = alternate(
            bench.scale.shots, partial(_p50, bench, asked), partial(_aggregated, conn, begin)
        )
    yield Figure(
        what="a year of daily candles, p50",
        values=[1e3 * each for each in ours],
        unit="ms",
        wanted=12,
        end="<=",
    )
    note = f"the rows take {1e3 * median(raw):.0f} ms"
    yield Figure(
        what="the same, against aggregating the rows",
        values=ratios(raw, ours),
        wanted=15,
        note=note,
    )


def _p50(bench: Bench, asked: Asked) -> float:
    return shoot(asked, bench.scale.seconds).p50


def _aggregated(conn: psycopg.Connection, begin: datetime) -> float:
    """Seconds until a year's candles are there, made of half a million rows."""
    began = time.perf_counter()
    window = {"ticker": "btc_usd", "since": begin, "until": begin + timedelta(days=365)}
    conn.execute(_RAW, window).fetchall()
    return time.perf_counter() - began


def _slower(what: str, slow: list[float], quick: list[float], wanted: float) -> Figure:
    note = f"{1e3 * median(slow):.2f} ms against {1e3 * median(quick):.2f} ms"
    return Figure(what=what, values=ratios(slow, quick), wanted=wanted, end="<=", note=note)
