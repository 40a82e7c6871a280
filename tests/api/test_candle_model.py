"""Candles of every interval and zone against a model in Python."""

from hypothesis import given, settings
from psycopg import AsyncConnection

from tests.support.candle_model import (
    CandleQuery,
    Write,
    assert_candles_match,
    candle_queries,
    writes,
)
from tests.support.database import Run


@settings(deadline=None)
@given(writes=writes, query=candle_queries)
def test_candles_match_the_model(
    run: Run, reader: AsyncConnection, writes: list[Write], query: CandleQuery
) -> None:
    """In both orders, after any polls, repairs and deletions."""
    assert_candles_match(run, reader, writes, query)
