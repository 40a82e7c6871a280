"""The log of changes contains every revision, and its readers miss nothing."""

import random
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import AsyncConnection

from tests.support.database import Run, insert_minutes, minutes_from
from tests.support.derived import (
    ADD_PRICES,
    TICKERS,
    UPDATE_PRICES,
    UPDATE_SOURCES,
    UPSERT_PRICES,
    read_change_log,
)
from tracker.times import DAY, MINUTE
from tracker.web.stream import events
from tracker.web.stream.events import (
    START,
    UNKNOWN,
    EventPage,
    Position,
    fetch_events,
    format_position,
    parse_position,
)

STATEMENTS = (ADD_PRICES, UPSERT_PRICES, UPDATE_PRICES, UPDATE_SOURCES)
NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
Row = tuple[str, datetime, Decimal, str]


@pytest.fixture
def empty_log(base_conn: psycopg.Connection) -> psycopg.Connection:
    """The same, without a row."""
    base_conn.execute("TRUNCATE prices, tickers, internal.batches")
    return base_conn


def newest(conn: psycopg.Connection) -> Position:
    """The position of a client that has every change."""
    found = conn.execute("SELECT coalesce(max(position), 0) FROM internal.batches").fetchone()
    assert found
    return Position(found[0])


def read_prices(conn: psycopg.Connection) -> set[Row]:
    """All prices."""
    found = conn.execute("SELECT ticker, created_at, price, source FROM prices")
    return set(found.fetchall())


async def read_pages(
    conn: AsyncConnection, position: Position, tickers: Sequence[str] | None = ("btc_usd",)
) -> list[EventPage]:
    """Every page after *position*."""
    pages = [await fetch_events(conn, tickers, position)]
    while pages[-1].more:
        pages.append(await fetch_events(conn, tickers, pages[-1].position))
    return pages


def event_data(pages: list[EventPage]) -> list[dict[str, Any]]:
    """The data of each event that has some, with the event's name."""
    blocks = [event.lines.decode() for page in pages for event in page.events if event.lines]
    lines = [re.fullmatch("id: .*\nevent: (.*)\ndata: (.*)\n\n", block) for block in blocks]
    return [{"event": parts[1], **orjson.loads(parts[2])} for parts in lines if parts]


def reset(ticker: str = "btc_usd") -> dict[str, Any]:
    """The data of the event that asks to read every price of *ticker* again."""
    return {"event": "reset", "ticker": ticker, "from": None, "to": None}


def test_log_is_deleted_with_its_index(empty_log: psycopg.Connection) -> None:
    """If the index returns, its revisions restart."""
    insert_minutes(empty_log, minutes_from(NOON + MINUTE, 3))
    insert_minutes(empty_log, minutes_from(NOON + MINUTE, 3), "eth_usd")

    empty_log.execute("DELETE FROM tickers WHERE ticker = 'btc_usd'")
    assert [row[:2] for row in read_change_log(empty_log)] == [("eth_usd", 1)]
    empty_log.execute("TRUNCATE prices, tickers")
    assert read_change_log(empty_log) == []
    insert_minutes(empty_log, [NOON + MINUTE])
    assert [row[:2] for row in read_change_log(empty_log)] == [("btc_usd", 1)]


def test_large_statement_logs_its_range(empty_log: psycopg.Connection) -> None:
    """Up to 1,000 minutes are listed; of more, only first and last."""
    insert_minutes(empty_log, minutes_from(NOON + MINUTE, 1000))
    insert_minutes(empty_log, minutes_from(NOON + timedelta(days=1, minutes=1), 1001))

    log = "SELECT first_minute, last_minute, cardinality(minutes) FROM internal.changes"
    assert empty_log.execute(f"{log} ORDER BY revision").fetchall() == [
        (NOON + MINUTE, NOON + 1000 * MINUTE, 1000),
        (NOON + timedelta(days=1, minutes=1), NOON + timedelta(days=1, minutes=1001), None),
    ]


