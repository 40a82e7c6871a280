"""Statistics for analysts against Python's own computation: gaps, ties, parts of hours, plans."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.errors import NullValueNotAllowed
from psycopg.rows import dict_row

from tests.support.database import drop_prices, insert_minutes, insert_prices, login, minutes_from
from tests.support.reference import Series, random_walk
from tests.support.statistics import assert_statistics, compute_statistics, log_returns
from tracker.settings import Settings
from tracker.times import HOUR, MINUTE, ceil_moment, minute_of

START = datetime(2024, 3, 28, 21, 17, tzinfo=UTC)
END = START + timedelta(days=2)
BTC = random_walk(1, START, 2880, 65_000)
WINDOWS = {
    "all": (START - timedelta(days=900), END + timedelta(days=400)),
    "whole hours": (START + 43 * MINUTE, START + 43 * MINUTE + 30 * HOUR),
    "parts of hours": (START + 5 * HOUR + timedelta(seconds=1), END - 61 * MINUTE),
    "in one hour": (START + 45 * MINUTE, START + 99 * MINUTE),
    "over one midnight": (START + 2 * HOUR, START + 3 * HOUR),
    "two minutes": (START + 200 * MINUTE, START + 202 * MINUTE),
    "in the hole": (START + 1442 * MINUTE, START + 1444 * MINUTE),
    "reversed": (END, START),
    "before": (START - HOUR, START),
}
ALL = ("-infinity", "infinity")


@pytest.fixture(scope="module")
def filled(base: Settings) -> Settings:
    """Two days of prices with gaps, of one index; others have a few in other years."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        insert_prices(conn, "btc_usd", BTC)
        for years in (1, 2, 3):
            insert_minutes(conn, [START - years * timedelta(days=365)], "old_usd")
        conn.execute("VACUUM ANALYZE")
    return base


@pytest.fixture(scope="module")
def analyst(filled: Settings) -> Iterator[psycopg.Connection]:
    """An analyst's session in another zone than UTC."""
    with login(filled, "analyst") as conn:
        conn.execute("SET timezone = 'Asia/Kolkata'")
        yield conn


def read_statistics(
    conn: psycopg.Connection, ticker: str, since: object, until: object
) -> dict[str, object]:
    """The row of stats(), by names of columns."""
    with conn.cursor(row_factory=dict_row) as cursor:
        [row] = cursor.execute("SELECT * FROM stats(%s, %s, %s)", [ticker, since, until])
    return row


