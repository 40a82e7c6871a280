"""What is older than RETENTION is dropped and not called missing; hours and days stay candles."""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest
from loguru import logger
from psycopg import AsyncConnection
from psycopg.errors import InsufficientPrivilege, InvalidParameterValue

from tests.support.archive import Series, gaps, miss, store, walk
from tests.support.derived import assert_daily_candles as assert_days
from tests.support.derived import assert_islands
from tests.support.servers import Run
from tests.support.serving import linked_url, problem
from tests.support.working import idle, login, send, tick, wait_for, working
from tracker import queries
from tracker.errors import Unreachable
from tracker.gaps import DAY, HOUR, floor_moment
from tracker.models import Quote
from tracker.recorder import retention
from tracker.settings import Settings
from tracker.simulator import serve
from tracker.times import MINUTE, minute_of

NOW = minute_of(datetime.now(UTC))
KEPT = timedelta(days=3)
HORIZON = floor_moment(NOW - KEPT, DAY)
OLD = HORIZON - timedelta(days=800)  # in a chunk of its own
SERIES = {
    "btc_usd": {
        **walk(1, OLD, 180, 60_000),
        **walk(2, HORIZON - 30 * HOUR, 36 * 60, 65_000),
        NOW - MINUTE: Decimal("68000.00"),
    },
    "eth_usd": walk(3, HORIZON - 90 * MINUTE, 180, 3_500),
}
LATE = HORIZON - 5 * HOUR + 7 * MINUTE


