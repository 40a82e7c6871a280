"""Candles in the columns that a charting library reads; prices are JSON numbers there."""

from datetime import datetime

from psycopg import AsyncConnection

from tracker.buckets import Calendar, Even
from tracker.gaps import Span
from tracker.models import Candle
from tracker.times import FIRST
from tracker.web.reading import charts


async def history(
    conn: AsyncConnection, ticker: str, grid: Even | Calendar, within: Span, count: int
) -> dict[str, object]:
    """The newest *count* bars that begin in *within*, oldest first.

    Without any it says where the newest one before is, so that a chart can go on there.
    """
    found = await charts.candles(conn, ticker, grid, within, count, ascending=False)
    if found:
        return _columns(found[::-1])
    earlier = Span(FIRST, within.since)
    newest = await charts.candles(conn, ticker, grid, earlier, 1, ascending=False)
    following = {"nextTime": _seconds(newest[0].start)} if newest else {}
    return {"s": "no_data", **following}


def _columns(found: list[Candle]) -> dict[str, object]:
    return {
        "s": "ok",
        "t": [_seconds(candle.start) for candle in found],
        "o": [float(candle.open) for candle in found],
        "h": [float(candle.high) for candle in found],
        "l": [float(candle.low) for candle in found],
        "c": [float(candle.close) for candle in found],
    }


def _seconds(moment: datetime) -> int:
    """Unix time."""
    return int(moment.timestamp())
