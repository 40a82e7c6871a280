"""Lines about a million rows: export and import against psql's copy."""

import os
import time
from collections.abc import Iterator
from functools import partial
from urllib.request import urlopen

from ops.bench.processes import LOAD, run_command
from ops.bench.report import Figure, alternate, compare
from ops.bench.servers import Bench, connect, settle, tracker_command
from tracker.settings import Settings

_EXPORTED = 1_000_000  # rows, where the database has as many
_FILE = """
    SELECT ticker, to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS created_at, price
      FROM prices WHERE ticker = 'btc_usd' ORDER BY created_at LIMIT
"""


def export(bench: Bench) -> Iterator[Figure]:
    """An index as CSV; both sides discard it, so that the disk is not measured."""
    url, database = bench.server("web", "deep").url, bench.database("deep")
    count = min(_EXPORTED, bench.minutes)
    begin = int(time.time()) // 60 * 60 - (count - 100) * 60
    query = (
        "SELECT id, ticker, price, created_at FROM prices"  # noqa: S608 -- a number
        f" WHERE ticker = 'btc_usd' AND created_at >= to_timestamp({begin}) ORDER BY created_at"
    )

    def download() -> float:
        began = time.perf_counter()
        path = f"/prices/export?ticker=btc_usd&start_date={begin}&format=csv"
        with urlopen(f"{url}{path}", timeout=60) as response:  # noqa: S310 -- http, and ours
            while response.read(1 << 18):
                pass
        return time.perf_counter() - began

    copy = partial(_copy, bench, database, f"({query}) TO '/dev/null' CSV HEADER")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD})  # psql inherits it
    try:
        ours, copied = alternate(bench.rounds, download, copy)
    finally:
        os.sched_setaffinity(0, cores)
    what = f"export of {count:,} rows as CSV, against \\copy"
    yield compare(what, ours, copied, "s", inverse=True, at_least=0.5, cache="miss")


def import_(bench: Bench) -> Iterator[Figure]:
    """A file into an empty table, with everything derived from its rows; whole processes."""
    database, count = bench.empty("imported"), 100_000 if bench.quick else 1_000_000
    file = bench.folder / "prices.csv"
    query = f"({' '.join(_FILE.split())} {count})"
    _copy(bench, bench.database("deep"), f"{query} TO '{file}' CSV HEADER")

    def run_import() -> float:
        _empty(database)
        began = time.perf_counter()
        run_command(tracker_command("import", str(file)), database.environment())
        return time.perf_counter() - began

    def copy() -> float:
        _empty(database)
        into = f"prices (ticker, created_at, price) FROM '{file}' CSV HEADER"
        return _copy(bench, database, into)

    ours, copied = alternate(bench.rounds, run_import, copy, warm=False)
    what = f"import of {count:,} lines, against \\copy"
    yield compare(what, ours, copied, "s", inverse=True, at_least=0.5)


def _empty(database: Settings) -> None:
    with connect(database) as conn:
        conn.execute("TRUNCATE prices, tickers, misses")
        settle(conn)


def _copy(bench: Bench, database: Settings, rest: str) -> float:
    """Seconds that psql takes from its start to its end."""
    began = time.perf_counter()
    command = [bench.program("psql"), "--no-psqlrc", "--quiet", database.database_dsn]
    run_command([*command, "--command", f"\\copy {rest}"])
    return time.perf_counter() - began