@pytest.fixture
def filled(base: Settings, writer: psycopg.Connection) -> Settings:
    """Two indexes, with holes, before the horizon and after it; prices are kept for three days."""
    for ticker, series in SERIES.items():
        store(writer, ticker, series)
    miss(writer, "btc_usd", [HORIZON - HOUR, LATE], "refused")
    return base.changed(retention=KEPT)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged."""
    written: list[str] = []
    number = logger.add(written.append, format="{level} {message}")
    yield written
    logger.remove(number)


def apply_retention(settings: Settings) -> None:
    """As the worker does, with an exchange whose clock agrees."""
    now = datetime.now(UTC)
    retention.apply_retention(settings, now, lambda: now)


def kept(ticker: str) -> Series:
    """What is left."""
    return {minute: price for minute, price in SERIES[ticker].items() if minute >= HORIZON}


def rows(client: httpx.Client, path: str, **asked: object) -> list[dict[str, Any]]:
    """All that *path* says of btc_usd, oldest first where that can be asked for."""
    found: list[dict[str, Any]] = []
    following, query = path, {"ticker": "btc_usd", "limit": 1000, **asked}
    while following:
        answer = client.get(following, params=query)
        assert answer.status_code == 200, answer.text
        found += answer.json()
        following, query = linked_url(answer), {}
    return found


def text(moment: datetime) -> str:
    """As the API writes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def tracked(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Since when each index is, and since when its prices are kept."""
    return conn.execute("SELECT ticker, since, kept_since FROM tickers ORDER BY 1").fetchall()


def stored(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Every price."""
    query = "SELECT ticker, created_at, price FROM prices ORDER BY ticker, created_at"
    return conn.execute(query).fetchall()


def candle(conn: psycopg.Connection, hour: datetime) -> tuple[Any, ...] | None:
    """An hour of btc_usd: how many minutes it was made of, and its close."""
    query = "SELECT samples, close FROM candles_1h WHERE ticker = 'btc_usd' AND bucket = %s"
    return conn.execute(query, [hour]).fetchone()


def test_what_is_older_is_gone(
    filled: Settings, writer: psycopg.Connection, said: list[str]
) -> None:
    """To the minute, the chunk that held nothing else as a whole; it is told in one line."""
    lost = sum(len(series) - len(kept(ticker)) for ticker, series in SERIES.items())

    apply_retention(filled)

    assert stored(writer) == [
        (ticker, *row) for ticker in SERIES for row in sorted(kept(ticker).items())
    ]
    assert writer.execute("SELECT count(*) FROM show_chunks('prices')").fetchone() == (1,)
    assert tracked(writer) == [(ticker, HORIZON, HORIZON) for ticker in SERIES]
    assert said == [
        f"INFO dropped {lost:,} prices from before {HORIZON:%Y-%m-%d}, 1 whole chunks\n"
    ]


def test_nothing_that_was_dropped_is_missing(
    filled: Settings, client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Gaps, coverage, pages and summaries begin where prices are kept; holes after it are told."""
    minute = {"ticker": "btc_usd", "date": text(LATE)}
    assert client.get("/prices/filtered", params=minute).status_code == 200

    apply_retention(filled)

    now = minute_of(datetime.now(UTC))
    expected = gaps(kept("btc_usd"), {}, HORIZON, now)
    found = rows(client, "/prices/gaps", end_date=text(now))
    assert [(gap["from"], gap["minutes"]) for gap in found[::-1]] == [
        (text(start), minutes) for start, _, minutes, _ in expected
    ]
    query = "SELECT * FROM gaps('btc_usd', '-infinity', %s)"
    assert writer.execute(query, [now]).fetchall() == expected
    coverage = rows(client, "/prices/coverage", interval="1d", end_date=text(now))
    assert (coverage[-1]["from"], coverage[-1]["expected"]) == (text(HORIZON), 1440)
    summary = {row["ticker"]: row for row in client.get("/tickers").json()}["btc_usd"]
    assert summary["since"] == text(HORIZON)
    assert len(rows(client, "/prices")) == len(kept("btc_usd"))
    answer = client.get("/prices/filtered", params=minute)
    assert problem(answer, 404) == {"date": f"no price of btc_usd for {text(LATE)}"}


def test_candles_of_an_hour_and_longer_stay(
    filled: Settings, client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Those of minutes are made of what is left."""
    asked = [{"interval": width} for width in ("1h", "4h", "1d", "1w", "1M")]
    asked += [{"interval": "1d", "tz": zone} for zone in ("America/New_York", "Asia/Tokyo")]
    before = [rows(client, "/prices/candles", **each) for each in asked]
    days = assert_days(writer)

    apply_retention(filled)

    assert [rows(client, "/prices/candles", **each) for each in asked] == before
    assert assert_days(writer) == days
    for width in ("1m", "30m"):
        found = rows(client, "/prices/candles", interval=width)
        assert min(row["created_at"] for row in found) == text(HORIZON)


def test_twice_is_once(filled: Settings, writer: psycopg.Connection, said: list[str]) -> None:
    """No revision, no change and no line more; with nothing to drop at all, neither."""
    apply_retention(filled)
    query = "SELECT ticker, revision FROM internal.changes ORDER BY 1, 2"
    before, lines = writer.execute(query).fetchall(), len(said)

    apply_retention(filled)
    apply_retention(filled.changed(retention=timedelta(days=9999)))
    assert writer.execute(query).fetchall() == before
    assert before
    writer.execute("TRUNCATE prices, tickers, misses")
    apply_retention(filled)

    assert len(said) == lines


def test_who_follows_is_told(
    filled: Settings, reader: AsyncConnection, run: Run, writer: psycopg.Connection
) -> None:
    """The log of changes stays whole: from the first minute up to the horizon all may differ."""
    [(revision,)] = writer.execute(
        "SELECT revision FROM tickers WHERE ticker = 'btc_usd'"
    ).fetchall()

    apply_retention(filled)

    steps = run(queries.changed_minutes(reader, "btc_usd", revision, 0, 10_000))
    assert all(step.whole for step in steps)
    ranges = [step for step in steps if step.place is None]
    assert ranges[-1].last_minute < HORIZON
    assert any(step.first_minute is None for step in ranges)


def test_a_late_price_undoes_no_candle(filled: Settings, writer: psycopg.Connection) -> None:
    """One minute tells less of an hour than the kept candle; all of them are its equal.

    The day is that of its hours all the while.
    """
    hour = floor_moment(LATE, HOUR)
    before, days = candle(writer, hour), assert_days(writer)
    apply_retention(filled)

    store(writer, "btc_usd", {LATE: Decimal("1.00")})
    assert candle(writer, hour) == before
    writer.execute("DELETE FROM prices WHERE created_at = %s", [LATE])
    assert candle(writer, hour) == before
    store(writer, "btc_usd", {hour + n * MINUTE: Decimal("2.00") for n in range(60)})
    assert candle(writer, hour) == (60, Decimal("2.00"))
    assert assert_days(writer) == days
    assert tracked(writer) == [(ticker, HORIZON, HORIZON) for ticker in SERIES]
    apply_retention(filled)

    assert candle(writer, hour) == (60, Decimal("2.00"))
    assert len(stored(writer)) == sum(len(kept(ticker)) for ticker in SERIES)


def test_a_longer_retention_ends_with_late_prices_too(
    filled: Settings, writer: psycopg.Connection
) -> None:
    """They are older than both horizons, and than the moment since when prices are kept."""
    apply_retention(filled)
    store(writer, "btc_usd", {HORIZON - 9 * DAY: Decimal("1.00")})
    apply_retention(filled.changed(retention=KEPT + 3 * DAY))

    assert len(stored(writer)) == sum(len(kept(ticker)) for ticker in SERIES)
    assert tracked(writer) == [(ticker, HORIZON, HORIZON) for ticker in SERIES]


def test_a_late_miss_is_no_gap(filled: Settings, writer: psycopg.Connection) -> None:
    """It is recorded, and the index is tracked since its prices are kept, as before."""
    apply_retention(filled)

    miss(writer, "btc_usd", [LATE - MINUTE], "too_late")

    assert tracked(writer) == [(ticker, HORIZON, HORIZON) for ticker in SERIES]


def test_a_reader_of_old_prices_is_not_waited_for(
    filled: Settings, writer: psycopg.Connection, said: list[str]
) -> None:
    """Nothing is dropped then, polls go on, and an hour later it is."""
    before = stored(writer)
    with psycopg.connect(filled.database_dsn) as export:
        export.execute("SELECT count(*) FROM prices")
        started = time.monotonic()
        apply_retention(filled)
        assert time.monotonic() - started < 5
        assert stored(writer) == before
        store(writer, "btc_usd", {NOW: Decimal("1.00")})
    [line] = said
    assert line.startswith(
        "WARNING old prices are retained for another hour: canceling statement due to"
    )

    apply_retention(filled)

    assert len(stored(writer)) == 1 + sum(len(kept(ticker)) for ticker in SERIES)


def test_several_may_cut_while_others_store(
    filled: Settings, writer: psycopg.Connection, said: list[str]
) -> None:
    """Nothing is overlooked: in the end what is kept is there, and its runs are exact."""
    stop = threading.Event()

    def write(seed: int) -> int:
        chance, count = random.Random(seed), 0
        with psycopg.connect(filled.database_dsn, autocommit=True) as conn:
            while not stop.is_set():
                minute = HORIZON + chance.randrange(-1440, 1440) * MINUTE
                quote = Quote(ticker="eth_usd", price=Decimal("9.00"), observed_at=minute)
                count += queries.insert_price(conn, quote, minute)
        return count

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, seed) for seed in range(2)]
        cutting = [threads.submit(apply_retention, filled) for _ in range(12)]
        wait(cutting)
        stop.set()
        assert all(each.result() for each in writing)
    apply_retention(filled)

    assert all(minute >= HORIZON for _, minute, _ in stored(writer))
    assert {minute for _, minute, _ in stored(writer)} >= kept("btc_usd").keys()
    assert_islands(writer)
    assert_days(writer)
    assert not [line for line in said if "deadlock" in line]


