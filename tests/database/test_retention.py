"""Retention drops old prices, which then do not count as missing; hourly and daily candles stay."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest
import redis
from psycopg import AsyncConnection
from psycopg.errors import InvalidParameterValue

from tests.support.api import error_reasons, format_moment, linked_url
from tests.support.commands import run_command
from tests.support.database import Run, insert_misses, insert_prices, login
from tests.support.derived import assert_daily_candles, assert_islands
from tests.support.logs import capture_log
from tests.support.reference import Series, find_gaps, random_walk
from tests.support.waiting import wait_until
from tests.support.worker import is_idle, running_worker, send_message, send_tick
from tracker import queries
from tracker.errors import Unreachable
from tracker.models import Quote
from tracker.recorder import retention
from tracker.settings import Settings
from tracker.simulator import running_simulator
from tracker.times import DAY, HOUR, MINUTE, floor_moment, minute_of

NOW = minute_of(datetime.now(UTC))
KEPT = timedelta(days=3)
HORIZON = floor_moment(NOW - KEPT, DAY)
OLD = HORIZON - timedelta(days=800)  # in a chunk of its own
SERIES = {
    "btc_usd": {
        **random_walk(1, OLD, 180, 60_000),
        **random_walk(2, HORIZON - 30 * HOUR, 36 * 60, 65_000),
        NOW - MINUTE: Decimal("68000.00"),
    },
    "eth_usd": random_walk(3, HORIZON - 90 * MINUTE, 180, 3_500),
}
LATE = HORIZON - 5 * HOUR + 7 * MINUTE


@pytest.fixture
def filled_database(base: Settings, writer: psycopg.Connection) -> Settings:
    """Two indexes, with gaps before and after the horizon; prices are retained for three days."""
    for ticker, series in SERIES.items():
        insert_prices(writer, ticker, series)
    insert_misses(writer, "btc_usd", [HORIZON - HOUR, LATE], "refused")
    return base.changed(retention=KEPT)


def apply_once(settings: Settings) -> None:
    """As the worker does every hour, with an exchange whose clock agrees."""
    now = datetime.now(UTC)
    retention.apply_retention(settings, now, lambda: now)


def apply_retention(settings: Settings) -> None:
    """The same until no lock of another session, such as autovacuum, postpones it."""

    def is_applied() -> bool:
        with capture_log("WARNING") as warnings:
            apply_once(settings)
        return not warnings

    wait_until(is_applied)


def read_retained(ticker: str) -> Series:
    """The rows that are left."""
    return {minute: price for minute, price in SERIES[ticker].items() if minute >= HORIZON}


def fetch_rows(client: httpx.Client, path: str, **asked: object) -> list[dict[str, Any]]:
    """All rows of btc_usd at *path*, oldest first where the order is a parameter."""
    found: list[dict[str, Any]] = []
    following, query = path, {"ticker": "btc_usd", "limit": 1000, **asked}
    while following:
        answer = client.get(following, params=query)
        assert answer.status_code == 200, answer.text
        found += answer.json()
        following, query = linked_url(answer), {}
    return found


def read_starts(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Since when each index is tracked, and since when its prices are retained."""
    return conn.execute("SELECT ticker, since, kept_since FROM tickers ORDER BY 1").fetchall()


