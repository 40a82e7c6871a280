"""Inserts of one minute: the worker's statement against a hypertable that derives nothing."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from ops.bench import filling
from ops.bench.bench import Bench
from ops.bench.errors import BenchError
from ops.bench.figures import Figure, ratios
from ops.bench.rounds import alternate
from ops.bench.scale import MANY
from tracker.settings import CHECKOUT
from tracker.times import MINUTE

Parameters = dict[str, Any]
Measure = Callable[[psycopg.Connection, bytes, Parameters], float]

_BARE_PRICES = (Path(__file__).parent / "bare_prices.sql").read_bytes()

PRODUCT = (CHECKOUT / "sql/queries/insert_prices.sql").read_bytes()
BARE = b"""\
INSERT INTO bare_prices (ticker, price, created_at, observed_at, source)
SELECT ticker, price, minute, observed_at, %(source)s
  FROM unnest(
    %(tickers)s::text[], %(prices)s::numeric[], %(minutes)s::timestamptz[],
    %(observed)s::timestamptz[]
  ) AS new (ticker, price, minute, observed_at)
"""

_INSERTS = {1: 20, 200: 10, 1000: 5}  # minutes in a turn, by the number of indexes


def insert(bench: Bench) -> Iterator[Figure]:
    """200 and 1,000 indexes, each with a history; one index, once the session is warm."""
    with _filled(bench, MANY[:200]) as conn:
        yield _compared(bench, conn, MANY[:200], wanted=9)
        single = partial(insert_minutes, conn, PRODUCT, MANY[:1], _INSERTS[1], server_time)
        (values,) = alternate(bench.scale.shots, single)
        what = "insert of one index, in the server"
        yield Figure(what=what, values=values, unit="ms", wanted=1, end="<=")
    with _filled(bench, MANY) as conn:
        yield _compared(bench, conn, MANY, wanted=10)


@contextmanager
def _filled(bench: Bench, names: Sequence[str]) -> Iterator[psycopg.Connection]:
    """A connection to a database where each of *names* has a history, in both tables."""
    settings = bench.empty(f"inserted_{len(names)}")
    filling.fill(settings, names, bench.scale.history)
    with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
        create_bare_prices(conn)
        yield conn


def _compared(
    bench: Bench, conn: psycopg.Connection, names: Sequence[str], *, wanted: float
) -> Figure:
    count = _INSERTS[len(names)]
    sides = (partial(insert_minutes, conn, each, names, count) for each in (PRODUCT, BARE))
    ours, bare = alternate(bench.scale.shots, *sides)
    return Figure(
        what=f"insert of {len(names):,} indexes, against a bare hypertable",
        values=ratios(ours, bare),
        wanted=wanted,
        end="<=",
        note=f"{median(ours):.1f} ms against {median(bare):.1f} ms",
    )


def create_bare_prices(conn: psycopg.Connection) -> None:
    """Make the table `bare_prices`, with the rows of `prices`."""
    conn.execute(_BARE_PRICES)
    filling.settle(conn)


def insert_minutes(
    conn: psycopg.Connection,
    statement: bytes,
    names: Sequence[str],
    count: int,
    measure: Measure | None = None,
) -> float:
    """Insert the next *count* minutes of *names*: the median of the time for each, in ms.

    names: the first has the newest minute of all. *measure*: `whole_time` if none is given.
    """
    table = "prices" if statement is PRODUCT else "bare_prices"
    query = f"SELECT max(created_at) FROM {table} WHERE ticker = %s"  # noqa: S608 -- ours
    (newest,) = conn.execute(query.encode(), [names[0]]).fetchone() or (None,)
    minutes = [newest + number * MINUTE for number in range(1, count + 1)]
    return median(
        (measure or whole_time)(conn, statement, _parameters(names, minute)) for minute in minutes
    )


def whole_time(conn: psycopg.Connection, statement: bytes, parameters: Parameters) -> float:
    """From sending the statement until its commit is confirmed."""
    began = time.perf_counter()
    conn.execute(statement, parameters, prepare=False)
    return (time.perf_counter() - began) * 1000


def server_time(conn: psycopg.Connection, statement: bytes, parameters: Parameters) -> float:
    """The server's own time for planning, execution and triggers, without the commit."""
    lines = [line for line in statement.splitlines() if not line.startswith(b"--")]
    explain = b"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + b"\n".join(lines)
    with conn.transaction():
        conn.execute("SET CONSTRAINTS ALL IMMEDIATE")  # deferred triggers would run in the commit
        found = conn.execute(explain, parameters, prepare=False).fetchone()
    if found is None:
        raise BenchError("EXPLAIN returns nothing")
    [plan] = found[0]
    return float(plan["Planning Time"] + plan["Execution Time"])


def _parameters(names: Sequence[str], minute: datetime) -> Parameters:
    """Arrays as text: to make one of Python's values is not the server's work."""
    return {
        "tickers": f"{{{','.join(names)}}}",
        "prices": f"{{{','.join([f'{30_000 + minute.minute}.25'] * len(names))}}}",
        "minutes": f"{{{','.join([minute.isoformat()] * len(names))}}}",
        "observed": f"{{{','.join([minute.isoformat()] * len(names))}}}",
        "source": "poll",
        "replaces": "chart",
        "first": minute,
        "last": minute,
        "patience": "0",
    }
