"""Lines about the recorder and its processes: a tick, memory at rest, the start of the demo."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from statistics import median

import dramatiq
import psycopg
from dramatiq.brokers.redis import RedisBroker

from ops.bench.processes import SERVER, BenchError, free_ports, resident_memory, running
from ops.bench.report import Figure
from ops.bench.servers import Bench, connect, embedded_settings, fill_database, tracker_command
from tracker.settings import Settings

_NAMES = tuple(f"i{number:02}_usd" for number in range(100))
_LATENCY = 0.1  # seconds that the exchange takes for a response
_CONCURRENCY = 5  # requests that the exchange accepts at a time
_HISTORY = 3000  # minutes: no gap is left to repair
_TIMEOUT = 60.0  # seconds
_REST = 10.0  # seconds before memory is measured


def tick(bench: Bench) -> Iterator[Figure]:
    """100 indexes, from the tick's message to the last commit, over the least time possible."""
    with _worker(bench) as (settings, conn):
        values = []
        for _ in range(bench.rounds + 1):
            minute = _free_minute(settings, conn)
            values.append(_send_tick(settings, conn, minute))
    del values[0]  # it only warmed up
    least = _LATENCY * len(_NAMES) / _CONCURRENCY
    what = f"tick of {len(_NAMES)} indexes, against latency x indexes / {_CONCURRENCY}"
    note = f"{median(values):.2f} s, where {least:.1f} s is the least"
    yield Figure(what, [each / least for each in values], at_most=1.5, note=note)


@contextmanager
def _worker(bench: Bench) -> Iterator[tuple[Settings, psycopg.Connection]]:
    """A worker on a database of its own, whose exchange is slow; no scheduler sends ticks."""
    exchange, metrics = free_ports(2)
    settings = bench.empty("recorded").changed(
        tickers=_NAMES,
        simulator_port=exchange,
        worker_metrics_port=metrics,
        client_base_url=f"http://127.0.0.1:{exchange}/api/v2",
    )
    fill_database(settings, _NAMES, _HISTORY)
    options = [word for name in _NAMES for word in ("--index", name)]
    options += ["--fault", f"latency:delay={_LATENCY}"]
    counts = f"http://127.0.0.1:{exchange}/admin/counts"
    scrape = f"http://127.0.0.1:{metrics}/metrics"
    with (
        bench.process("simulate", settings, *options, ready=counts),
        bench.process("worker", settings, ready=scrape, core=SERVER),
        connect(settings) as conn,
    ):
        yield settings, conn


def _free_minute(settings: Settings, conn: psycopg.Connection) -> datetime:
    """The present minute, with 20 s of it left and without a price; no earlier one has a gap."""
    if (second := datetime.now(UTC).second) > 40:  # noqa: PLR2004 -- of 60
        time.sleep(60.1 - second)
    deadline = time.monotonic() + _TIMEOUT
    client = _broker(settings).client
    while any(client.hlen(f"dramatiq:{name}.msgs") for name in ("default", "later")):
        if time.monotonic() > deadline:
            raise BenchError("the queue does not become empty")
        time.sleep(0.05)
    client.close()
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    conn.execute(_FILL_GAPS, {"minute": minute})
    conn.execute("DELETE FROM prices WHERE created_at = %s", [minute])
    return minute


_FILL_GAPS = """
INSERT INTO prices (ticker, price, created_at)
SELECT ticker, 100.00, minute
  FROM tickers
 CROSS JOIN generate_series(%(minute)s - INTERVAL '20 min', %(minute)s, INTERVAL '1 min') AS minute
    ON CONFLICT DO NOTHING
"""


def _broker(settings: Settings) -> RedisBroker:
    return RedisBroker(url=settings.broker_url)  # type: ignore[no-untyped-call] # dramatiq's


def _send_tick(settings: Settings, conn: psycopg.Connection, minute: datetime) -> float:
    """Seconds until the last price is announced, which happens at its commit."""
    options = {"scheduled_at": str(minute)}
    message = dramatiq.Message[None]("default", "tick", args=(), kwargs={}, options=options)
    with connect(settings) as listening:
        listening.execute("LISTEN prices")
        began = time.perf_counter()
        broker = _broker(settings)
        broker.enqueue(message)
        announced = sum(1 for _ in listening.notifies(timeout=_TIMEOUT, stop_after=len(_NAMES)))
        spent = time.perf_counter() - began
    broker.client.close()
    query = "SELECT count(*) FROM prices WHERE created_at = %s AND source = 'poll'"
    (stored,) = conn.execute(query, [minute]).fetchone() or (0,)
    if stored < len(_NAMES):
        raise BenchError(
            f"{announced} announced, {stored} of {len(_NAMES)} stored in {spent:.1f} s"
        )
    return spent


def memory(bench: Bench) -> Iterator[Figure]:
    """Resident memory of each process some time after its start, without work."""
    web, metrics = free_ports(2)
    settings = bench.database("base").changed(
        web_port=web, worker_metrics_port=metrics, client_base_url="http://127.0.0.1:9"
    )
    names = ("web", "worker", "scheduler")
    with ExitStack() as stack:
        processes = [stack.enter_context(bench.process(name, settings)) for name in names]
        time.sleep(_REST)
        for name, process in zip(names, processes, strict=True):
            if process.poll() is not None:
                raise BenchError(f"{name} ended: {bench.log(name).read_text()[-500:]}")
            yield Figure(f"{name}, idle", [resident_memory(process.pid)], unit="MB", at_most=90)


def demo(bench: Bench) -> Iterator[Figure]:
    """`tracker demo` until its first price, in a new home, and again in the same one."""
    new: list[float] = []
    again: list[float] = []
    for number in range(bench.rounds):
        home = bench.folder / f"demo-{number}"
        for values in (new, again):
            web, exchange = free_ports(2)
            env = embedded_settings(home, web_port=web, simulator_port=exchange).environment()
            url = f"http://127.0.0.1:{web}/v1/prices/last?ticker=btc_usd"
            began = time.perf_counter()
            with running(tracker_command("demo"), env, bench.log("demo"), ready=url):
                values.append(time.perf_counter() - began)
    yield Figure("warm demo, start to the first price", new, unit="s", at_most=6)
    yield Figure("the same, in a home that exists", again, unit="s")
