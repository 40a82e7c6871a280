"""What is tracked: since when, how much is stored, and how the price moved in a day."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext

from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import queries
from tracker.models import Summary
from tracker.rows import amount
from tracker.times import format_moment
from tracker.web.answer import formats
from tracker.web.asked import params
from tracker.web.state import AppRequest

_KEYS = ("ticker", "configured", "since", "rows")
_DAY = ("change_24h", "change_percent_24h", "high_24h", "low_24h")
_ENDS = ("first_price", "first_created_at", "newest_price", "newest_created_at")
COLUMNS = (*_KEYS, "first", "newest", *_DAY)
FLAT_COLUMNS = (*_KEYS, *_ENDS, *_DAY)
_PERCENT = Decimal("0.0001")
_DIGITS = 120  # a price has fewer than 50, the quotient of two fewer than 100


async def tickers(request: AppRequest) -> Response:
    """GET /tickers: every index that is polled or was, those polled first."""
    params.read(request.query_params, {"format": params.form})
    configured = request.state["settings"].tickers
    now = datetime.now(UTC)

    async def read(conn: AsyncConnection) -> list[Summary]:
        return await queries.ticker_summaries(conn, now)

    stored = {each.ticker: each for each in await request.state["database"].run(read)}
    every = {name: Summary(name) for name in configured} | stored
    rows = [_shown(each, polled=name in configured) for name, each in every.items()]
    if formats.accepted(request) == formats.MEDIA_TYPES["csv"]:
        return formats.answer(request, [flat(row) for row in rows], FLAT_COLUMNS)
    return formats.answer(request, rows, COLUMNS)


def flat(row: Mapping[str, object]) -> dict[str, object]:
    """*row* for CSV: an object's keys are columns with its name before them."""
    found: dict[str, object] = {}
    for name, value in row.items():
        found |= _columns(name, value) if name in {"first", "newest"} else {name: value}
    return found | {"configured": "true" if row["configured"] else "false"}


def _shown(found: Summary, *, polled: bool) -> dict[str, object]:
    """Prices as strings, because JSON's numbers are not exact."""
    return {
        "ticker": found.ticker,
        "configured": polled,
        "since": None if found.since is None else format_moment(found.since),
        "rows": found.minutes,
        "first": _price(found.first_price, found.first_at),
        "newest": _price(found.newest_price, found.newest_at),
        **dict(zip(_DAY[:2], _change(found.newest_price, found.past_price), strict=True)),
        "high_24h": _text(found.high),
        "low_24h": _text(found.low),
    }


def _price(price: Decimal | None, minute: datetime | None) -> dict[str, object] | None:
    if price is None or minute is None:
        return None
    return {"price": _text(price), "created_at": format_moment(minute)}


def _change(newest: Decimal | None, past: Decimal | None) -> tuple[str | None, str | None]:
    """From *past* to *newest*: exact, and in percent with four decimals."""
    if newest is None or past is None:
        return None, None
    with localcontext(prec=_DIGITS):
        change = newest - past
        percent = (change / past * 100).quantize(_PERCENT) + 0  # a zero has no sign
    return amount(change), amount(percent)


def _text(price: Decimal | None) -> str | None:
    return None if price is None else amount(price)


def _columns(name: str, value: object) -> dict[str, object]:
    keys: Sequence[str] = ("price", "created_at")
    found = value if isinstance(value, Mapping) else {}
    return {f"{name}_{key}": found.get(key) for key in keys}
