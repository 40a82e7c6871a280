"""The views and functions for analysts against Python's own computation, in any time zone."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from psycopg.errors import NullValueNotAllowed

from tests.support.database import insert_misses, insert_prices, login
from tests.support.reference import (
    bucket_returns,
    bucket_start,
    find_gaps,
    group_prices,
    random_walk,
)
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of

START = datetime(2024, 3, 28, 21, 17, tzinfo=UTC)  # over a month's end, and Berlin's 23-hour day
END = START + timedelta(days=4)
SERIES = {
    "btc_usd": random_walk(1, START, 5760, 65_000),
    "eth_usd": random_walk(2, START, 5760, 3_500),
}
BTC = SERIES["btc_usd"]
ALL_TIME = (datetime(2001, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
WIDTHS: dict[str, timedelta | None] = {
    "1 min": MINUTE,
    "7 min": 7 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": timedelta(hours=1),
    "90 min": timedelta(minutes=90),
    "4 hours": timedelta(hours=4),
    "1 day": timedelta(days=1),
    "1 week": timedelta(weeks=1),
    "1 month": None,
}
WINDOWS = [
    (START - timedelta(days=9), END + timedelta(days=40)),
    (datetime(2024, 3, 29, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)),
    (START + timedelta(hours=5, seconds=1), START + timedelta(hours=31, minutes=3, seconds=59)),
    (END, START),
]


@pytest.fixture(scope="module")
def filled(base: Settings) -> Settings:
    """Four days of prices, and for each index a price years before and years after."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        for ticker, series in SERIES.items():
            remote = {START - timedelta(days=3000): Decimal("1.00")}
            remote |= {START + timedelta(days=n * 365): Decimal("2.00") for n in (1, 2)}
            insert_prices(conn, ticker, series | remote)
        missing = [minute for minute in minutes(START, END) if minute not in BTC]
        insert_misses(conn, "btc_usd", missing[10:60], "refused")
        insert_misses(conn, "btc_usd", missing[60:90], "rate_limited")
        insert_misses(conn, "btc_usd", missing[90:100], "not_polled")
        conn.execute("VACUUM ANALYZE")
    return base


