"""Answers that may be kept: whole ones, and what they tell of."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from tracker.web.answer.safety import RawHeaders
from tracker.web.live.feed import Feed


@dataclass(frozen=True, slots=True)
class Subject:
    """What an answer tells of: an index, and how often that had changed before it was read."""

    ticker: str
    revision: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    subject: what it tells of; None: it cannot be kept.
    until: when it counts no more, on the event loop's clock.
    """

    status: int
    headers: RawHeaders
    body: bytes
    subject: Subject | None
    until: float


def tells_of(request: Request[Any], ticker: str) -> None:
    """Let the answer be kept until *ticker* changes; to be said before anything is read."""
    revision = request.scope["state"]["streams"].feed.revision(ticker)
    request.scope["tells_of"] = Subject(ticker, revision)


def holds(subject: Subject | None, feed: Feed) -> bool:
    """Whether nothing has changed since, as far as is known; false if little is."""
    if subject is None or not feed.settled:
        return False
    return feed.revision(subject.ticker) == subject.revision
