"""What the API shows of prices: pages, as text that PostgreSQL has made."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import orjson
from psycopg import AsyncConnection

from tracker.models import FIRST
from tracker.queries.read import PATTERNS, read

_PRICE_PAGES = read("queries/price_pages")
_RISING_PAGES = read("queries/rising_pages")
_SOURCED_PAGES = read("queries/sourced_pages")
_SOURCED_RISING_PAGES = read("queries/sourced_rising_pages")

# Looking a month far first keeps a query to one or two chunks, however long the archive.
_NEAR = timedelta(days=31)

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
    return await _pages(conn, _PRICE_PAGES, questions, _last_month)


async def rising_pages(conn: AsyncConnection, questions: Questions) -> list[Lines]:
    """The same as `price_pages`, but the oldest, oldest first."""
    return await _pages(conn, _RISING_PAGES, questions, _first_month)


async def sourced_pages(conn: AsyncConnection, questions: Questions) -> list[Lines]:
    """The same as `price_pages`; frames also take source, and observed_at as text and as JSON."""
    return await _pages(conn, _SOURCED_PAGES, questions, _last_month)


async def sourced_rising_pages(conn: AsyncConnection, questions: Questions) -> list[Lines]:
    """The same as `sourced_pages`, but the oldest, oldest first."""
    return await _pages(conn, _SOURCED_RISING_PAGES, questions, _first_month)


async def _pages(
    conn: AsyncConnection,
    query: bytes,
    questions: Questions,
    month: Callable[[Question], Question],
) -> list[Lines]:
    """Pages that their *month* does not fill are asked for again, whole."""
    near = [month(question) for question in questions]
    answers = await _read(conn, query, near)
    short = [
        place
        for place, question in enumerate(questions)
        if near[place] is not question and not answers[place].more
    ]
    if short:
        whole = await _read(conn, query, [questions[place] for place in short])
        for place, answer in zip(short, whole, strict=True):
            answers[place] = answer
    return answers


def _last_month(question: Question) -> Question:
    """The same *question* about its last month; itself if it has no more."""
    since, until = question.since, question.until
    return question if until - since <= _NEAR else replace(question, since=until - _NEAR)


def _first_month(question: Question) -> Question:
    """About its first month; who asks from the beginning of time on has none."""
    since, until = question.since, question.until
    far = since > FIRST and until - since > _NEAR
    return replace(question, until=since + _NEAR) if far else question


async def _read(conn: AsyncConnection, query: bytes, questions: Questions) -> list[Lines]:
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
