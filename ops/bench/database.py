"""Lines about PostgreSQL alone: the SQL of a page, and inserts of one minute."""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from statistics import median
from typing import Any, Final

import psycopg

from ops.bench.processes import BenchError, run_command
from ops.bench.report import Figure, alternate, compare
from ops.bench.servers import HERE, MANY, Bench, connect, fill_database, settle
from tracker.queries.prices import PAGE_STATEMENTS
from tracker.settings import CHECKOUT
from tracker.web.database import SESSION
from tracker.web.responses import JSON, PriceFormat

Parameters = dict[str, Any]

_TEMPLATE = PriceFormat(JSON).template("btc_usd")
PRODUCT: Final = (CHECKOUT / "sql/queries/insert_prices.sql").read_bytes()
BARE: Final = (HERE / "bare_insert.sql").read_bytes()


def page(bench: Bench) -> Iterator[Figure]:
    """50 rows at a random depth, prepared: the hypertable against a plain table of its rows."""
    with connect(bench.database("deep")) as conn:
        conn.execute((HERE / "plain.sql").read_bytes())
        settle(conn)
    turns = (partial(_pgbench, bench, table) for table in ("prices", "plain"))
    ours, plain = alternate(bench.turns, *turns)
    what = "SQL of a page, hypertable against a plain table"
    yield compare(what, ours, plain, "pages/s", at_least=0.7)


def pgbench_script(table: str) -> str:
    """The API's statement of a page from *table*, in pgbench's form.

    pgbench draws numbers only, so that the server builds the query of them, as JSON.
    """
    query = {
        "place": "0",
        "ticker": ":ticker::text",
        "since": "'0001-01-01'",  # the API's first minute: such a page has no lower bound
        "until": "to_timestamp(:until)",
        "count": "50",
        **{name: f":{name}::text" for name in _TEMPLATE},
    }
    members = ", ".join(f"'{name}', {value}" for name, value in query.items())
    statement = re.sub("^--.*\n", "", PAGE_STATEMENTS[False, False].decode(), flags=re.MULTILINE)
    statement = statement.replace("FROM prices", f"FROM {table}").replace(
        "%(batch)s::json", f"json_build_array(json_build_object({members}))"
    )
    return f"\\set until random(:first, :last) / 60 * 60\n{statement};\n"


def _pgbench(bench: Bench, table: str) -> float:
    """Pages a second, over four connections. Raises BenchError."""
    script, now = bench.folder / f"{table}.pgbench", int(time.time())
    script.write_text(pgbench_script(table))
    first = now - (bench.minutes - 1000) * 60  # every page is full
    values = {"first": first, "last": now - 3600, "ticker": "btc_usd", **_TEMPLATE}
    command = [
        *(bench.program("pgbench"), "--no-vacuum", "--protocol=prepared", "--client=4"),
        *("--jobs=1", f"--time={bench.seconds}", f"--file={script}"),
        *(f"--define={name}={value}" for name, value in values.items()),
        bench.database("deep").database_dsn,
    ]
    output = run_command(command, {**os.environ, "PGOPTIONS": SESSION})
    if rate := re.search(r"^tps = ([\d.]+)", output, re.MULTILINE):
        return float(rate[1])
    raise BenchError(f"pgbench: {output}")


def insert(bench: Bench) -> Iterator[Figure]:
    """A minute of 200 and of 1,000 indexes against a bare hypertable; one index by itself."""
    for names, minutes, at_most in ((MANY[:200], 10, 9), (MANY, 5, 10)):
        settings = bench.empty(f"inserted_{len(names)}")
        fill_database(settings, names, 300 if bench.quick else 2_880)
        with connect(settings) as conn:
            create_bare_prices(conn)
            insert_next = partial(insert_minutes, conn, names=names, count=minutes)
            turns = (partial(insert_next, statement) for statement in (PRODUCT, BARE))
            ours, bare = alternate(bench.turns, *turns)
            what = f"insert of {len(names):,} indexes, against a bare hypertable"
            yield compare(what, ours, bare, "ms", at_most=at_most)
            if len(names) < len(MANY):
                single = partial(insert_minutes, conn, PRODUCT, names[:1], 20, server_time)
                (values,) = alternate(bench.turns, single)
                yield Figure("insert of one index, in the server", values, unit="ms", at_most=1)


def create_bare_prices(conn: psycopg.Connection) -> None:
    """Create `bare_prices`: the rows of `prices` without checks and triggers."""
    conn.execute((HERE / "bare_prices.sql").read_bytes())
    settle(conn)


def total_time(conn: psycopg.Connection, statement: bytes, parameters: Parameters) -> float:
    """Milliseconds from sending the statement until its commit is confirmed."""
    began = time.perf_counter()
    conn.execute(statement, parameters, prepare=False)
    return (time.perf_counter() - began) * 1000


def server_time(conn: psycopg.Connection, statement: bytes, parameters: Parameters) -> float:
    """Milliseconds of planning, execution and triggers, without the commit."""
    explain = b"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "
    with conn.transaction():
        conn.execute("SET CONSTRAINTS ALL IMMEDIATE")  # deferred triggers would run in the commit
        uncommented = re.sub(b"(?m)^--.*\n", b"", statement)
        row = conn.execute(explain + uncommented, parameters, prepare=False).fetchone()
    if row is None:
        raise BenchError("EXPLAIN returns nothing")
    [plan] = row[0]
    return float(plan["Planning Time"] + plan["Execution Time"])


def insert_minutes(
    conn: psycopg.Connection,
    statement: bytes,
    names: Sequence[str],
    count: int,
    measure: Callable[[psycopg.Connection, bytes, Parameters], float] = total_time,
) -> float:
    """Insert the next *count* minutes of *names*: the median time of one, in ms.

    names: the first has the newest minute of all.
    """
    table = "prices" if statement is PRODUCT else "bare_prices"
    query = f"SELECT max(created_at) FROM {table} WHERE ticker = %s"  # noqa: S608 -- a constant
    (newest,) = conn.execute(query.encode(), [names[0]]).fetchone() or (None,)
    minutes = (newest + timedelta(minutes=number) for number in range(1, count + 1))
    return median(measure(conn, statement, _parameters(names, minute)) for minute in minutes)


def _parameters(names: Sequence[str], minute: datetime) -> Parameters:
    """Arrays as text, because their conversion from Python is not the server's work."""

    def array(value: str) -> str:
        return f"{{{','.join([value] * len(names))}}}"

    return {
        "tickers": f"{{{','.join(names)}}}",
        "prices": array(f"{30_000 + minute.minute}.25"),
        "minutes": array(minute.isoformat()),
        "observed": array(minute.isoformat()),
        "source": "poll",
        "replaces": "chart",
        "first": minute,
        "last": minute,
        "lock_timeout": "0",
    }
