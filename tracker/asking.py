"""What the client may ask for, by the names of its arguments, and as the API's query says it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypedDict

Asked = Mapping[str, object]

ORIGIN: Asked = {"include": "source,observed_at"}

_NAMES = {"start": "start_date", "end": "end_date"}


class Window(TypedDict, total=False):
    """From start to before end, aware datetimes of any zone; limit: how many come at once."""

    start: datetime
    end: datetime
    limit: int


class Range(Window, total=False):
    """A window that is read newest first, or from the oldest on."""

    order: Literal["desc", "asc"]


class Buckets(Window, total=False):
    """A window in buckets of an interval, 1h or 1d."""

    interval: str


class Candles(Range, Buckets, total=False):
    """A range in buckets of any interval from 1m to 1M; tz: whose days they are."""

    tz: str


def near(ticker: str, date: datetime, tolerance: int) -> Asked:
    """The price of *ticker* nearest to *date*, at most so many seconds away."""
    return {"ticker": ticker, "date": date, "tolerance": tolerance, **ORIGIN}


def texts(asked: Asked) -> dict[str, str]:
    """The parameters of the query."""
    return {
        _NAMES.get(name, name): value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in asked.items()
    }
