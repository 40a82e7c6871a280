"""The fixed data of the net: made by integer arithmetic, the same in every run.

Days around the change to summer time in Europe (2026-03-29 01:00 UTC), with holes of several
kinds, and a sparse past. Nothing lies in the future of any run.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

HEADER = "ticker,created_at,price,observed_at,source"
MINUTE = timedelta(minutes=1)
DENSE_SINCE = datetime(2026, 3, 27, 22, tzinfo=UTC)
DENSE_MINUTES = {"btc_usd": 4 * 1440, "eth_usd": 3 * 1440, "tiny-coin_usdc": 1440}
UNITS = {"btc_usd": 6_800_000, "eth_usd": 250_000, "tiny-coin_usdc": 1_234}  # of the last decimal
DECIMALS = {"btc_usd": 2, "eth_usd": 2, "tiny-coin_usdc": 9}

# Minutes of the dense days that have no price: [first, end) of each index.
HOLES = {
    "btc_usd": [(60, 61), (120, 125), (300, 480), (1439, 1441), (1680, 1860), (3000, 3600)],
    "eth_usd": [(90, 91), (400, 460), (1560, 1800), (4000, 4001)],
    "tiny-coin_usdc": [(0, 30), (700, 710)],
}

# Minutes with a reason why they were not polled: ticker, first, end, reason, code, attempts.
# Some have a price nevertheless, because they were repaired.
MISSES = [
    ("btc_usd", 60, 61, "rate_limited", 10028, 3),
    ("btc_usd", 120, 123, "exchange_unavailable", 503, 5),
    ("btc_usd", 123, 125, "bad_answer", None, 1),
    ("btc_usd", 300, 400, "exchange_unavailable", None, 4),
    ("btc_usd", 410, 420, "too_late", None, 0),
    ("btc_usd", 1000, 1003, "refused", 400, 1),
    ("eth_usd", 90, 91, "refused", 400, 1),
    ("eth_usd", 1600, 1700, "exchange_unavailable", 502, 2),
]


def lines() -> Iterator[str]:
    """The lines of the file to import, header first, in a fixed order."""
    yield HEADER
    for ticker in UNITS:
        yield from _sparse(ticker)
        yield from _dense(ticker)


def misses() -> Iterator[tuple[str, datetime, str, int | None, int, datetime]]:
    """The rows of `misses`: ticker, minute, reason, code, attempts, at."""
    for ticker, first, end, reason, code, attempts in MISSES:
        for n in range(first, end):
            minute = DENSE_SINCE + n * MINUTE
            yield ticker, minute, reason, code, attempts, minute + timedelta(seconds=50)


def _sparse(ticker: str) -> Iterator[str]:
    """A lone price of 2024, some hours of each tenth day of early 2026."""
    if ticker == "tiny-coin_usdc":
        return
    yield _line(ticker, datetime(2024, 2, 29, 12, tzinfo=UTC), 7)
    for day in range(0, 80, 10):
        start = datetime(2026, 1, 1, 6, tzinfo=UTC) + timedelta(days=day)
        for n in range(0, 360, 5 if ticker == "btc_usd" else 60):
            yield _line(ticker, start + n * MINUTE, day + n)


def _dense(ticker: str) -> Iterator[str]:
    missing = {n for first, end in HOLES[ticker] for n in range(first, end)}
    for n in range(DENSE_MINUTES[ticker]):
        if n not in missing and n % 211 != 13:
            yield _line(ticker, DENSE_SINCE + n * MINUTE, n)


def _line(ticker: str, minute: datetime, n: int) -> str:
    units = UNITS[ticker] + (n * 7919) % 1009 + (n // 60) * 3 - (n // 1440) * 100
    chart = n % 37 == 5
    decimals = DECIMALS[ticker]
    whole, part = divmod(units, 10**decimals)
    price = f"{whole}.{part:0{decimals}}" + ("3333" if chart else "")
    second = timedelta(seconds=2 + n % 3, microseconds=n * 997 % 1_000_000)
    observed = "" if n % 41 == 7 else f"{minute + second:%Y-%m-%dT%H:%M:%S.%fZ}"
    return f"{ticker},{minute:%Y-%m-%dT%H:%MZ},{price},{observed},{'chart' if chart else 'poll'}"
