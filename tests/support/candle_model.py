"""A model of candles of every interval and zone, and writes and queries to compare with."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from psycopg import AsyncConnection

from tests.support.database import Run
from tracker.candles import INTERVALS, UNITS, make_grid
from tracker.models import Candle
from tracker.times import EPOCH, FIRST, LAST, MINUTE, Span
from tracker.web.candles import fetch_candles

Rows = list[tuple[datetime, Decimal]]
Write = tuple[str, dict[str, Any]]
CandleQuery = dict[str, Any]

ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC",
        "America/New_York",
        "America/St_Johns",  # 3:30 behind
        "Asia/Kathmandu",  # 5:45 ahead
        "Asia/Kolkata",
        "Australia/Lord_Howe",  # its clocks change by half an hour
        "Europe/London",
        "Pacific/Apia",
    )
]
# Clocks change on most of them; the last is long before the others.
CANDLE_DAYS = ["2024-03-10", "2024-03-31", "2024-04-07", "2024-10-27", "2024-11-03", "2021-12-31"]
STORE = (
    "INSERT INTO prices AS stored (ticker, created_at, price, source)"
    " SELECT 'btc_usd', %(since)s + n * %(step)s, %(price)s + n, %(source)s"
    " FROM generate_series(0, %(last)s) AS n ON CONFLICT (ticker, created_at)"
)
POLL = f"{STORE} DO UPDATE SET price = excluded.price, source = excluded.source"
REPAIR = f"{STORE} DO NOTHING"
DELETE = (
    "DELETE FROM prices WHERE created_at >= %(since)s AND created_at < %(since)s + 9 * %(step)s"
)

moments = st.builds(
    lambda day, minutes: datetime.fromisoformat(day).replace(tzinfo=UTC) + minutes * MINUTE,
    st.sampled_from(CANDLE_DAYS),
    st.integers(-2 * 1440, 3 * 1440),
)
writes = st.lists(
    st.tuples(
        st.sampled_from([POLL, POLL, REPAIR, REPAIR, DELETE]),
        st.fixed_dictionaries(
            {
                "since": moments,
                "step": st.sampled_from([MINUTE, 7 * MINUTE, timedelta(hours=5)]),
                "last": st.integers(0, 40),
                "source": st.sampled_from(["poll", "chart"]),
                "price": st.integers(1, 10**6).map(lambda cents: Decimal(cents).scaleb(-2)),
            }
        ),
    ),
    max_size=6,
)
ends = st.none() | moments
candle_queries = st.fixed_dictionaries(
    {
        "interval": st.sampled_from(INTERVALS) | st.sampled_from(UNITS),
        "zone": st.sampled_from(ZONES),
        "since": ends,
        "until": ends,
        "count": st.sampled_from([1, 2, 5, 1000]),
    }
)


def bucket_start(minute: datetime, interval: str, zone: tzinfo) -> datetime:
    """The start of the bucket of *minute*: no clock skips midnight in these zones and years."""
    if interval not in UNITS:
        width = {"m": 60, "h": 3600}[interval[-1]] * int(interval[:-1])  # seconds
        return datetime.fromtimestamp(minute.timestamp() // width * width, UTC)
    day = minute.astimezone(zone).replace(hour=0, minute=0, fold=0)
    month = {"1Q": (day.month - 1) // 3 * 3 + 1, "1Y": 1}.get(interval, day.month)
    back = {
        "1d": 0,
        "3d": (day.replace(tzinfo=UTC) - EPOCH).days % 3,
        "1w": day.weekday(),
    }.get(interval, (day - day.replace(month=month, day=1)).days)
    return (day - timedelta(days=back)).astimezone(UTC)


def expected_candles(rows: Rows, interval: str, zone: tzinfo) -> Iterator[Candle]:
    """The candles of ascending *rows*."""
    for begin, group in groupby(rows, lambda row: bucket_start(row[0], interval, zone)):
        prices = [price for _, price in group]
        yield Candle(begin, prices[0], max(prices), min(prices), prices[-1], len(prices))


def assert_candles_match(
    run: Run, reader: AsyncConnection, writes: list[Write], query: CandleQuery
) -> None:
    """The model's candles are fetched in both orders after the *writes*, which are rolled back."""
    since, until = query["since"] or FIRST, query["until"] or LAST
    grid, count = (query["interval"], query["zone"]), query["count"]

    async def check() -> None:
        async with reader.transaction(force_rollback=True):
            for statement, parameters in writes:
                await reader.execute(statement.encode(), parameters)
            stored = await reader.execute(
                "SELECT created_at, price FROM prices ORDER BY created_at"
            )
            every = expected_candles(await stored.fetchall(), *grid)
            expected = [candle for candle in every if since <= candle.start < until]
            within = Span(since, max(since, until))
            for ascending in (False, True):
                found = await fetch_candles(
                    reader, "btc_usd", make_grid(*grid), within, count, ascending=ascending
                )
                assert found == (expected if ascending else expected[::-1])[:count]

    run(check())
