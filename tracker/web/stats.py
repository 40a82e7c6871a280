"""GET /prices/stats: what the prices of a range were, and how much they moved.

One function of the database computes them, and serves analysts too: sql/migrations/0009. It reads
every minute of the range, a year in a quarter of a second: therefore a range is limited.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from starlette.responses import Response

from tracker import queries, rows
from tracker.errors import BadRequest
from tracker.times import DAY, FIRST, Span, minute_of
from tracker.web import params, responses, schemas
from tracker.web.endpoint import AppRequest, endpoint, require_ticker
from tracker.web.params import TickerQuery
from tracker.web.responses import DataResponse, negotiate, render

MAX_RANGE = timedelta(days=366)
_DEFAULT_RANGE = DAY

START = params.moment(
    "start_date",
    f"One bound of the range, inclusive, at most {MAX_RANGE.days} days from the other; it may be"
    " the later one; default: 24 hours before `end_date`.",
)
END = params.moment("end_date", "The other bound, exclusive; default: now.")

_PRICE = schemas.PRICE
_SIGNED: params.Schema = {"type": "string", "pattern": "^-?[0-9]+\\.[0-9]{2,}$"}
_COUNT: params.Schema = {"type": "integer", "minimum": 0}


def _price(description: str) -> params.Schema:
    return schemas.or_null(_PRICE, description)


def _minute(description: str) -> params.Schema:
    return schemas.or_null(schemas.MINUTE, description)


def _double(description: str) -> params.Schema:
    return schemas.or_null({"type": "number"}, description)


STATISTICS = schemas.model(
    "Statistics",
    {
        "ticker": schemas.TICKER,
        "first_at": _minute("The first stored minute of the range"),
        "first": _price("Its price"),
        "last_at": _minute("The last stored minute of the range"),
        "last": _price("Its price"),
        "high_at": _minute("The first minute of the highest price"),
        "high": _price("The highest price"),
        "low_at": _minute("The first minute of the lowest price"),
        "low": _price("The lowest price"),
        "change": schemas.or_null(_SIGNED, "From the first price to the last, exact"),
        "change_percent": schemas.or_null(_SIGNED, "The same in percent, four decimals"),
        "mean": _price("The average of the stored prices"),
        "twap": _price(
            "The time-weighted average: from each minute to the next, the average of their two"
            " prices. Time across a gap has no weight"
        ),
        "log_returns": {
            **_COUNT,
            "description": "How many pairs of adjacent minutes are stored: `twap` and the log"
            " returns, ln(price / previous price), are of these; none spans a gap",
        },
        "log_return_mean": _double("The mean of the log returns"),
        "log_return_stddev": _double("Their sample standard deviation, of minutes"),
        "realised_volatility": _double(
            "The square root of the mean square of the log returns, annualised: times the square"
            " root of 525,600, the minutes of 365 days. 0.5 is 50 per cent a year"
        ),
        "max_drawdown_percent": schemas.or_null(
            _SIGNED,
            "The maximum drawdown, the largest fall below an earlier price, in percent: negative,"
            " or 0 where the price never fell",
        ),
        "peak_at": _minute("Where it began: the last minute of the peak before the trough"),
        "peak": _price("The highest price before the trough"),
        "trough_at": _minute("Where it ended: the first minute of the trough"),
        "trough": _price("The price of the trough"),
        "samples": {**_COUNT, "description": "How many minutes are stored"},
        "polled": {**_COUNT, "description": "Those that were requested in their minute"},
        "chart": {**_COUNT, "description": "Those that were filled from the exchange's chart data"},
        "imported": {**_COUNT, "description": "Those that were imported from a file"},
        "expected": {
            **_COUNT,
            "description": "The minutes of the range that are tracked and over, or stored",
        },
        "missing": {**_COUNT, "description": "Those of them that are not stored"},
        "ratio": schemas.or_null(
            {"type": "number", "minimum": 0, "maximum": 1},
            "The stored part of those expected, rounded down to four decimals",
        ),
    },
    description="Statistics of the stored prices of a range; null where it has too few. Prices and"
    " their averages are decimals; what follows from logarithms are doubles",
)
_EXAMPLE = {
    "ticker": "btc_usd",
    "first_at": "2024-01-14T12:00:00Z",
    "first": "68401.60",
    "last_at": "2024-01-15T11:59:00Z",
    "last": "68241.50",
    "high_at": "2024-01-14T17:21:00Z",
    "high": "68890.00",
    "low_at": "2024-01-15T03:02:00Z",
    "low": "67925.31",
    "change": "-160.10",
    "change_percent": "-0.2341",
    "mean": "68310.114903047091",
    "twap": "68310.091342756184",
    "log_returns": 1436,
    "log_return_mean": -1.632e-06,
    "log_return_stddev": 0.000412,
    "realised_volatility": 0.2987,
    "max_drawdown_percent": "-1.4004",
    "peak_at": "2024-01-14T17:21:00Z",
    "peak": "68890.00",
    "trough_at": "2024-01-15T03:02:00Z",
    "trough": "67925.31",
    "samples": 1438,
    "polled": 1430,
    "chart": 8,
    "imported": 0,
    "expected": 1440,
    "missing": 2,
    "ratio": 0.9986,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsQuery(TickerQuery):
    """A range of one index."""

    start_date: Annotated[datetime | None, START] = None
    end_date: Annotated[datetime | None, END] = None
    format: Annotated[str | None, params.FORMAT] = None


@endpoint(
    "/prices/stats",
    "stats",
    summary="Statistics of a range: extremes, averages, volatility, drawdown, coverage",
    description="Of the stored minutes alone: gaps are counted, and no value is computed across"
    " one.",
    response=schemas.rows_response(schemas.ref(STATISTICS), _EXAMPLE),
    errors=(406, 412, 422, 500, 503),
    shared=True,
)
async def get_statistics(request: AppRequest, query: StatisticsQuery) -> Response:
    """The statistics of the prices between start_date and end_date. Raises BadRequest."""
    dependency = await require_ticker(request, query.ticker)
    media_type, now = negotiate(request, query.format), datetime.now(UTC)
    within = statistics_range(query.start_date, query.end_date, now)
    found = await request.state["database"].run(
        lambda conn: queries.statistics(conn, query.ticker, within)
    )
    is_past = within.until <= minute_of(now)
    lifetime = responses.SETTLED if is_past else responses.until_next_price(found.last_at, now)
    body = render(media_type, rows.statistics_row(found), rows.STATISTICS_COLUMNS)
    return DataResponse(body, media_type, lifetime, dependency)


def statistics_range(start: datetime | None, end: datetime | None, now: datetime) -> Span:
    """[since, until) of the moments between *start* and *end*. Raises BadRequest if it is long."""
    end = end or now
    start = start or max(end, FIRST + _DEFAULT_RANGE) - _DEFAULT_RANGE
    since, until = params.half_open(start, end)
    assert since is not None  # neither is unbounded
    assert until is not None
    if until - since > MAX_RANGE:
        why = f"is more than {MAX_RANGE.days} days from end_date, the maximum"
        raise BadRequest({"start_date": why})
    return Span(since, until)