@pytest.mark.parametrize("window", WINDOWS)
def test_statistics_are_those_of_the_stored_minutes(
    analyst: psycopg.Connection, window: str
) -> None:
    since, until = WINDOWS[window]
    found = read_statistics(analyst, "btc_usd", since, until)

    assert_statistics(found, compute_statistics(BTC, since, until))
    first = max(START, ceil_moment(since, MINUTE))
    expected = max(0, (until - first) // MINUTE)
    assert (found["expected"], found["missing"]) == (expected, expected - int(found["samples"]))
    assert found["polled"] == found["samples"]
    if not found["samples"]:
        assert {value for value in found.values() if value is not None} <= {0, expected}


@pytest.mark.parametrize("window", WINDOWS)
def test_single_statistics_are_those_of_stats(analyst: psycopg.Connection, window: str) -> None:
    since, until = WINDOWS[window]
    query = "SELECT twap(%(t)s, %(a)s, %(b)s), realised_volatility(%(t)s, %(a)s, %(b)s)"
    found = analyst.execute(query, {"t": "btc_usd", "a": since, "b": until}).fetchone()
    row = read_statistics(analyst, "btc_usd", since, until)
    assert found == (row["twap"], row["realised_volatility"])

    query = "SELECT * FROM log_returns('btc_usd', %s, %s)"
    returns = dict(analyst.execute(query, [since, until]).fetchall())
    expected = log_returns(BTC, since, until)
    assert list(returns) == sorted(expected)
    assert returns == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_sources_are_counted(conn: psycopg.Connection) -> None:
    """In hours of the rollup, and in parts of hours."""
    insert_minutes(conn, minutes_from(START, 50))
    insert_minutes(conn, minutes_from(START + 50 * MINUTE, 100), source="chart")
    insert_minutes(conn, minutes_from(START + 160 * MINUTE, 30), source="import")
    names = ("samples", "polled", "charted", "imported", "expected", "missing", "ratio")

    row = read_statistics(conn, "btc_usd", START + 10 * MINUTE, START + 180 * MINUTE)
    counts = tuple(row[name] for name in names)
    assert counts == (160, 40, 100, 20, 170, 10, Decimal("0.9411"))

    row = read_statistics(conn, "btc_usd", *ALL)
    assert (row["samples"], row["log_returns"]) == (180, 178)


def test_constant_price_has_no_volatility(conn: psycopg.Connection) -> None:
    insert_minutes(conn, minutes_from(START, 600), price="1.0000")
    row = read_statistics(conn, "btc_usd", *ALL)

    assert [row[name] for name in ("mean", "twap", "first", "low")] == [Decimal("1.0000")] * 4
    assert (row["log_return_stddev"], row["realised_volatility"]) == (0.0, 0.0)
    assert (row["max_drawdown_percent"], row["change_percent"]) == (0, 0)
    assert (row["peak_at"], row["trough_at"]) == (START, START)


def test_change_across_a_gap_is_no_log_return(conn: psycopg.Connection) -> None:
    """The fall during the gap is in the change and the drawdown alone."""
    insert_minutes(conn, minutes_from(START, 3), price="100.00")
    insert_minutes(conn, minutes_from(START + 5 * MINUTE, 3), price="50.00")
    insert_minutes(conn, [START + 10 * MINUTE], price="10.00")
    row = read_statistics(conn, "btc_usd", *ALL)

    assert (row["log_returns"], row["realised_volatility"]) == (4, 0.0)
    assert (row["twap"], row["change_percent"]) == (Decimal(75), Decimal(-90))
    assert (row["peak_at"], row["trough_at"]) == (START + 2 * MINUTE, START + 10 * MINUTE)


def test_prices_dropped_by_retention_are_not_in_statistics(conn: psycopg.Connection) -> None:
    """Their candles stay, and are not read."""
    today = minute_of(datetime.now(UTC)).replace(hour=0, minute=0)
    insert_minutes(conn, minutes_from(today - 90 * HOUR, 600), price="9.00")
    insert_minutes(conn, minutes_from(today - 2 * MINUTE, 3), price="5.00")
    drop_prices(conn, timedelta(days=3))
    row = read_statistics(conn, "btc_usd", *ALL)

    assert (row["samples"], row["high"]) == (3, Decimal("5.00"))
    assert row["first_at"] == today - 2 * MINUTE


PRICES = st.integers(1, 5).map(lambda units: Decimal(units).quantize(Decimal("0.01")))


@given(
    prices=st.lists(st.none() | PRICES, min_size=1, max_size=40),
    step=st.sampled_from([1, 7, 29]),
    bounds=st.tuples(st.integers(-5, 200), st.integers(-5, 200)),
)
def test_ties_are_decided_by_time(
    filled: Settings,
    prices: list[Decimal | None],
    step: int,
    bounds: tuple[int, int],
) -> None:
    """The first minute of an extreme and of the trough; the last of the peak before it."""
    series: Series = {
        START + n * step * MINUTE: price for n, price in enumerate(prices) if price is not None
    }
    since, until = sorted(START + bound * MINUTE for bound in bounds)
    with psycopg.connect(filled.database_dsn) as conn:
        insert_prices(conn, "tie_usd", series)
        found = read_statistics(conn, "tie_usd", since, until)
        conn.rollback()
    assert_statistics(found, compute_statistics(series, since, until))


@pytest.mark.parametrize("function", ["stats", "log_returns", "twap", "realised_volatility"])
@pytest.mark.parametrize("bounds", ["NULL, '2024-03-30Z'", "'2024-03-29Z', NULL"])
def test_null_bound_is_an_error(analyst: psycopg.Connection, function: str, bounds: str) -> None:
    with pytest.raises(NullValueNotAllowed, match="must not be null"):
        analyst.execute(f"SELECT * FROM {function}('btc_usd', {bounds})")


def test_unknown_index_has_no_statistics(analyst: psycopg.Connection) -> None:
    row = read_statistics(analyst, "none_usd", *ALL)
    assert {value for value in row.values() if value is not None} == {0}


def test_statistics_read_each_minute_once_and_hours_otherwise(
    analyst: psycopg.Connection,
) -> None:
    """From the index of the chunks in the range: extremes are looked up in one hour each."""
    window = "'2024-03-28 22:00Z', '2024-03-30 20:00Z'"
    query = f"EXPLAIN (ANALYZE, TIMING OFF) SELECT * FROM stats('btc_usd', {window})"
    lines = [line for (line,) in analyst.execute(query)]
    scans = [line for line in lines if "on _hyper" in line]
    [chunk] = {re.search(r"on (_hyper_\w+)", line)[1] for line in scans}  # type: ignore[index]
    stored = sum(at >= START + 43 * MINUTE and at < END - 77 * MINUTE for at in BTC)

    assert chunk
    read = 0
    for line in scans:
        if "never executed" not in line:
            rows, loops = map(int, re.findall(r"actual rows=(\d+) loops=(\d+)", line)[0])
            read += rows * loops
    assert stored <= read <= stored * 1.1 + 200
    assert not [line for line in lines if "Seq Scan on _hyper" in line]
