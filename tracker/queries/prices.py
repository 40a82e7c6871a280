"""What the API shows of prices: pages, as text that PostgreSQL has made."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import orjson
from psycopg import AsyncConnection

from tracker.queries.read import PATTERNS, read

_PRICE_PAGES = read("queries/price_pages")
_RISING_PAGES = read("queries/rising_pages")
_SOURCED_PAGES = read("queries/sourced_pages")
_SOURCED_RISING_PAGES = read("queries/sourced_rising_pages")

# What a line has beside its values: before_id, before_price, before_day, before_time, after_time.
# Where source and observed_at are read too, the last is a template of PostgreSQL's format().
Frame = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """Up to *count* prices of *ticker* with ``since <= created_at <= until``, in that *frame*."""

    ticker: str
    frame: Frame
    since: datetime
    until: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Lines:
    """Some prices that follow each other, as text.

    text: a line for each, LF between two; None if there are none, as for both minutes.
    near, far: the minutes of the first line and of the last.
    more: whether another price follows, where no more were asked for.
    seconds: what the server took, with all that was asked together.
    """

    text: str | None
    near: datetime | None
    far: datetime | None
    more: bool
    seconds: float = field(default=0.0, compare=False)


NOTHING = Lines(None, None, None, more=False)

Questions = Sequence[Question]
Reading = Callable[[AsyncConnection, Questions], Awaitable[list[Lines]]]


async def price_pages(conn: AsyncConnection, questions: Questions) -> list[Lines]:
    """The newest prices that each of *questions* is about, newest first; answers in their order."""
    return await _pages(conn, _PRICE_PAGES, questions)


async def rising_pages(conn: AsyncConnection, questions: Questions) -> list[Lines]:
    """The same as `price_pages`, but the oldest, oldest first."""
    return await _pages(conn, _RISING_PAGES, questions)


async def sourced_pages(conn: AsyncConnection, questions: Questions) -> list[Lines]:
    """The same as `price_pages`; frames also take source, and observed_at as text and as JSON."""
    return await _pages(conn, _SOURCED_PAGES, questions)


async def sourced_rising_pages(conn: AsyncConnection, questions: Questions) -> list[Lines]:
    """The same as `sourced_pages`, but the oldest, oldest first."""
    return await _pages(conn, _SOURCED_RISING_PAGES, questions)


async def _pages(conn: AsyncConnection, query: bytes, questions: Questions) -> list[Lines]:
    asked = orjson.dumps([_asked(place, each) for place, each in enumerate(questions)]).decode()
    cursor = await conn.execute(query, {"questions": asked, "separator": "\n", **PATTERNS})
    return [_shown(Lines(*page)) for page in await cursor.fetchall()]


def _asked(place: int, question: Question) -> Mapping[str, object]:
    return {
        "place": place,
        "ticker": question.ticker,
        "since": question.since,
        "until": question.until,
        "count": question.count,
        **question.frame,
    }


def _shown(read: Lines) -> Lines:
    """Without the line that only says that there is more."""
    return replace(read, text=read.text.rpartition("\n")[0]) if read.text and read.more else read