def read_prices(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Every price."""
    query = "SELECT ticker, created_at, price FROM prices ORDER BY ticker, created_at"
    return conn.execute(query).fetchall()


def read_candle(conn: psycopg.Connection, hour: datetime) -> tuple[Any, ...] | None:
    """An hour of btc_usd: the number of its minutes, and its close."""
    query = "SELECT samples, close FROM candles_1h WHERE ticker = 'btc_usd' AND bucket = %s"
    return conn.execute(query, [hour]).fetchone()


def test_retention_drops_older_prices(
    filled_database: Settings, writer: psycopg.Connection
) -> None:
    """To the minute, and a chunk without others as a whole."""
    apply_retention(filled_database)

    assert read_prices(writer) == [
        (ticker, *row) for ticker in SERIES for row in sorted(read_retained(ticker).items())
    ]
    assert writer.execute("SELECT count(*) FROM show_chunks('prices')").fetchone() == (1,)
    assert read_starts(writer) == [(ticker, HORIZON, HORIZON) for ticker in SERIES]


def test_dropped_prices_are_logged(
    base: Settings, writer: psycopg.Connection, log: list[str]
) -> None:
    """In one line. A chunk, and less than a day of another, are dropped by one call."""
    old = random_walk(1, OLD, 180, 60_000)
    insert_prices(writer, "btc_usd", {**old, NOW - MINUTE: Decimal("68000.00")})
    insert_prices(writer, "eth_usd", SERIES["eth_usd"])
    lost = len(old) + len(SERIES["eth_usd"]) - len(read_retained("eth_usd"))

    apply_retention(base.changed(retention=KEPT))

    *postponed, line = log
    assert line == f"INFO dropped {lost:,} prices from before {HORIZON:%Y-%m-%d}, 1 whole chunks\n"
    assert all("retained for another hour" in each for each in postponed)


def test_dropped_minutes_are_no_gaps(
    filled_database: Settings, client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Gaps, coverage, pages and summaries begin with the retained prices; later gaps are listed."""
    minute = {"ticker": "btc_usd", "date": format_moment(LATE)}
    assert client.get("/prices/filtered", params=minute).status_code == 200

    apply_retention(filled_database)

    now = minute_of(datetime.now(UTC))
    expected = find_gaps(read_retained("btc_usd"), {}, HORIZON, now)
    found = fetch_rows(client, "/prices/gaps", end_date=format_moment(now))
    assert [(gap["from"], gap["minutes"]) for gap in found[::-1]] == [
        (format_moment(start), minutes) for start, _, minutes, _ in expected
    ]
    query = "SELECT * FROM gaps('btc_usd', '-infinity', %s)"
    assert writer.execute(query, [now]).fetchall() == expected
    coverage = fetch_rows(client, "/prices/coverage", interval="1d", end_date=format_moment(now))
    assert (coverage[-1]["from"], coverage[-1]["expected"]) == (format_moment(HORIZON), 1440)
    summary = {row["ticker"]: row for row in client.get("/tickers").json()}["btc_usd"]
    assert summary["since"] == format_moment(HORIZON)
    assert len(fetch_rows(client, "/prices")) == len(read_retained("btc_usd"))
    answer = client.get("/prices/filtered", params=minute)
    assert error_reasons(answer, 404) == {"date": f"no price of btc_usd for {format_moment(LATE)}"}


def test_retention_keeps_hourly_candles(
    filled_database: Settings, client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Those of minutes are computed from the retained prices."""
    asked = [{"interval": width} for width in ("1h", "4h", "1d", "1w", "1M")]
    asked += [{"interval": "1d", "tz": zone} for zone in ("America/New_York", "Asia/Tokyo")]
    before = [fetch_rows(client, "/prices/candles", **each) for each in asked]
    days = assert_daily_candles(writer)

    apply_retention(filled_database)

    assert [fetch_rows(client, "/prices/candles", **each) for each in asked] == before
    assert assert_daily_candles(writer) == days
    for width in ("1m", "30m"):
        found = fetch_rows(client, "/prices/candles", interval=width)
        assert min(row["created_at"] for row in found) == format_moment(HORIZON)


def test_retention_is_idempotent(
    filled_database: Settings, writer: psycopg.Connection, log: list[str]
) -> None:
    """No revision, no change and no line is added."""
    apply_retention(filled_database)
    query = "SELECT ticker, revision FROM internal.changes ORDER BY 1, 2"
    before = writer.execute(query).fetchall()
    del log[:]

    apply_retention(filled_database)
    apply_retention(filled_database.changed(retention=timedelta(days=9999)))
    assert writer.execute(query).fetchall() == before
    assert before
    writer.execute("TRUNCATE prices, tickers, misses")
    apply_retention(filled_database)

    assert not [line for line in log if line.startswith("INFO")]


def test_retention_is_logged_as_change(
    filled_database: Settings, reader: AsyncConnection, run: Run, writer: psycopg.Connection
) -> None:
    """The log of changes has a range from the first minute to the horizon."""
    [(newest,)] = writer.execute("SELECT max(position) FROM internal.batches").fetchall()

    apply_retention(filled_database)

    steps = run(queries.changes_after(reader, ["btc_usd"], newest, 2**31 - 1, 0, 10_000))
    assert all(step.number for step in steps)
    ranges = [step for step in steps if step.place is None]
    assert ranges[-1].last_minute < HORIZON
    assert any(step.first_minute is None for step in ranges)


def test_late_price_does_not_change_retained_candle(
    filled_database: Settings, writer: psycopg.Connection
) -> None:
    """One minute knows less of an hour than the retained candle; all minutes replace it.

    The daily candle always equals that of its hours.
    """
    hour = floor_moment(LATE, HOUR)
    before, days = read_candle(writer, hour), assert_daily_candles(writer)
    apply_retention(filled_database)

    insert_prices(writer, "btc_usd", {LATE: Decimal("1.00")})
    assert read_candle(writer, hour) == before
    writer.execute("DELETE FROM prices WHERE created_at = %s", [LATE])
    assert read_candle(writer, hour) == before
    insert_prices(writer, "btc_usd", {hour + n * MINUTE: Decimal("2.00") for n in range(60)})
    assert read_candle(writer, hour) == (60, Decimal("2.00"))
    assert assert_daily_candles(writer) == days
    assert read_starts(writer) == [(ticker, HORIZON, HORIZON) for ticker in SERIES]
    apply_retention(filled_database)

    assert read_candle(writer, hour) == (60, Decimal("2.00"))
    assert len(read_prices(writer)) == sum(len(read_retained(ticker)) for ticker in SERIES)


def test_longer_retention_drops_late_prices(
    filled_database: Settings, writer: psycopg.Connection
) -> None:
    """They are older than both horizons, and than the first retained price."""
    apply_retention(filled_database)
    insert_prices(writer, "btc_usd", {HORIZON - 9 * DAY: Decimal("1.00")})
    apply_retention(filled_database.changed(retention=KEPT + 3 * DAY))

    assert len(read_prices(writer)) == sum(len(read_retained(ticker)) for ticker in SERIES)
    assert read_starts(writer) == [(ticker, HORIZON, HORIZON) for ticker in SERIES]


def test_late_miss_is_no_gap(filled_database: Settings, writer: psycopg.Connection) -> None:
    """It is recorded, and the index is tracked since its first retained price, as before."""
    apply_retention(filled_database)

    insert_misses(writer, "btc_usd", [LATE - MINUTE], "too_late")

    assert read_starts(writer) == [(ticker, HORIZON, HORIZON) for ticker in SERIES]


def test_retention_does_not_wait_for_readers(
    filled_database: Settings, writer: psycopg.Connection, log: list[str]
) -> None:
    """It drops nothing then, polls continue, and an hour later it succeeds."""
    before = read_prices(writer)
    with psycopg.connect(filled_database.database_dsn) as export:
        export.execute("SELECT count(*) FROM prices")
        apply_once(filled_database)
        assert read_prices(writer) == before
        insert_prices(writer, "btc_usd", {NOW: Decimal("1.00")})
    [line] = log
    assert line.startswith(
        "WARNING old prices are retained for another hour: canceling statement due to lock timeout"
    )

    apply_retention(filled_database)

    assert len(read_prices(writer)) == 1 + sum(len(read_retained(ticker)) for ticker in SERIES)


def test_concurrent_retention_loses_no_price(
    filled_database: Settings, writer: psycopg.Connection, log: list[str]
) -> None:
    """Retained prices are complete, and their islands exact."""
    stop = threading.Event()

    def write(seed: int) -> int:
        chance, count = random.Random(seed), 0
        with psycopg.connect(filled_database.database_dsn, autocommit=True) as conn:
            while not stop.is_set():
                minute = HORIZON + chance.randrange(-1440, 1440) * MINUTE
                quote = Quote(ticker="eth_usd", price=Decimal("9.00"), observed_at=minute)
                count += queries.insert_price(conn, quote, minute)
        return count

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, seed) for seed in range(2)]
        cutting = [threads.submit(apply_once, filled_database) for _ in range(12)]
        wait(cutting)
        stop.set()
        assert all(each.result() for each in writing)
        assert not any(each.result() for each in cutting)
    apply_retention(filled_database)

    assert all(minute >= HORIZON for _, minute, _ in read_prices(writer))
    assert {minute for _, minute, _ in read_prices(writer)} >= read_retained("btc_usd").keys()
    assert_islands(writer)
    assert_daily_candles(writer)
    assert not [line for line in log if "deadlock" in line]


def test_worker_role_may_apply_retention(
    filled_database: Settings, writer: psycopg.Connection
) -> None:
    """No role may drop prices of the last two days."""
    with login(filled_database, "tracker_worker") as conn:
        for age in ("'47 hours'", "'-1 day'", "NULL"):
            with pytest.raises(InvalidParameterValue, match="two days"):
                conn.execute(f"SELECT internal.drop_prices({age})")

    apply_retention(filled_database.changed(postgres_user="tracker_worker"))

    assert len(read_prices(writer)) == sum(len(read_retained(ticker)) for ticker in SERIES)


@pytest.mark.parametrize("days", [400, -400, 0.05, -0.05])
def test_clock_skew_prevents_retention(
    filled_database: Settings, writer: psycopg.Connection, log: list[str], days: float
) -> None:
    """Which of the clocks is wrong is unknown, and so is the age of prices."""
    before = read_prices(writer)

    now = datetime.now(UTC)
    retention.apply_retention(filled_database, now, lambda: now - timedelta(days=days))

    assert read_prices(writer) == before
    [line] = log
    side = "ahead of" if days > 0 else "behind"
    assert f"this machine's clock is {abs(days) * 24:,.0f} h {side} the exchange's" in line


def test_unavailable_exchange_prevents_retention(
    filled_database: Settings, writer: psycopg.Connection, log: list[str]
) -> None:
    before = read_prices(writer)

    def unavailable() -> datetime:
        raise Unreachable("deribit.example: connection refused")

    retention.apply_retention(filled_database, datetime.now(UTC), unavailable)

    assert read_prices(writer) == before
    assert log == [
        "WARNING old prices are retained for another hour: deribit.example: connection refused\n"
    ]


def test_age_counts_from_newest_price(
    filled_database: Settings, writer: psycopg.Connection
) -> None:
    """However far ahead every clock is."""
    writer.execute("DELETE FROM prices WHERE created_at >= %s", [HORIZON])
    newest = writer.execute("SELECT max(created_at) FROM prices").fetchone()
    assert newest is not None

    apply_retention(filled_database)

    horizon = floor_moment(newest[0] + MINUTE - KEPT, DAY)
    assert read_starts(writer)[0] == ("btc_usd", horizon, horizon)
    assert all(minute >= horizon for _, minute, _ in read_prices(writer))
    assert len(read_prices(writer)) > 1000


def test_unavailable_database_is_logged(log: list[str], tmp_path: object) -> None:
    """The next hour tries again."""
    away = Settings.load().changed(postgres_host=f"{tmp_path}", retention=KEPT)
    apply_once(away)
    [line] = log
    assert line.startswith("WARNING old prices are retained for another hour: connection")
    assert "No such file or directory" in line


def test_default_retains_everything(filled_database: Settings, writer: psycopg.Connection) -> None:
    before = read_prices(writer)
    apply_once(filled_database.changed(retention=None))
    assert read_prices(writer) == before


def test_hourly_tick_applies_retention(database: Settings, conn: psycopg.Connection) -> None:
    """A message that comes twice, or late, does no harm."""
    insert_prices(conn, "btc_usd", SERIES["btc_usd"])
    with redis.from_url(database.broker_url) as queue:
        queue.flushdb()
    with running_simulator() as exchange:
        settings = database.changed(retention=KEPT, client_base_url=exchange.url)
        _tick_of_retention(settings, conn)


def _tick_of_retention(settings: Settings, conn: psycopg.Connection) -> None:
    def is_applied() -> bool:
        send_tick(settings, NOW.replace(minute=17) - 2 * HOUR)
        wait_until(lambda: is_idle(settings))
        return len(read_prices(conn)) == len(read_retained("btc_usd"))

    with running_worker(settings):
        wait_until(is_applied)
        send_message(settings, "tidy", queue="later")
        wait_until(lambda: is_idle(settings))
    assert len(read_prices(conn)) == len(read_retained("btc_usd"))


@pytest.mark.slow
def test_backfill_skips_prices_beyond_retention(
    database: Settings, conn: psycopg.Connection
) -> None:
    """A chart reaches back a month; older prices than RETENTION are not stored."""
    with running_simulator() as exchange:
        settings = database.changed(retention=KEPT, client_base_url=exchange.url)
        status, _, errors = run_command(settings, "backfill", "--range", "1m")
    assert (status, errors) == (0, "")
    [(oldest,)] = conn.execute("SELECT min(created_at) FROM prices").fetchall()
    assert HORIZON <= oldest < HORIZON + DAY


@pytest.mark.slow
def test_import_warns_of_prices_beyond_retention(database: Settings) -> None:
    """It stores them nevertheless: RETENTION may become longer."""
    settings = database.changed(retention=KEPT)
    lines = ["ticker,created_at,price"]
    lines += [f"btc_usd,{format_moment(at)},1.50" for at in (OLD, HORIZON - MINUTE, HORIZON)]
    status, output, errors = run_command(settings, "import", "-", stdin="\n".join(lines))
    assert (status, errors) == (0, "")
    assert output == (
        "btc_usd: added 3, 0 were there already\n"
        "btc_usd: 2 of them are older than RETENTION keeps\n"
    )