def test_log_has_at_most_20000_revisions(
    empty_log: psycopg.Connection, reader: AsyncConnection, run: Run
) -> None:
    """Each new one replaces one; readers of more than 15,000 minutes or older ones get a reset."""
    empty_log.execute("INSERT INTO tickers VALUES ('btc_usd', %s, 30000)", [NOON])
    empty_log.execute(
        "WITH batch AS ("
        "INSERT INTO internal.batches (position, tickers)"
        " SELECT nextval('internal.batch_position'), ARRAY['btc_usd']"
        " FROM generate_series(1, 30000)"
        " RETURNING id, position)"
        "INSERT INTO internal.changes SELECT 'btc_usd', n, id, at, at, ARRAY[at] FROM ("
        "SELECT row_number() OVER (ORDER BY position) AS n, id,"
        " timestamptz '2000-01-01Z' + position * interval '1 min' AS at FROM batch) WHERE n > 10000"
    )
    for n in range(3):
        insert_minutes(empty_log, [NOON + (n + 1) * MINUTE])

    query = "SELECT count(*), min(revision), max(revision) FROM internal.changes"
    assert empty_log.execute(query).fetchall() == [(20_000, 10_004, 30_003)]
    last = newest(empty_log)
    for later, whole in ((20_001, False), (15_001, False), (15_000, True), (3, True), (0, True)):
        pages = run(read_pages(reader, Position(last.batch - later)))
        assert (event_data(pages) != [reset()]) is whole
        assert pages[-1].position == last


@pytest.mark.parametrize("ticker", ["btc_usd", "eth_usd"])
def test_unknown_position_is_reset(
    empty_log: psycopg.Connection, reader: AsyncConnection, run: Run, ticker: str
) -> None:
    """After a restore, or of an old version. Each index that is followed, and tracked."""
    for name in ("btc_usd", "eth_usd", "xrp_usd"):
        insert_minutes(empty_log, minutes_from(NOON + MINUTE, 3), name)
    last = newest(empty_log)
    for position in (Position(last.batch + 1), Position(last.batch + 7, 3, 2), UNKNOWN):
        [page] = run(read_pages(reader, position, [ticker, "doge_usd"]))
        assert page.position == last
        assert page.events[0].restarts
        assert event_data([page]) == [reset(ticker)]
        every = run(read_pages(reader, position, None))
        assert event_data(every) == [reset(name) for name in ("btc_usd", "eth_usd", "xrp_usd")]


def test_index_that_begins_again_is_reset(
    empty_log: psycopg.Connection, reader: AsyncConnection, run: Run
) -> None:
    """For a reader that has not received its last changes; other indexes continue."""
    insert_minutes(empty_log, [NOON])
    before = newest(empty_log)
    insert_minutes(empty_log, [NOON + MINUTE])
    insert_minutes(empty_log, [NOON], "eth_usd")
    empty_log.execute("DELETE FROM tickers WHERE ticker = 'btc_usd'")
    insert_minutes(empty_log, [NOON + 2 * MINUTE])
    after = newest(empty_log)

    [page] = run(read_pages(reader, before, None))
    assert [event["event"] for event in event_data([page])] == ["reset", "price"]
    assert [event.ticker for event in page.events] == ["btc_usd", "eth_usd"]
    assert page.events[0].position == before
    assert page.position == after
    [page] = run(read_pages(reader, Position(after.batch - 1)))
    assert [event["event"] for event in event_data([page])] == ["price"]


