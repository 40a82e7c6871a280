"""Lines about requests: against a usual stack, against the least possible, and at scale."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from statistics import median

import httpx

from ops.bench.processes import SERVER, BenchError, free_ports, resident_memory
from ops.bench.report import Figure, alternate, compare, ratios
from ops.bench.servers import BASE_MINUTES, HERE, MANY, PAIR, Bench, Server, connect
from ops.bench.wrk import Load, run_wrk

_PAGE = "/prices?ticker=btc_usd&limit=50"
_LAST = "/prices/last?ticker=btc_usd"
_YEAR = "/prices/candles?ticker=btc_usd&interval=1d&order=asc&limit=365&start_date={minute}"
_DEEP = 500_000  # rows below the newest
_WINDOW = 10_000 * 60  # seconds: enough different pages
_CONNECTIONS = 256
_WARM_UP = 4  # seconds, until every connection has had a response and memory is stable


def newest(bench: Bench) -> Iterator[Figure]:
    """The newest page, as clients share it, and without shared responses."""
    for uncached, at_least in ((False, 15), (True, 6)):
        what = f"newest page, {'un' if uncached else ''}cached, requests/s against FastAPI"
        rival = (bench.server("fastapi_app"), _PAGE)
        ours, usual = _compare(bench, _PAGE, rival, uncached=uncached)
        yield _rates(what, ours, usual, at_least, uncached=uncached)


def random_page(bench: Bench) -> Iterator[Figure]:
    """Pages at random moments."""
    path = f"{_PAGE}&start_date={{time}}"
    rivals = ((bench.server("fastapi_app"), path), (bench.server("starlette_app"), "/select"))
    ours, usual, select = _compare(bench, path, *rivals)
    yield _rates("page at a random start_date, requests/s against FastAPI", ours, usual, 6)
    yield _rates("the same, against SELECT 1 through a pool", ours, select, 0.75)


def last_price(bench: Bench) -> Iterator[Figure]:
    """The last price, as clients share it, and without shared responses."""
    rivals = ((bench.server("fastapi_app"), _LAST), (bench.server("starlette_app"), "/bytes"))
    ours, usual, fixed = _compare(bench, _LAST, *rivals)
    what = "last price, cached, requests/s against FastAPI"
    yield _rates(what, ours, usual, 15, uncached=False)
    yield _rates("the same, against fixed bytes from Starlette", ours, fixed, 0.7, uncached=False)
    ours, usual = _compare(bench, _LAST, rivals[0], uncached=True)
    yield _rates("last price, uncached, requests/s against FastAPI", ours, usual, 4)


def filtered(bench: Bench) -> Iterator[Figure]:
    """The price of a random minute."""
    path = "/prices/filtered?ticker=btc_usd&date={minute}"
    ours, usual = _compare(bench, path, (bench.server("fastapi_app"), path))
    yield _rates("filtered, random minutes, requests/s against FastAPI", ours, usual, 4)


def _compare(
    bench: Bench, path: str, *rivals: tuple[Server, str], uncached: bool = False
) -> list[list[Load]]:
    """The loads of the API and of each rival. Raises BenchError if FastAPI's prices differ."""
    now, api = int(time.time()), bench.server("web")
    example = path.format(time=now - 7200, minute=(now - 7200) // 60 * 60)
    if _prices(f"{api.url}{example}") != _prices(f"{rivals[0][0].url}{example}"):
        raise BenchError(f"FastAPI's response to {example} differs from the API's")
    period = (now - (BASE_MINUTES - 100) * 60, now - 3600)  # minutes pass meanwhile
    turns = (
        partial(run_wrk, f"{url}{path}", bench.seconds, period=period, uncached=uncached, pid=pid)
        for (url, pid), path in ((api, path), *rivals)
    )
    return alternate(bench.turns, *turns)


def _prices(url: str) -> list[tuple[int, Decimal, datetime]]:
    body = httpx.get(url).raise_for_status().json()
    return [
        (each["id"], Decimal(each["price"]), datetime.fromisoformat(each["created_at"]))
        for each in (body if isinstance(body, list) else [body])
    ]


def _rates(
    what: str, ours: list[Load], theirs: list[Load], at_least: float, *, uncached: bool = True
) -> Figure:
    values = ratios((load.rate for load in ours), (load.rate for load in theirs))
    note = ", against ".join(
        f"{median(load.rate for load in loads):,.0f}/s"
        f" ({median(load.cpu for load in loads):.2f} ms of CPU each)"
        for loads in (ours, theirs)
    )
    cache = "miss" if uncached else "hit"
    return Figure(what, values, at_least=at_least, cache=cache, note=note)


def deep(bench: Bench) -> Iterator[Figure]:
    """A page 500,000 rows below the newest against one at the top; another minute each time."""
    url = f"{bench.server('web', 'deep').url}{_PAGE}&start_date={{minute}}"
    now = int(time.time()) - 3600
    ends = (now - _DEEP * 60, now)
    far, near = alternate(
        bench.turns, *(partial(_p50, bench, url, (end - _WINDOW, end)) for end in ends)
    )
    what = f"p50 of a page {_DEEP:,} rows deep, against the first page"
    yield compare(what, far, near, "ms", at_most=1.15, cache="miss")


def large(bench: Bench) -> Iterator[Figure]:
    """50 million rows of 1,000 indexes against 100,000 rows of two."""
    sides = ((bench.server("web", "large").url, MANY), (bench.server("web").url, PAIR))
    period = (int(time.time()) - (BASE_MINUTES - 100) * 60, int(time.time()) - 3600)
    for name, path in {
        "last": "/prices/last?ticker={ticker}",
        "page": "/prices?ticker={ticker}&limit=50&start_date={minute}",
        "filtered": "/prices/filtered?ticker={ticker}&date={minute}",
    }.items():
        turns = (partial(_p50, bench, f"{root}{path}", period, names) for root, names in sides)
        many, few = alternate(bench.turns, *turns)
        what = f"p50 of {name} at 50 M rows, against 100,000 rows"
        yield compare(what, many, few, "ms", at_most=1.25, cache="miss")


def _p50(bench: Bench, url: str, period: tuple[int, int], names: tuple[str, ...] = PAIR) -> float:
    return run_wrk(url, bench.seconds, connections=1, period=period, names=names).p50


def candles(bench: Bench) -> Iterator[Figure]:
    """A year of daily candles from a random minute, against its half a million rows in SQL."""
    period = (int(time.time()) - bench.minutes * 60 + 3600, int(time.time()) - 366 * 86_400)
    query, since = (HERE / "raw_candles.sql").read_bytes(), datetime.fromtimestamp(period[0], UTC)
    year = {"ticker": "btc_usd", "since": since, "until": since + timedelta(days=365)}
    with connect(bench.database("deep")) as conn:

        def aggregate() -> float:
            began = time.perf_counter()
            conn.execute(query, year).fetchall()
            return 1e3 * (time.perf_counter() - began)

        p50 = partial(_p50, bench, f"{bench.server('web', 'deep').url}{_YEAR}", period)
        ours, raw = alternate(bench.turns, p50, aggregate)
    yield Figure("a year of daily candles, p50", ours, unit="ms", at_most=12, cache="miss")
    what = "the same, against aggregating the rows"
    yield compare(what, ours, raw, "ms", inverse=True, at_least=15, cache="miss")


def crowd(bench: Bench) -> Iterator[Figure]:
    """256 connections to a fresh process: no error, no long wait, no growing memory."""
    settings = bench.database("base").changed(web_port=free_ports(1)[0])
    root = f"http://127.0.0.1:{settings.web_port}/v1"
    load = partial(run_wrk, f"{root}{_PAGE}", connections=_CONNECTIONS, strict=False)
    seconds = 6 if bench.quick else 60
    with bench.process("web", settings, ready=f"{root}/health/live", core=SERVER) as process:
        load(_WARM_UP)
        before = resident_memory(process.pid)
        result = load(seconds)
        after = resident_memory(process.pid)
    what = f"newest page, {_CONNECTIONS} connections for {seconds} s: errors"
    yield Figure(what, [result.errors], unit="", at_most=0, cache="hit")
    what = "the same: p99 against p50"
    yield compare(what, [result.p99], [result.p50], "ms", at_most=10, cache="hit")
    what = "the same: memory after against before"
    yield compare(what, [after], [before], "MB", at_most=1.1, cache="hit")
