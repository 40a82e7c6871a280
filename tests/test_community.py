"""The Community edition of TimescaleDB: the same schema and answers, and compression besides."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege, UniqueViolation

from tests import test_candle_model as candles
from tests import test_examples as examples
from tests.archive import buckets, changes, gaps, miss, store, walk
from tests.community import community, migrate
from tests.conftest import Run
from tests.test_days import OF_PRICES, assert_days
from tests.test_migrations import SCHEMA
from tracker import migrations, queries, retention
from tracker.gaps import DAY, HOUR, NOT_POLLED, Span
from tracker.models import MINUTE, Quote, minute_of
from tracker.queries.prices import Question
from tracker.settings import Settings
from tracker.web.answer.lines import Form

pytestmark = pytest.mark.slow

OLD = datetime(2024, 3, 8, tzinfo=UTC)  # in a chunk that ended long ago
SERIES = {"btc_usd": walk(5, OLD, 2880, 65_000), "eth_usd": walk(6, OLD, 2880, 3_500)}
NOW = minute_of(datetime.now(UTC))

_EMPTY = "TRUNCATE tickers, prices, misses, candles_1h"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Migrated; only one connection at a time is served."""
    with community() as dsn:
        with psycopg.connect(dsn, autocommit=True) as conn:
            migrate(conn)
        yield dsn


