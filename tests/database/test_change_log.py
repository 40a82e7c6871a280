"""The log of changes contains every revision, and its readers miss nothing."""

import random
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
    read_revisions,
)
from tracker.times import MINUTE
from tracker.web.stream import events
from tracker.web.stream.events import (
    START,
    EventPage,
    Position,
    fetch_events,
    format_positions,
    parse_positions,
)

STATEMENTS = (ADD_PRICES, UPSERT_PRICES, UPDATE_PRICES, UPDATE_SOURCES)
NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
Row = tuple[str, datetime, Decimal, str]
States = dict[tuple[str, Position], dict[str, Row]]


@pytest.fixture
def empty_log(base_conn: psycopg.Connection) -> psycopg.Connection:
    """The same, without a row."""
    base_conn.execute("TRUNCATE prices, tickers")
    return base_conn


def read_prices(conn: psycopg.Connection) -> set[Row]:
    """All prices."""
    found = conn.execute("SELECT ticker, created_at, price, source FROM prices")
    return set(found.fetchall())


async def read_pages(conn: AsyncConnection, ticker: str, position: Position) -> list[EventPage]:
    """Every page after *position*."""
    pages = [await fetch_events(conn, ticker, position)]
    while pages[-1].more:
        pages.append(await fetch_events(conn, ticker, pages[-1].position))
    return pages


def event_data(pages: list[EventPage]) -> list[dict[str, Any]]:
    """The data of each event that has some, with the event's name."""
    bodies = [event.body.decode() for page in pages for event in page.events if event.body]
    lines = [body.removeprefix("event: ").split("\ndata: ") for body in bodies]
    return [{"event": name, **orjson.loads(data)} for name, data in lines]


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
    """Each new one replaces one; readers of older positions get a reset."""
    empty_log.execute("INSERT INTO tickers VALUES ('btc_usd', %s, 30000)", [NOON])
    empty_log.execute(
        "INSERT INTO internal.changes SELECT 'btc_usd', n, 1, %(at)s, %(at)s, ARRAY[%(at)s]"
        " FROM generate_series(10001, 30000) AS n",
        {"at": NOON},
    )
    for n in range(3):
        insert_minutes(empty_log, [NOON + (n + 1) * MINUTE])

    asked = "SELECT count(*), min(revision), max(revision) FROM internal.changes"
    assert empty_log.execute(asked).fetchall() == [(20_000, 10_004, 30_003)]
    for revision, whole in ((10_003, False), (15_002, False), (15_003, True), (30_003, True)):
        [found] = run(read_pages(reader, "btc_usd", Position(revision)))
        reset = [{"event": "reset", "ticker": "btc_usd", "from": None, "to": None}]
        assert (event_data([found]) != reset) is whole
        assert found.position == Position(30_003)


def test_position_ahead_of_database_is_reset(
    empty_log: psycopg.Connection, reader: AsyncConnection, run: Run
) -> None:
    """After a restore, or of a deleted index; a reader without a position gets no reset."""
    insert_minutes(empty_log, minutes_from(NOON + MINUTE, 3))
    for ticker, position, newest in (
        ("btc_usd", Position(2), Position(1)),
        ("btc_usd", Position(1, 1), Position(1)),
        ("eth_usd", Position(5), START),
    ):
        [found] = run(read_pages(reader, ticker, position))
        assert found.position == newest
        assert found.events[0].restarts
        assert event_data([found]) == [
            {"event": "reset", "ticker": ticker, "from": None, "to": None}
        ]
    assert run(read_pages(reader, "eth_usd", START)) == [EventPage([], START, more=False)]


def test_range_is_read_in_order(
    empty_log: psycopg.Connection, reader: AsyncConnection, run: Run
) -> None:
    """Between the prices before it and after it; a truncated table is a range of everything."""
    insert_minutes(empty_log, [NOON - 8 * MINUTE])
    insert_minutes(empty_log, minutes_from(NOON + MINUTE, 1001))
    insert_minutes(empty_log, [NOON - 6 * MINUTE])

    first, middle, last = event_data(run(read_pages(reader, "btc_usd", START)))
    assert [first["created_at"], last["created_at"]] == [
        "2024-01-15T11:52:00Z",
        "2024-01-15T11:54:00Z",
    ]
    ends = {"from": "2024-01-15T12:01:00Z", "to": "2024-01-16T04:41:00Z"}
    assert middle == {"event": "reset", "ticker": "btc_usd", **ends}
    empty_log.execute("TRUNCATE prices")
    [event] = event_data(run(read_pages(reader, "btc_usd", Position(3))))
    assert event == {"event": "reset", "ticker": "btc_usd", "from": None, "to": None}


def test_every_position_yields_later_changes_once(
    empty_log: psycopg.Connection,
    reader: AsyncConnection,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In pages of any size: applied to the old rows they yield the current ones, less deletions."""
    chance = random.Random(7)
    states: list[tuple[dict[str, int], set[Row]]] = [({}, set())]
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
        states.append((read_revisions(empty_log), read_prices(empty_log)))
    now = {row[:2]: row for row in read_prices(empty_log)}

    for known, then in states[::7]:
        monkeypatch.setattr(events, "_PAGE", chance.randrange(1, 40))
        for ticker in TICKERS[:2]:
            start = Position(known.get(ticker, 0))
            got = event_data(run(read_pages(reader, ticker, start)))
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

    [whole] = run(read_pages(reader, "btc_usd", START))
    assert len(event_data([whole])) == 8
    for n, event in enumerate(whole.events):
        [rest] = run(read_pages(reader, "btc_usd", event.position))
        assert rest.events == whole.events[n + 1 :]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9-]+_[a-z0-9]+", fullmatch=True),
        st.builds(Position, st.integers(0, 10**18 - 1), st.integers(0, 999)),
        min_size=1,
    )
)
def test_position_round_trips(known: dict[str, Position]) -> None:
    """It has no character that a header or a URL would change."""
    assert parse_positions(format_positions(known)) == known
    assert format_positions(known).isascii()


@given(st.text() | st.from_regex(r"[a-z_]+:[0-9.]+(,[a-z_]+:[0-9.]+)*", fullmatch=True))
def test_invalid_position_is_rejected(text: str) -> None:
    """Any text yields positions or a ValueError."""
    with suppress(ValueError):
        assert format_positions(parse_positions(text)).count(":") == text.count(":")
