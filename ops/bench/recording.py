"""A tick of many indexes, from its message to the last commit; what processes weigh at rest."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import psycopg
import redis

from ops.bench import filling
from ops.bench.bench import Bench
from ops.bench.errors import BenchError
from ops.bench.figures import Figure
from ops.bench.machine import SERVER
from ops.bench.processes import answers, free_ports, rss, running, wait_for
from tracker import actors
from tracker.deribit import AT_ONCE
from tracker.embedded.up import app_processes
from tracker.settings import Settings
from tracker.times import minute_of

_MANY = tuple(f"i{number:02}_usd" for number in range(100))
_LATENCY = 0.1  # seconds
_REST = 10.0  # seconds, before what is idle is weighed
_PATIENCE = 60.0  # seconds
_HISTORY = 3000  # minutes: nothing is left to repair


def tick(bench: Bench) -> Iterator[Figure]:
    """100 indexes, an exchange that takes 100 ms and bears five calls at a time."""
    values = []
    with _recording(bench) as (settings, conn):
        for _ in range(bench.scale.rounds + 1):  # the first one only warms up
            minute = _clear(settings, conn)
            values.append(_ticked(settings, conn, minute))
    limit = _LATENCY * len(_MANY) / AT_ONCE
    yield Figure(
        what=f"tick of {len(_MANY)} indexes, against latency x indexes / {AT_ONCE}",
        values=[each / limit for each in values[1:]],
        wanted=1.5,
        end="<=",
        note=f"{sorted(values[1:])[len(values[1:]) // 2]:.2f} s, where {limit:.1f} s is the least",
    )


def memory(bench: Bench) -> Iterator[Figure]:
    """Resident memory of each process, some time after its start, with nothing to do."""
    ports = dict(zip(("web_port", "worker_metrics_port"), free_ports(2), strict=True))
    settings = bench.database("base").changed(**ports, client_base_url="http://127.0.0.1:9")
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(bench.process(name, settings))
            for name in ("web", "worker", "scheduler")
        }
        time.sleep(_REST)
        for name, process in processes.items():
            if process.poll() is not None:
                raise BenchError(f"{name} ended: {bench.log(name).read_text()[-500:]}")
            values = [rss(process.pid)]
            yield Figure(what=f"{name}, idle", values=values, unit="MB", wanted=90, end="<=")


@contextmanager
def _recording(bench: Bench) -> Iterator[tuple[Settings, psycopg.Connection]]:
    """A worker on a database of its own, whose exchange is slow; nobody ticks but us."""
    port = free_ports(1)[0]
    settings = bench.empty("recorded").changed(
        tickers=_MANY, simulator_port=port, client_base_url=f"http://127.0.0.1:{port}/api/v2"
    )
    filling.fill(settings, _MANY, _HISTORY)
    apps = app_processes(settings, simulated=True)
    app = next(each for each in apps if each.name == "simulator")
    words = [*app.command, "--fault", f"latency:delay={_LATENCY}"]
    log = bench.log("simulator")
    with (
        running(words, log=log, env=app.env) as exchange,
        psycopg.connect(settings.database_dsn, autocommit=True) as conn,
    ):
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/admin/counts"), exchange, log)
        with bench.process("worker", settings, core=SERVER) as worker:
            time.sleep(1)
            wait_for(lambda: "polling" in bench.log("worker").read_text(), worker, log)
            yield settings, conn


def _clear(settings: Settings, conn: psycopg.Connection) -> datetime:
    """The present minute, with much of it left, without a price; and nothing else to do."""
    if (second := datetime.now(UTC).second) > 40:  # noqa: PLR2004 -- of 60
        time.sleep(60.1 - second)
    minute = minute_of(datetime.now(UTC))
    _wait_idle(settings)
    conn.execute(_UP_TO, {"until": minute})
    conn.execute("DELETE FROM prices WHERE created_at = %(minute)s", {"minute": minute})
    return minute


_UP_TO = """
INSERT INTO prices (ticker, price, created_at)
SELECT known.ticker, 100.00, minute
  FROM tickers AS known
 CROSS JOIN generate_series(%(until)s - INTERVAL '20 min', %(until)s, INTERVAL '1 min') AS minute
    ON CONFLICT DO NOTHING
"""


def _ticked(settings: Settings, conn: psycopg.Connection, minute: datetime) -> float:
    """Seconds from sending the tick until the last price is announced, which is at its commit."""
    with psycopg.connect(settings.database_dsn, autocommit=True) as listening:
        listening.execute("LISTEN prices")
        began = time.perf_counter()
        _send(settings, minute)
        heard = 0
        for _ in listening.notifies(timeout=_PATIENCE, stop_after=len(_MANY)):
            heard += 1
        spent = time.perf_counter() - began
    query = "SELECT count(*) FROM prices WHERE created_at = %s AND source = 'poll'"
    (stored,) = conn.execute(query, [minute]).fetchone() or (0,)
    if stored < len(_MANY):
        raise BenchError(f"{heard} announced, {stored} of {len(_MANY)} polled in {spent:.1f} s")
    return spent


def _send(settings: Settings, minute: datetime) -> None:
    broker = actors.create_broker(settings)
    actors.declare_tick(broker, settings.tickers).send_with_options(scheduled_at=str(minute))
    broker.client.close()


def _wait_idle(settings: Settings, names: Sequence[str] = ("default", "later")) -> None:
    """Until no message is left from the last tick."""
    deadline = time.monotonic() + _PATIENCE
    with redis.from_url(settings.broker_url) as client:
        while any(client.hlen(f"dramatiq:{name}.msgs") for name in names):
            if time.monotonic() > deadline:
                raise BenchError("the worker does not get done")
            time.sleep(0.05)
