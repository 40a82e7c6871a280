"""The exchange's charts, and the delays of retries."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.support.recordings import parse_response
from tracker.errors import InvalidResponse, Refused, Unavailable, Unreachable
from tracker.models import Quote
from tracker.recorder.deribit import parse_chart, retry_delay

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
NOON_IN_MS = 1_705_320_000_000


def chart(result: str) -> list[Quote]:
    """The quotes of a chart's response."""
    return parse_chart(parse_response(b'{"result":%s}' % result.encode()), "btc_usd")


def test_chart_has_quote_for_each_point() -> None:
    assert chart(f"[[{NOON_IN_MS},68241.5],[{NOON_IN_MS + 500}.0,1]]") == [
        Quote(ticker="btc_usd", price=Decimal("68241.50"), observed_at=NOON),
        Quote(
            ticker="btc_usd",
            price=Decimal("1.00"),
            observed_at=NOON + timedelta(milliseconds=500),
        ),
    ]
    assert chart("[]") == []


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ('"soon"', "result: not a list of points: 'soon'"),
        ("{}", "result: not a list of points: an object"),
        ("[1]", "result: not a point: '1'"),
        ("[[1,2,3]]", "result: not a point: a list"),
        ("[{}]", "result: not a point: an object"),
        ('[["1",2]]', "time of a point: not a time since 1970: '1'"),
        ("[[0,2]]", "time of a point: not a time since 1970: '0'"),
        ("[[0.0001,2]]", "time of a point: not a time since 1970: '0.0001'"),
        ("[[100000000000000,2]]", "time of a point: not a time since 1970: '100000000000000'"),
        ("[[1,null]]", "index_price: not a number: 'None'"),
        ("[[1,-2]]", "index_price: not a credible price: '-2'"),
    ],
)
def test_invalid_chart_has_reason(result: str, reason: str) -> None:
    with pytest.raises(InvalidResponse) as caught:
        chart(result)
    assert str(caught.value) == reason


def test_times_of_points_have_microseconds() -> None:
    """Milliseconds with three decimals; the last one is in the year 5138."""
    last = 10**14 - 1
    assert [quote.observed_at for quote in chart(f"[[0.001,1],[{last},1]]")] == [
        datetime(1970, 1, 1, microsecond=1, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=last),
    ]


def test_retry_delay_doubles_twice_with_jitter() -> None:
    """Pauses of 2, 8 and 32 seconds, and up to one more; never longer than the time left."""
    for attempts, pause in ((1, 2), (2, 8), (3, 32)):
        delays = {retry_delay(Unreachable("x", attempts=attempts), 99) for _ in range(50)}
        assert len(delays) > 1
        assert all(pause <= delay <= pause + 1 for delay in delays)
        assert min(delays) < pause + 0.5 < max(delays)
    assert retry_delay(Unreachable("x"), 0.5) == 0.5
    assert retry_delay(Unreachable("x", retry_after=0), 99) >= 2


@pytest.mark.parametrize(
    ("error", "seconds_left", "expected"),
    [
        (Unavailable("x", retry_after=7), 8, 7),
        (Unavailable("x", retry_after=7), 7, False),
        (Unavailable("x", retry_after=7), 6, False),
        (Unavailable("x"), 0, False),
        (Unavailable("x"), -1, False),
        (Refused("x"), 99, False),
        (ValueError("x"), 99, False),
    ],
)
def test_retry_needs_time_and_transient_error(
    error: Exception, seconds_left: float, expected: float
) -> None:
    assert retry_delay(error, seconds_left) is expected or expected == 7
    assert retry_delay(error, seconds_left) == expected
