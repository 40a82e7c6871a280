"""The exchange's errors: transient or permanent, and the pause before a retry."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.recordings import MAINTENANCE, PRODUCTION, UNKNOWN_INDEX, parse_btc
from tracker.errors import ExchangeError, RateLimited, Refused, Unavailable

# The error of each code, and HTTP statuses that it comes with: the code is more specific.
CODES: list[tuple[type[ExchangeError], tuple[int, ...], tuple[int, ...]]] = [
    (
        Unavailable,
        (10001, 10040, 10041, 10047, 10048, 10066, 11051, 11056, 11094, 13025, 13028, 13503),
        (200, 400, 500, 503),
    ),
    (
        Refused,
        (
            *(-32700, -32600, -32601, -32602, -32000, 10030),
            *(11029, 11043, 11049, 11050, 12005, 13018, 13020),
        ),
        (200, 400, 429, 500),
    ),
    (RateLimited, (10028,), (200, 400, 429)),
]


def failed(code: object) -> bytes:
    """A JSON-RPC error."""
    return json.dumps({"jsonrpc": "2.0", "error": {"code": code, "message": "no"}}).encode()


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        (kind, code, status)
        for kind, codes, statuses in CODES
        for code in codes
        for status in statuses
    ],
)
def test_code_decides_with_any_status(kind: type[ExchangeError], code: int, status: int) -> None:
    """A permanent error is refused, a transient one is tried again."""
    with pytest.raises(kind) as caught:
        parse_btc(failed(code), status)

    assert (caught.value.transient, caught.value.code) == (kind is not Refused, code)


@pytest.mark.parametrize("content", [b"", b"<html>slow down</html>", b"{}", MAINTENANCE[:40]])
def test_429_with_any_body_is_rate_limit(content: bytes) -> None:
    """Empty, HTML, or JSON without an error."""
    with pytest.raises(RateLimited) as caught:
        parse_btc(content, 429)

    assert (caught.value.code, caught.value.reason) == (429, "rate_limited")


@pytest.mark.parametrize("code", [424242, None, "10028", 1.5, 10**30, True, [1], {}])
@pytest.mark.parametrize(
    ("status", "kind"), [(200, Refused), (400, Refused), (429, RateLimited), (502, Unavailable)]
)
def test_unknown_code_is_classified_by_status(
    code: object, status: int, kind: type[ExchangeError]
) -> None:
    """The recorded code fits its column."""
    with pytest.raises(kind) as caught:
        parse_btc(failed(code), status)

    assert caught.value.code == (status if status != 200 else 424242 if code == 424242 else None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(204, Refused), (302, Refused), (403, Refused), (404, Refused), (500, Unavailable),
     (502, Unavailable), (503, Unavailable), (504, Unavailable), (520, Unavailable)],
)  # fmt: skip
def test_price_with_error_status_is_refused(status: int, kind: type[ExchangeError]) -> None:
    """Even if the body is valid."""
    with pytest.raises(kind, match=f"HTTP {status}: ") as caught:
        parse_btc(PRODUCTION, status)

    assert caught.value.code == status


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


def test_error_has_message_of_exchange() -> None:
    """With reason and code, for the log."""
    with pytest.raises(
        Refused, match=r"exchange error 'Invalid params' \('invalid index'\), code -32602"
    ):
        parse_btc(UNKNOWN_INDEX, 400)
    with pytest.raises(Unavailable, match="exchange error 'system_maintenance', code 11051"):
        parse_btc(MAINTENANCE, 503)


@pytest.mark.parametrize(
    ("status", "kind", "header", "seconds"),
    [(429, RateLimited, {}, None), (503, Unavailable, {"retry-after": "7"}, 7)],
)
def test_status_error_has_message_and_retry_after(
    status: int, kind: type[ExchangeError], header: dict[str, str], seconds: int | None
) -> None:
    with pytest.raises(kind) as caught:
        parse_btc(b"<html>", status, **header)

    assert str(caught.value) == f"HTTP {status}: '<html>'"
    assert caught.value.retry_after == seconds


def in_days(days: int) -> str:
    """A date for Retry-After."""
    return format_datetime(datetime.now(UTC) + timedelta(days), usegmt=True)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("7", 7, 7),
        (" 7 ", 7, 7),
        ("0", 0, 0),
        ("9" * 400, 10**8, 10**9),
        (in_days(30), 29 * 86_400, 30 * 86_400),
        (in_days(-1), 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 10**10, 10**12),
    ],
    ids=["seconds", "spaces", "zero", "huge", "date", "past date", "last date"],
)
def test_retry_after_is_seconds_or_date(value: str, low: float, high: float) -> None:
    """Seconds from now, never negative."""
    with pytest.raises(RateLimited) as caught:
        parse_btc(b"", 429, **{"retry-after": value})

    assert caught.value.retry_after is not None
    assert low <= caught.value.retry_after <= high


@pytest.mark.parametrize("years", [-30, 0, 30])
def test_retry_after_counts_from_date_of_response(years: int) -> None:
    """This machine's clock may be wrong by decades."""
    now = datetime.now(UTC) + timedelta(days=365 * years)
    dates = [format_datetime(each, usegmt=True) for each in (now, now + timedelta(seconds=90))]
    with pytest.raises(RateLimited) as caught:
        parse_btc(b"", 429, **{"date": dates[0], "retry-after": dates[1]})

    assert caught.value.retry_after == 90


@given(
    st.text() | st.sampled_from(["soon", "-7", "1.5", "\u0667", "Fri, 99 Foo 2026 25:61:61 GMT"])
)
@example("Fri, 31 Dec 2026 23:59:59 -0000")
def test_invalid_retry_after_is_ignored(value: str) -> None:
    """It is None, or at least not negative."""
    with pytest.raises(Unavailable) as caught:
        parse_btc(MAINTENANCE, 503, **{"retry-after": value})

    assert caught.value.retry_after is None or caught.value.retry_after >= 0
