"""The Community edition of TimescaleDB: the same schema, functions and derived tables."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection
from psycopg.errors import InsufficientPrivilege, UniqueViolation
from psycopg.rows import dict_row

from tests.support import candle_model, examples
from tests.support.community import apply_migrations, run_community_edition
from tests.support.database import Run, drop_prices, insert_misses, insert_prices
from tests.support.derived import DAYS_OF_PRICES, assert_daily_candles
from tests.support.reference import bucket_returns, find_gaps, group_prices, random_walk
from tests.support.schema import read_schema
from tests.support.statistics import assert_statistics, compute_statistics
from tracker import migrations, queries
from tracker.models import Quote
from tracker.times import DAY, HOUR, MINUTE

pytestmark = pytest.mark.slow

OLD = datetime(2024, 3, 8, tzinfo=UTC)  # in a chunk that ended long ago
SERIES = {"btc_usd": random_walk(5, OLD, 2880, 65_000), "eth_usd": random_walk(6, OLD, 2880, 3_500)}

_EMPTY = "TRUNCATE tickers, prices, misses"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A migrated server that serves one connection at a time."""
    with run_community_edition() as dsn:
        with psycopg.connect(dsn, autocommit=True) as conn:
            apply_migrations(conn)
        yield dsn


@pytest.fixture
def conn(server: str) -> Iterator[psycopg.Connection]:
    """Its connection, to empty tables."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(_EMPTY)
        conn.execute("SET timezone = 'UTC'")
        yield conn


def insert_old_days(conn: psycopg.Connection) -> None:
    """Two days of two indexes in an old chunk, with gaps and a miss."""
    for ticker, series in SERIES.items():
        insert_prices(conn, ticker, series)
    insert_misses(conn, "btc_usd", [OLD + 1500 * MINUTE], "refused")


def test_server_is_the_community_edition(conn: psycopg.Connection) -> None:
    assert conn.execute("SHOW timescaledb.license").fetchone() == ("timescale",)


def test_every_migration_can_be_rolled_back_and_reapplied(conn: psycopg.Connection) -> None:
    names = migrations.names()
    insert_old_days(conn)
    stored = "SELECT count(*), sum(price) FROM prices"
    before = conn.execute(stored).fetchall()

    levels = [read_schema(conn)]
    for name in names[::-1]:
        conn.execute((migrations.FOLDER / f"{name}.rollback.sql").read_bytes())
        levels.append(read_schema(conn))
        if name > "0002.prices":
            assert conn.execute(stored).fetchall() == before
    assert levels.pop() == set()
    for name in names:
        apply_migrations(conn, name)
        assert read_schema(conn) == levels.pop()
    migrations.ensure_roles(conn)


def test_derived_rows_follow_changes(conn: psycopg.Connection) -> None:
    insert_old_days(conn)
    conn.execute("UPDATE prices SET price = 1.00 WHERE created_at = %s", [OLD + 7 * MINUTE])
    conn.execute("DELETE FROM prices WHERE created_at < %s", [OLD + 5 * MINUTE])

    left = {minute for minute in SERIES["btc_usd"] if minute >= OLD + 5 * MINUTE}
    query = "SELECT sum(samples) FROM candles_1h WHERE ticker = 'btc_usd'"
    assert conn.execute(query).fetchone() == (len(left),)
    assert assert_daily_candles(conn, DAYS_OF_PRICES) == 4
    query = "SELECT sum(until - since) FROM internal.price_islands WHERE ticker = 'btc_usd'"
    assert conn.execute(query).fetchone() == (len(left) * MINUTE,)
    log = "(SELECT count(*) FROM internal.changes WHERE ticker = 'btc_usd')"
    query = f"SELECT revision, {log} FROM tickers WHERE ticker = 'btc_usd'"
    assert conn.execute(query).fetchone() == (3, 3)
    derived = ("candles_1h", "candles_1d", "internal.price_islands", "internal.miss_islands")
    before = [conn.execute(f"TABLE {name} ORDER BY 1, 2").fetchall() for name in derived]
    conn.execute("SELECT rebuild(ticker) FROM tickers")
    assert [conn.execute(f"TABLE {name} ORDER BY 1, 2").fetchall() for name in derived] == before


def test_functions_match_the_reference(conn: psycopg.Connection) -> None:
    insert_old_days(conn)
    btc, until = SERIES["btc_usd"], OLD + 2 * DAY
    for width in (timedelta(minutes=5), 4 * HOUR):
        query = "SELECT start, close FROM candles('btc_usd', %s, '-infinity', 'infinity')"
        expected = [(start, prices[-1]) for start, prices in group_prices(btc, width).items()]
        assert conn.execute(query, [width]).fetchall() == expected
    query = "SELECT start, change FROM returns('btc_usd', '1 hour', '-infinity', 'infinity')"
    found = {start: float(change) for start, change in conn.execute(query)}
    assert found == pytest.approx(bucket_returns(btc, HOUR))
    query = "SELECT * FROM gaps('btc_usd', '-infinity', %s)"
    expected_gaps = find_gaps(btc, {OLD + 1500 * MINUTE: "refused"}, min(btc), until)
    assert conn.execute(query, [until]).fetchall() == expected_gaps
    minute = max(btc)
    assert conn.execute("SELECT price_at('btc_usd', %s)", [minute]).fetchone() == (btc[minute],)
    with conn.cursor(row_factory=dict_row) as cursor:
        [row] = cursor.execute("SELECT * FROM stats('btc_usd', %s, %s)", [OLD + 7 * MINUTE, until])
    assert_statistics(row, compute_statistics(btc, OLD + 7 * MINUTE, until))
    query = "SELECT count(*), count(*) FILTER (WHERE filled) FROM filled('btc_usd', %s, %s)"
    missing = 2880 - len(btc)
    assert conn.execute(query, [OLD, until]).fetchone() == (2880, missing)
    query = "SELECT created_at, price FROM latest_prices WHERE ticker = 'btc_usd'"
    assert conn.execute(query).fetchone() == (minute, btc[minute])


def test_examples_return_the_expected_rows(conn: psycopg.Connection) -> None:
    examples.insert_example_prices(conn)
    for file in examples.FILES:
        with conn.transaction():
            [(now,)] = conn.execute("SELECT now()").fetchall()
            found = conn.execute(file.read_bytes()).fetchall()
        examples.assert_same_rows(found, examples.MODELS[file.stem](now))


def test_candles_match_the_model(server: str, run: Run) -> None:
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(_EMPTY)
        for day in candle_model.CANDLE_DAYS:
            insert_prices(
                conn, "btc_usd", random_walk(7, datetime.fromisoformat(f"{day}T00Z"), 300, 500)
            )

    @settings(deadline=None, max_examples=20)
    @given(writes=candle_model.writes, query=candle_model.candle_queries, plain=st.booleans())
    def check(
        writes: list[candle_model.Write], query: candle_model.CandleQuery, *, plain: bool
    ) -> None:
        emptied = [("TRUNCATE prices", {})] if plain else []
        candle_model.assert_candles_match(run, reader, emptied + writes, query)

    reader = run(AsyncConnection.connect(server, autocommit=True))
    try:
        check()
    finally:
        run(reader.close())


def test_minute_has_one_price(conn: psycopg.Connection) -> None:
    insert_old_days(conn)
    btc = SERIES["btc_usd"]
    stored_minute, missing = min(btc), min({OLD + n * MINUTE for n in range(2880)} - btc.keys())

    def stored(minute: datetime, source: str) -> bool:
        quote = Quote(ticker="btc_usd", price=Decimal("7.00"), observed_at=minute)
        return queries.insert_price(conn, quote, minute, source=source)

    assert not stored(stored_minute, "poll")
    assert stored(missing, "chart")
    assert not stored(missing, "chart")
    assert stored(missing, "poll")
    assert not stored(missing, "poll")
    with pytest.raises(UniqueViolation):
        insert_prices(conn, "btc_usd", {stored_minute: Decimal("8.00")})
    query = "SELECT price, source FROM prices WHERE ticker = 'btc_usd' AND created_at = %s"
    assert conn.execute(query, [missing]).fetchall() == [(Decimal("7.00"), "poll")]
    query = "SELECT count(*), count(DISTINCT created_at) FROM prices WHERE ticker = 'btc_usd'"
    assert conn.execute(query).fetchone() == (len(btc) + 1, len(btc) + 1)


def test_retention_drops_whole_days_and_keeps_candles(conn: psycopg.Connection) -> None:
    insert_old_days(conn)
    hours = conn.execute("SELECT count(*) FROM candles_1h").fetchone()
    insert_prices(conn, "eth_usd", {OLD + 4 * DAY: Decimal("3.00")})
    conn.execute("SET SESSION AUTHORIZATION tracker_worker")
    with pytest.raises(InsufficientPrivilege):
        conn.execute("SELECT drop_chunks('prices', now())")
    drop_prices(conn, 3 * DAY)
    conn.execute("RESET SESSION AUTHORIZATION")

    left = {minute for minute in SERIES["btc_usd"] if minute >= OLD + DAY}
    query = "SELECT count(*), min(created_at) FROM prices WHERE ticker = 'btc_usd'"
    assert conn.execute(query).fetchone() == (len(left), min(left))
    assert conn.execute("SELECT count(*) - 1 FROM candles_1h").fetchone() == hours
    assert assert_daily_candles(conn) == 5