def test_first_page_has_every_reset(
    empty_log: psycopg.Connection,
    reader: AsyncConnection,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The positions of later pages no longer show that changes were lost."""
    names = [f"i{number}_usd" for number in range(9)]
    for name in names:
        insert_minutes(empty_log, [NOON], name)
    before = newest(empty_log)
    for name in names:
        insert_minutes(empty_log, [NOON + MINUTE], name)
    insert_minutes(empty_log, minutes_from(NOON, 6))
    empty_log.execute("UPDATE tickers SET revision = revision + 1 WHERE ticker LIKE 'i%'")
    monkeypatch.setattr(events, "_PAGE", 4)

    pages = run(read_pages(reader, before, None))

    assert [len(page.events) for page in pages] == [len(names) + 4, 2]
    assert event_data(pages[:1])[:-4] == [reset(name) for name in names]
    assert {event.position for event in pages[0].events[:-4]} == {before}


def test_range_is_read_in_order(
    empty_log: psycopg.Connection, reader: AsyncConnection, run: Run
) -> None:
    """Between the prices before it and after it; a truncated table is a range of everything."""
    insert_minutes(empty_log, [NOON - 8 * MINUTE])
    insert_minutes(empty_log, minutes_from(NOON + MINUTE, 1001))
    insert_minutes(empty_log, [NOON - 6 * MINUTE])

    first, middle, last = event_data(run(read_pages(reader, START)))
    assert [first["created_at"], last["created_at"]] == [
        "2024-01-15T11:52:00Z",
        "2024-01-15T11:54:00Z",
    ]
    ends = {"from": "2024-01-15T12:01:00Z", "to": "2024-01-16T04:41:00Z"}
    assert middle == {"event": "reset", "ticker": "btc_usd", **ends}
    before = newest(empty_log)
    empty_log.execute("TRUNCATE prices")
    assert event_data(run(read_pages(reader, before))) == [reset()]


def test_every_position_yields_later_changes_once(
    empty_log: psycopg.Connection,
    reader: AsyncConnection,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In pages of any size: applied to the old rows they yield the current ones, less deletions."""
    chance = random.Random(7)
    states: list[tuple[Position, set[Row]]] = [(START, set())]
    for _ in range(120):
        parameters = {
            "ticker": chance.choice(TICKERS[:2]),
            "since": NOON + chance.randrange(90) * MINUTE,
            "step": MINUTE,
            "last": 4,
            "source": chance.choice(["poll", "chart", "import"]),
            "price": Decimal(chance.randrange(1, 10**6)).scaleb(-2),
        }
        empty_log.execute(chance.choice(STATEMENTS), parameters)
        states.append((newest(empty_log), read_prices(empty_log)))
    now = {row[:2]: row for row in read_prices(empty_log)}

    for known, then in states[::7]:
        monkeypatch.setattr(events, "_PAGE", chance.randrange(1, 40))
        for ticker in TICKERS[:2]:
            got = event_data(run(read_pages(reader, known, [ticker])))
            minutes = [datetime.fromisoformat(each["created_at"]) for each in got]
            assert len(set(minutes)) == len(minutes)
            held = {row[1]: row for row in then if row[0] == ticker}
            for minute, each in zip(minutes, got, strict=True):
                held[minute] = (ticker, minute, Decimal(each["price"]), each["source"])
            assert {at: row for at, row in held.items() if (ticker, at) in now} == {
                at: row for (name, at), row in now.items() if name == ticker
            }


def test_every_event_is_a_resumable_position(
    empty_log: psycopg.Connection,
    reader: AsyncConnection,
    run: Run,
) -> None:
    """Also in the middle of a statement: the events after it are repeated."""
    insert_minutes(empty_log, minutes_from(NOON + MINUTE, 5))
    empty_log.execute("UPDATE prices SET price = 2.50 WHERE created_at > %s", [NOON + 3 * MINUTE])
    empty_log.execute("DELETE FROM prices WHERE created_at = %s", [NOON + MINUTE])
    insert_minutes(empty_log, minutes_from(NOON + 10 * MINUTE, 4))
    empty_log.execute(
        "INSERT INTO prices (ticker, created_at, price)"
        " SELECT name, minute, 1.50 FROM generate_series(%s::timestamptz, %s, interval '1 min')"
        " AS minute, unnest(%s::text[]) AS name",
        [NOON + timedelta(days=3), NOON + timedelta(days=3, minutes=1), ["btc_usd", "eth_usd"]],
    )
    empty_log.execute("UPDATE prices SET source = 'chart' WHERE created_at > %s", [NOON + DAY])

    for tickers in (["btc_usd"], ["eth_usd", "btc_usd"], None):
        [whole] = run(read_pages(reader, START, tickers))
        for n, event in enumerate(whole.events):
            assert parse_position(format_position(event.position)) == event.position
            [rest] = run(read_pages(reader, event.position, tickers))
            assert rest.events == whole.events[n + 1 :]
    assert len(event_data([whole])) == 12


BATCHES = st.integers(0, 10**18 - 1)
PARTS = st.tuples(BATCHES, st.integers(1, 999), st.integers(0, 1000))


@given(BATCHES.map(Position) | PARTS.map(lambda parts: Position(*parts)))
def test_position_round_trips(known: Position) -> None:
    """It has no character that a header or a URL would change."""
    assert parse_position(format_position(known)) == known
    assert re.fullmatch("[0-9.]{1,30}", format_position(known))


@pytest.mark.parametrize("text", ["btc_usd:120", "btc_usd:120,eth_usd:98.3"])
def test_id_of_version_0_1_is_unknown(text: str) -> None:
    assert parse_position(text) == UNKNOWN


@given(st.text() | st.from_regex(r"[0-9.,-]+", fullmatch=True))
def test_invalid_position_is_rejected(text: str) -> None:
    """Any text yields a position or a ValueError."""
    with suppress(ValueError):
        assert format_position(parse_position(text)).count(".") == text.count(".")
