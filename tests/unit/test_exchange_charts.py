"""The exchange's charts, the texts of errors, and the delays of retries."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.support.recordings import parse_btc, parse_response
from tracker.errors import InvalidResponse, RateLimited, Refused, Unavailable, Unreachable
from tracker.models import Quote
from tracker.recorder.deribit import (
    HttpResponse,
    parse_chart,
    parse_envelope,
    parse_names,
    retry_delay,
)

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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[1]", "not a JSON object: '[1]'"),
        (b'{"a":1}', "result: missing in '{\"a\":1}'"),
        (b"\xff[", "'\N{REPLACEMENT CHARACTER}['"),
        (b"x" * 80, f": '{'x' * 80}'"),
        (b"x" * 81, f": '{'x' * 80}…'"),
    ],
)
def test_error_repeats_80_characters_of_response(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidResponse) as caught:
        parse_response(content)
    assert str(caught.value).endswith(reason)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("[1]", "result: not an object: a list"),
        ("5", "result: not an object: '5'"),
        ('{"index_price":"1"}', "index_price: not a number: '1'"),
        ('{"index_price":0}', "index_price: not a credible price: '0'"),
        ('{"index_price":1}', "usOut: not a time since 1970: 'None'"),
    ],
)
def test_invalid_quote_has_reason(result: str, reason: str) -> None:
    with pytest.raises(InvalidResponse) as caught:
        parse_btc(b'{"result":%s}' % result.encode())
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("result", "excerpt"), [("5", "'5'"), ("{}", "an object"), ("[1]", "a list")]
)
def test_invalid_names_have_reason(result: str, excerpt: str) -> None:
    with pytest.raises(InvalidResponse) as caught:
        parse_names(parse_response(b'{"result":%s}' % result.encode()))
    assert str(caught.value) == f"result: not a list of index names: {excerpt}"


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        ('"no"', 200, (None, "exchange error 'no', code None")),
        ("{}", 200, (None, "exchange error an object, code None")),
        ('{"code":2147483647}', 200, (2**31 - 1, "exchange error an object, code 2147483647")),
        ('{"code":2147483648}', 200, (None, "exchange error an object, code None")),
        ('{"code":-2147483647}', 200, (1 - 2**31, "exchange error an object, code -2147483647")),
        ('{"code":-2147483648}', 200, (None, "exchange error an object, code None")),
        ('{"code":7,"message":"m"}', 404, (404, "exchange error 'm', HTTP 404")),
        ('{"message":"m","data":{"reason":"r"}}', 404, (404, "exchange error 'm' ('r'), HTTP 404")),
    ],
)
def test_rpc_error_has_code_and_message(
    error: str, status: int, expected: tuple[int | None, str]
) -> None:
    """A code that the database cannot store is left out."""
    with pytest.raises(Refused) as caught:
        parse_btc(b'{"error":%s}' % error.encode(), status)
    assert (caught.value.code, str(caught.value)) == expected


def failure(status: int, content: bytes = b"<html>", **headers: str) -> Any:
    """The error that a response with that *status* raises."""
    with pytest.raises((RateLimited, Unavailable)) as caught:
        parse_envelope(HttpResponse(content, status, headers), testnet=False)
    return caught.value


def test_status_error_has_message_and_retry_after() -> None:
    limited, unavailable = failure(429), failure(503, **{"retry-after": "7"})
    assert (str(limited), limited.retry_after) == ("HTTP 429: '<html>'", None)
    assert (str(unavailable), unavailable.retry_after) == ("HTTP 503: '<html>'", 7)


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