@pytest.fixture
def conn(server: str) -> Iterator[psycopg.Connection]:
    """The connection, to tables that are empty at first."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(_EMPTY)
        conn.execute("SET timezone = 'UTC'")
        yield conn


def asked(run: Run, dsn: str, question: Callable[[AsyncConnection], Any]) -> Any:
    """What *question* finds on a connection as the API has it."""

    async def ask() -> Any:
        async with await AsyncConnection.connect(dsn, autocommit=True) as reader:
            await reader.execute("SET timezone = 'UTC'")
            return await question(reader)

    return run(ask())


def compress(conn: psycopg.Connection) -> list[str]:
    """Compress every chunk that is old enough: their names."""
    return list(iter(lambda: queries.compress_prices(conn, NOW - 3 * DAY), None))


def fill(conn: psycopg.Connection) -> None:
    """Two days of two indexes in an old chunk, with holes and some reasons."""
    for ticker, series in SERIES.items():
        store(conn, ticker, series)
    miss(conn, "btc_usd", [OLD + 1500 * MINUTE], "refused")


def schema(conn: psycopg.Connection) -> set[tuple[str, ...]]:
    """Everything the migrations have made."""
    return set(conn.execute(SCHEMA).fetchall())


def test_it_is_the_community_edition(conn: psycopg.Connection) -> None:
    """Or the rest of this file would prove nothing."""
    assert conn.execute("SHOW timescaledb.license").fetchone() == ("timescale",)


def test_down_and_up_again(conn: psycopg.Connection) -> None:
    """Every migration, compressed rows there or not: a step up leads where the step down was."""
    names = migrations.names()
    fill(conn)
    assert len(compress(conn)) == 1
    stored = "SELECT count(*), sum(price) FROM prices"
    before = conn.execute(stored).fetchall()

    levels = [schema(conn)]
    for name in names[::-1]:
        conn.execute((migrations.FOLDER / f"{name}.rollback.sql").read_bytes())
        levels.append(schema(conn))
        if name > "0003":
            assert conn.execute(stored).fetchall() == before
    assert levels.pop() == set()
    for name in names:
        migrate(conn, name)
        assert schema(conn) == levels.pop()


def test_rows_and_what_follows_from_them(conn: psycopg.Connection) -> None:
    """Stored, changed and deleted: candles, runs, revision and log agree."""
    fill(conn)
    conn.execute("UPDATE prices SET price = 1.00 WHERE created_at = %s", [OLD + 7 * MINUTE])
    conn.execute("DELETE FROM prices WHERE created_at < %s", [OLD + 5 * MINUTE])

    left = {minute for minute in SERIES["btc_usd"] if minute >= OLD + 5 * MINUTE}
    query = "SELECT sum(samples) FROM candles_1h WHERE ticker = 'btc_usd'"
    assert conn.execute(query).fetchone() == (len(left),)
    assert assert_days(conn, OF_PRICES) == 4
    query = "SELECT sum(until - since) FROM price_runs WHERE ticker = 'btc_usd'"
    assert conn.execute(query).fetchone() == (len(left) * MINUTE,)
    query = "SELECT revision, (SELECT count(*) FROM changes WHERE ticker = 'btc_usd') FROM tickers"
    assert conn.execute(f"{query} WHERE ticker = 'btc_usd'").fetchone() == (4, 4)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_analysts_get_their_answers(conn: psycopg.Connection, *, compressed: bool) -> None:
    """Each function, as Python would answer; whatever is compressed."""
    fill(conn)
    assert len(compress(conn) if compressed else [""]) == 1
    btc, until = SERIES["btc_usd"], OLD + 2 * DAY
    for width in (timedelta(minutes=5), 4 * HOUR):
        query = "SELECT start, close FROM candles('btc_usd', %s, '-infinity', 'infinity')"
        expected = [(start, prices[-1]) for start, prices in buckets(btc, width).items()]
        assert conn.execute(query, [width]).fetchall() == expected
    query = "SELECT start, change FROM returns('btc_usd', '1 hour', '-infinity', 'infinity')"
    found = {start: float(change) for start, change in conn.execute(query)}
    assert found == pytest.approx(changes(btc, HOUR))
    query = "SELECT * FROM gaps('btc_usd', '-infinity', %s)"
    expected_gaps = gaps(btc, {OLD + 1500 * MINUTE: "refused"}, min(btc), until)
    assert conn.execute(query, [until]).fetchall() == expected_gaps
    minute = max(btc)
    assert conn.execute("SELECT price_at('btc_usd', %s)", [minute]).fetchone() == (btc[minute],)
    query = "SELECT created_at, price FROM latest_prices WHERE ticker = 'btc_usd'"
    assert conn.execute(query).fetchone() == (minute, btc[minute])


def test_the_examples_answer(conn: psycopg.Connection) -> None:
    """Every file of sql/examples, as on the other edition."""
    examples.fill(conn)
    for file in examples.FILES:
        with conn.transaction():
            [(now,)] = conn.execute("SELECT now()").fetchall()
            found = conn.execute(file.read_bytes()).fetchall()
        examples.assert_same(found, examples.ANSWERS[file.stem](now))


def test_candles_are_made_of_the_prices_alone(server: str, run: Run) -> None:
    """As on the other edition, whatever was stored in whatever order; in compressed chunks too."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(_EMPTY)
        for day in candles.DAYS:
            store(conn, "btc_usd", walk(7, datetime.fromisoformat(f"{day}T00Z"), 300, 500))
        assert len(compress(conn)) == 2

    @settings(deadline=None, max_examples=20)
    @given(writes=candles.writes, asked=candles.questions, plain=st.booleans())
    def check(writes: list[candles.Write], asked: candles.Question, *, plain: bool) -> None:
        emptied = [("TRUNCATE prices", {})] if plain else []
        candles.agree(run, reader, emptied + writes, asked)

    reader = run(AsyncConnection.connect(server, autocommit=True))
    try:
        check()
    finally:
        run(reader.close())


def test_compression_changes_no_answer(server: str, run: Run, conn: psycopg.Connection) -> None:
    """Pages from either end, single minutes, candles, gaps and counts of minutes and hours."""
    fill(conn)
    conn.close()
    within, minute = Span(OLD + HOUR, OLD + 2 * DAY), max(SERIES["btc_usd"])
    plain, sourced = Form("text/csv"), Form("text/csv", ("source", "observed_at"))
    newest = Question("btc_usd", plain.frame("btc_usd"), within.since, within.until, 500)
    oldest = replace(newest, frame=sourced.frame("btc_usd"))

    async def questions(reader: AsyncConnection) -> list[object]:
        return [
            await queries.price_pages(reader, [newest, replace(newest, ticker="eth_usd")]),
            await queries.sourced_rising_pages(reader, [oldest]),
            await queries.prices_of(reader, "btc_usd", [OLD + 9 * MINUTE, minute]),
            await queries.falling_candles(reader, "btc_usd", within, 5 * MINUTE, 100),
            await queries.rising_candles(reader, "btc_usd", within, 5 * MINUTE, 100),
            await queries.gap_page(reader, "btc_usd", within, 100),
            await queries.counted_minutes(reader, "btc_usd", within),
            await queries.counted_hours(reader, "btc_usd", within, DAY),
            await queries.newest_minutes(reader, ["eth_usd", "btc_usd"], within.until),
            await queries.ticker_summaries(reader, NOW),
            await queries.rising_day_candles(reader, "btc_usd", within, DAY, 100),
        ]

    before = asked(run, server, questions)
    with psycopg.connect(server, autocommit=True) as again:
        assert len(compress(again)) == 1
        assert compress(again) == []
    assert asked(run, server, questions) == before
    assert all(before)
    assert NOT_POLLED in {hole.reason for hole in before[5]}