def test_the_worker_may_and_nobody_else(filled: Settings, writer: psycopg.Connection) -> None:
    """Not what is younger than two days, whoever asks."""
    with login(filled, "tracker_worker") as conn:
        for age in ("'47 hours'", "'-1 day'", "NULL"):
            with pytest.raises(InvalidParameterValue, match="two days"):
                conn.execute(f"SELECT internal.drop_prices({age})")
    for role in ("tracker_web", "analyst"):
        with login(filled, role) as conn:
            conn.execute("SET default_transaction_read_only = off")
            with pytest.raises(InsufficientPrivilege):
                conn.execute("SELECT internal.drop_prices('3 days')")

    apply_retention(filled.changed(postgres_user="tracker_worker"))

    assert len(stored(writer)) == sum(len(kept(ticker)) for ticker in SERIES)


@pytest.mark.parametrize("days", [400, -400, 0.05, -0.05])
def test_nothing_is_dropped_while_the_clocks_disagree(
    filled: Settings, writer: psycopg.Connection, said: list[str], days: float
) -> None:
    """Which of the two is wrong cannot be known, so no age of a price is."""
    before = stored(writer)

    now = datetime.now(UTC)
    retention.apply_retention(filled, now, lambda: now - timedelta(days=days))

    assert stored(writer) == before
    [line] = said
    side = "ahead of" if days > 0 else "behind"
    assert f"this machine's clock is {abs(days) * 24:,.0f} h {side} the exchange's" in line