@pytest.fixture(params=["UTC", "Europe/Berlin"])
def analyst(filled: Settings, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """An analyst's session, in several time zones."""
    with login(filled, "analyst") as conn:
        conn.execute(f"SET timezone = '{request.param}'")
        yield conn


@pytest.fixture(scope="module")
def planner(filled: Settings) -> Iterator[psycopg.Connection]:
    """An analyst's session whose plans are those for large tables."""
    with login(filled, "analyst") as conn:
        conn.execute("SET enable_seqscan = off")
        yield conn


def minutes(since: datetime, until: datetime) -> list[datetime]:
    return [since + n * MINUTE for n in range((until - since) // MINUTE)]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("window", WINDOWS, ids=["all", "days", "inside", "reversed"])
def test_candles_match_the_prices_of_their_buckets(
    analyst: psycopg.Connection, width: str, window: tuple[datetime, datetime]
) -> None:
    query = "SELECT * FROM candles('btc_usd', %s, %s, %s)"
    expected = [
        (start, prices[0], max(prices), min(prices), prices[-1], len(prices))
        for start, prices in group_prices(BTC, WIDTHS[width]).items()
        if window[0] <= start < window[1]
    ]
    assert analyst.execute(query, [width, *window]).fetchall() == expected


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("window", WINDOWS, ids=["all", "days", "inside", "reversed"])
def test_returns_compare_adjacent_buckets(
    analyst: psycopg.Connection, width: str, window: tuple[datetime, datetime]
) -> None:
    """The first return of the window uses the bucket before it; none spans a gap."""
    query = "SELECT * FROM returns('btc_usd', %s, %s, %s)"
    found = analyst.execute(query, [width, *window]).fetchall()

    expected = bucket_returns(BTC, WIDTHS[width])
    assert [row[0] for row in found] == [
        start for start in expected if window[0] <= start < window[1]
    ]
    for start, close, previous, change in found:
        assert float(change) == pytest.approx(expected[start], rel=1e-12, abs=1e-18)
        assert close - previous == pytest.approx(change * previous)


def test_candles_accept_infinite_bounds(analyst: psycopg.Connection) -> None:
    query = "SELECT sum(samples), count(*) FROM candles('btc_usd', '1 month', %s, %s)"
    months = {bucket_start(minute, None) for minute in BTC}
    for ends in (ALL_TIME, ("-infinity", "infinity")):
        found = analyst.execute(query, ends).fetchone()
        assert found == (len(BTC) + 3, len(months) + 3)


@pytest.mark.parametrize("seconds", [0, 1, 59.999])
def test_price_at_returns_the_price_of_its_minute(
    analyst: psycopg.Connection, seconds: float
) -> None:
    """Null without one."""
    window = minutes(START, END)[2850:3000]
    moments = [minute + timedelta(seconds=seconds) for minute in window]
    query = "SELECT price_at('btc_usd', at) FROM unnest(%s::timestamptz[]) AS moment (at)"
    found = [price for (price,) in analyst.execute(query, [moments])]
    assert found == [BTC.get(minute) for minute in window]
    assert None in found


@pytest.mark.parametrize("tolerance", ["0", "90 s", "2 min", "1 hour", "400 days", "-1 min"])
@pytest.mark.parametrize("seconds", [0, 59.999])
def test_price_at_returns_the_newest_price_within_the_tolerance(
    analyst: psycopg.Connection, seconds: float, tolerance: str
) -> None:
    """One row, or none; the tolerance counts from the moment back to a minute."""
    moments = [minute + timedelta(seconds=seconds) for minute in minutes(START, END)[2850:3000]]
    query = """
        SELECT moment.at, found.created_at, found.price
          FROM unnest(%s::timestamptz[]) AS moment (at)
          LEFT JOIN LATERAL price_at('btc_usd', moment.at, %s) AS found ON true
         ORDER BY moment.at
    """
    rows = analyst.execute(query, [moments, tolerance]).fetchall()

    [(width,)] = analyst.execute("SELECT %s::interval", [tolerance]).fetchall()
    expected = []
    for at in moments:
        first = minute_of(at - width)
        newest = max((each for each in BTC if first <= each <= at), default=None)
        expected.append((at, newest, BTC[newest] if newest else None))
    assert rows == expected


@pytest.mark.parametrize("moment", ["-infinity", "infinity", None])
def test_price_at_no_moment_of_the_calendar_is_none(
    analyst: psycopg.Connection, moment: str | None
) -> None:
    query = "SELECT count(*) FROM price_at('btc_usd', %s, '5 min')"
    assert analyst.execute(query, [moment]).fetchone() == (0,)
    query = "SELECT count(*) FROM price_at('btc_usd', '2024-03-29Z', %s::interval)"
    assert analyst.execute(query, [None]).fetchone() == (0,)


def test_price_at_reads_one_row_for_each_moment(planner: psycopg.Connection) -> None:
    """From one chunk's index, inlined into the query."""
    lines = plan(
        planner,
        """
        SELECT found.price
          FROM generate_series('2024-03-29Z', '2024-03-30Z', INTERVAL '1 hour') AS moment (at)
         CROSS JOIN LATERAL price_at('btc_usd', moment.at, '5 min') AS found
        """,
    )
    assert not [line for line in lines if "Function Scan on price_at" in line]
    read = [line for line in lines if "on _hyper" in line and "never executed" not in line]
    assert len(read) == 1
    assert "Index" in read[0]
    assert "rows=1 " in read[0].partition("actual")[2]


def test_latest_prices_are_the_newest(analyst: psycopg.Connection) -> None:
    found = analyst.execute("SELECT * FROM latest_prices ORDER BY ticker").fetchall()
    newest = START + timedelta(days=730)
    assert found == [
        (ticker, Decimal("2.00"), newest, None, "poll") for ticker in ("btc_usd", "eth_usd")
    ]


@pytest.mark.parametrize("part", [timedelta(0), timedelta(microseconds=1), timedelta(seconds=59)])
def test_gaps_are_the_missing_minutes_with_their_reasons(
    analyst: psycopg.Connection, part: timedelta
) -> None:
    query = "SELECT minute, reason FROM misses WHERE ticker = 'btc_usd'"
    reasons = dict(analyst.execute(query).fetchall())
    mornings = [START + n * timedelta(hours=7) for n in range(13)]
    for since in (START, *mornings):
        query = "SELECT * FROM gaps('btc_usd', %s, %s)"
        found = analyst.execute(query, [since + part if part else since + MINUTE, END]).fetchall()
        assert found == find_gaps(BTC, reasons, since + MINUTE, END)
    assert {row[3] for row in found} <= {"refused", "rate_limited", "not_polled"}


def test_gaps_reach_from_the_first_tracked_to_the_last_complete_minute(
    analyst: psycopg.Connection,
) -> None:
    query = """
        SELECT min(start), max(stop) = date_trunc('minute', now(), 'UTC')
          FROM gaps('btc_usd', '-infinity', 'infinity')
    """
    assert analyst.execute(query).fetchone() == (START - timedelta(days=3000) + MINUTE, True)


@pytest.mark.parametrize("first", [-5, 0, 2890])
def test_filled_series_has_every_minute(analyst: psycopg.Connection, first: int) -> None:
    """A missing one has the previous price, which may lie before the series."""
    since, until = START + (first - 1) * MINUTE + timedelta(seconds=1), START + 3000 * MINUTE
    query = "SELECT * FROM filled('btc_usd', %s, %s)"
    found = analyst.execute(query, [since, until]).fetchall()

    price, expected = Decimal("1.00"), []  # of years before
    for minute in minutes(START - 5 * MINUTE, until):
        price = BTC.get(minute, price)
        expected.append((minute, price, minute not in BTC))
    assert found == expected[first + 5 :]
    assert {is_filled for _, _, is_filled in found} == {True, False}


def test_filled_series_begins_with_tracking_and_ends_with_the_present(
    analyst: psycopg.Connection,
) -> None:
    """Before the first price it has nulls; the minute in progress is not filled."""
    query = "SELECT count(*), count(price), max(created_at) FROM filled('btc_usd', %s, %s)"
    before = START - timedelta(days=3000)
    assert analyst.execute(query, [before - 3 * MINUTE, before + MINUTE]).fetchone() == (
        *(4, 1),
        before,
    )
    query = """
        SELECT min(created_at), max(created_at) - date_trunc('minute', now(), 'UTC')
          FROM filled('btc_usd', now() - INTERVAL '3 min', 'infinity')
    """
    assert analyst.execute(query).fetchone()[1] == -MINUTE  # type: ignore[index]
    query = "SELECT min(created_at) FROM filled('btc_usd', '-infinity', %s)"
    assert analyst.execute(query, [before + 2 * MINUTE]).fetchone() == (before,)


@pytest.mark.parametrize(
    "call",
    [
        f"{function}('btc_usd', {arguments})"
        for function in ("candles", "returns")
        for arguments in (
            *("NULL, '2024-03-29Z', '2024-03-30Z'", "'1 min', NULL, '2024-03-30Z'"),
            *("'1 day', '2024-03-29Z', NULL", "'1 hour', '2024-03-29Z', '2024-03-30Z', NULL"),
        )
    ]
    + ["gaps('btc_usd', NULL, '2024-03-30Z')", "gaps('btc_usd', '2024-03-29Z', NULL)"]
    + ["filled('btc_usd', NULL, '2024-03-30Z')", "filled('btc_usd', '2024-03-29Z', NULL)"],
)
def test_null_argument_is_an_error(planner: psycopg.Connection, call: str) -> None:
    with pytest.raises(NullValueNotAllowed, match="must not be null"):
        planner.execute(f"SELECT * FROM {call}")


CALLS = {
    "SELECT * FROM candles('btc_usd', '5 min', '2024-03-29Z', '2024-03-30Z')": "_hyper",
    "SELECT * FROM candles('btc_usd', '4 hours', '2024-03-29Z', '2024-03-30Z')": "candles_1h",
    "SELECT * FROM candles('btc_usd', '1 month', '2024-03-29Z', '2024-04-30Z')": "candles_1d",
    "SELECT * FROM returns('btc_usd', '5 min', '2024-03-29Z', '2024-03-30Z')": "_hyper",
    "SELECT * FROM returns('btc_usd', '1 day', '2024-03-29Z', '2024-03-30Z')": "candles_1d",
    "SELECT * FROM gaps('btc_usd', '2024-03-29Z', '2024-03-30Z')": "_islands",
}


def plan(conn: psycopg.Connection, query: str) -> list[str]:
    return [line for (line,) in conn.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {query}")]


@pytest.mark.parametrize("query", CALLS)
def test_functions_read_only_the_needed_rows(planner: psycopg.Connection, query: str) -> None:
    """They are inlined, and read one chunk, hours or islands from an index."""
    lines = plan(planner, query)
    scans = [line for line in lines if " Scan" in line and " on " in line]
    read = [line for line in scans if re.search("_hyper|candles_1|_islands", line)]

    assert not [line for line in lines if "Function Scan" in line]
    assert read
    assert all(CALLS[query] in line and "Index" in line for line in read)
    if CALLS[query] == "_hyper":
        assert len(read) == 1  # one chunk


def test_newest_rows_of_all_indexes_come_from_an_index(planner: psycopg.Connection) -> None:
    lines = plan(planner, "SELECT * FROM prices ORDER BY created_at DESC LIMIT 10")

    assert "actual rows=10" in lines[0]
    assert not [line for line in lines if "Sort" in line or "Seq Scan" in line]
    assert [line for line in lines if "Index Scan Backward" in line and "created_at_idx" in line]


def test_latest_prices_read_one_minute_of_each_index(planner: psycopg.Connection) -> None:
    lines = plan(planner, "SELECT * FROM latest_prices")
    assert "actual rows=2" in lines[0]
    assert not [line for line in lines if "Seq Scan on _hyper" in line]
    conditions = [line for line in lines if "created_at = " in line]
    assert len(conditions) >= 4  # a chunk each


@pytest.mark.parametrize("width", WIDTHS)
def test_functions_of_two_indexes_join_without_nested_loops(
    planner: psycopg.Connection, width: str
) -> None:
    for call in ("candles", "returns"):
        query = " JOIN ".join(
            f"{call}('{ticker}', '{width}', '2024-03-20Z', '2024-05-01Z') AS {ticker}"
            for ticker in SERIES
        )
        query = f"SELECT count(*) FROM {query} USING (start)"
        starts = [set(bucket_returns(series, WIDTHS[width])) for series in SERIES.values()]
        if call == "candles":
            starts = [set(group_prices(series, WIDTHS[width])) for series in SERIES.values()]
        first_at = datetime(2024, 3, 20, tzinfo=UTC)
        both = {start for start in starts[0] & starts[1] if start >= first_at}
        assert planner.execute(query).fetchone() == (len(both),)
        inner = [line for line in plan(planner, query) if "loops=" in line]
        assert max(int(line.rsplit("loops=", 1)[1].rstrip(")")) for line in inner) <= 2