def test_a_compressed_chunk_takes_prices(conn: psycopg.Connection) -> None:
    """Polled ones, a chart's and an import's: each minute once, as in any other."""
    fill(conn)
    compress(conn)
    btc = SERIES["btc_usd"]
    there, missing = min(btc), min({OLD + n * MINUTE for n in range(2880)} - btc.keys())

    def stored(minute: datetime, source: str) -> bool:
        quote = Quote(ticker="btc_usd", price=Decimal("7.00"), observed_at=minute)
        return queries.insert_price(conn, quote, minute, source=source)

    assert not stored(there, "poll")
    assert stored(missing, "chart")
    assert not stored(missing, "chart")
    assert stored(missing, "poll")
    assert not stored(missing, "poll")
    with pytest.raises(UniqueViolation):
        store(conn, "btc_usd", {there: Decimal("8.00")})
    with pytest.raises(UniqueViolation):
        store(conn, "btc_usd", {missing: Decimal("8.00")})
    query = "SELECT price, source FROM prices WHERE ticker = 'btc_usd' AND created_at = %s"
    assert conn.execute(query, [missing]).fetchall() == [(Decimal("7.00"), "poll")]
    query = "SELECT count(*), count(DISTINCT created_at) FROM prices WHERE ticker = 'btc_usd'"
    assert conn.execute(query).fetchone() == (len(btc) + 1, len(btc) + 1)


def test_tidying_compresses_and_drops(
    server: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the settings; what is compressed is dropped as well, to the day."""
    fill(conn)
    hours = conn.execute("SELECT count(*) FROM candles_1h").fetchone()
    conn.close()
    monkeypatch.setenv("PGSSLMODE", "disable")
    where = conninfo_to_dict(server)
    settings = Settings.load().changed(
        postgres_host=where["host"], postgres_port=int(str(where["port"])),
        postgres_db=where["dbname"], postgres_user="postgres", postgres_password="x",
        compress_after=timedelta(days=30), retention=NOW - OLD - DAY,
    )  # fmt: skip
    said: list[str] = []
    number = logger.add(said.append, format="{message}")
    retention.tidy(settings.changed(retention=None), NOW)
    retention.tidy(settings, NOW)
    retention.tidy(settings, NOW)
    logger.remove(number)

    left = {minute for minute in SERIES["btc_usd"] if minute >= OLD + DAY}
    assert [line.split()[0] for line in said] == ["compressed", "dropped"]
    with psycopg.connect(server) as again:
        query = "SELECT count(*), min(created_at) FROM prices WHERE ticker = 'btc_usd'"
        assert again.execute(query).fetchone() == (len(left), min(left))
        assert again.execute("SELECT count(*) FROM candles_1h").fetchone() == hours
        assert assert_days(again) == 4
        query = "SELECT is_compressed FROM timescaledb_information.chunks"
        assert again.execute(query).fetchall() == [(True,)]


def test_the_worker_may_compress(conn: psycopg.Connection) -> None:
    """With the owner's rights for this one thing, as for dropping."""
    fill(conn)
    conn.execute("SET SESSION AUTHORIZATION tracker_worker")
    with pytest.raises(InsufficientPrivilege):
        conn.execute("SELECT compress_chunk(chunk) FROM show_chunks('prices') AS chunk")
    assert len(compress(conn)) == 1
    assert queries.cut_prices(conn, OLD + 2 * DAY).chunks == 0
    conn.execute("RESET SESSION AUTHORIZATION")