def test_nothing_is_dropped_while_the_exchange_is_unavailable(
    filled: Settings, writer: psycopg.Connection, said: list[str]
) -> None:
    before = stored(writer)

    def unavailable() -> datetime:
        raise Unreachable("deribit.example: connection refused")

    retention.apply_retention(filled, datetime.now(UTC), unavailable)

    assert stored(writer) == before
    assert said == [
        "WARNING old prices are retained for another hour: deribit.example: connection refused\n"
    ]


def test_the_age_of_prices_counts_from_the_newest(
    filled: Settings, writer: psycopg.Connection
) -> None:
    """However far ahead every clock is."""
    writer.execute("DELETE FROM prices WHERE created_at >= %s", [HORIZON])
    newest = writer.execute("SELECT max(created_at) FROM prices").fetchone()
    assert newest is not None

    apply_retention(filled)

    horizon = floor_moment(newest[0] + MINUTE - KEPT, DAY)
    assert tracked(writer)[0] == ("btc_usd", horizon, horizon)
    assert all(minute >= horizon for _, minute, _ in stored(writer))
    assert len(stored(writer)) > 1000


def test_a_database_that_is_away_is_a_line(said: list[str], tmp_path: object) -> None:
    """The next hour tries again."""
    away = Settings.load().changed(postgres_host=f"{tmp_path}", retention=KEPT)
    apply_retention(away)
    [line] = said
    assert line.startswith("WARNING old prices are retained for another hour: connection")
    assert "No such file or directory" in line


def test_without_a_word_all_is_kept(filled: Settings, writer: psycopg.Connection) -> None:
    """The default."""
    before = stored(writer)
    apply_retention(filled.changed(retention=None))
    assert stored(writer) == before


def test_the_tick_of_a_certain_minute_has_it_done(
    database: Settings, conn: psycopg.Connection
) -> None:
    """Once an hour; a message that comes twice, or late, does no harm."""
    store(conn, "btc_usd", SERIES["btc_usd"])
    with serve() as exchange:
        settings = database.changed(retention=KEPT, client_base_url=exchange.url)
        _tick_of_retention(settings, conn)


def _tick_of_retention(settings: Settings, conn: psycopg.Connection) -> None:
    with working(settings):
        tick(settings, NOW.replace(minute=17) - 2 * HOUR)
        wait_for(lambda: len(stored(conn)) == len(kept("btc_usd")))
        send(settings, "tidy", queue="later")
        wait_for(lambda: idle(settings))
    assert len(stored(conn)) == len(kept("btc_usd"))


def tracker(settings: Settings, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """`tracker` with these *words*, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tracker", *words],
        env={**os.environ, **settings.environment()},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_backfill_leaves_out_what_would_not_be_kept(
    database: Settings, conn: psycopg.Connection
) -> None:
    """A chart reaches back a month; what is stored of it is no older than RETENTION."""
    with serve() as exchange:
        settings = database.changed(retention=KEPT, client_base_url=exchange.url)
        done = tracker(settings, "backfill", "--range", "1m")
    assert done.returncode == 0, done.stderr
    [(oldest,)] = conn.execute("SELECT min(created_at) FROM prices").fetchall()
    assert HORIZON <= oldest < HORIZON + DAY


@pytest.mark.slow
def test_import_says_what_will_be_dropped(database: Settings) -> None:
    """It stores all the same: whoever imports may mean to keep more from now on."""
    settings = database.changed(retention=KEPT)
    lines = ["ticker,created_at,price"]
    lines += [f"btc_usd,{text(at)},1.50" for at in (OLD, HORIZON - MINUTE, HORIZON)]
    done = tracker(settings, "import", "-", given="\n".join(lines))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "btc_usd: added 3, 0 were there already\n"
        "btc_usd: 2 of them are older than RETENTION keeps\n"
    )
