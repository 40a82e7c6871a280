"""Moments, minutes and spans of minutes, in UTC. Sources: RFC 3339, ISO 8601."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor

from tracker.errors import shorten

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)

# The magnitude of a Unix time determines its unit: seconds below 1e11 (the year 5138), milliseconds
# below 1e14, microseconds from there. A time before 1970 is in seconds.
SECONDS_BELOW = 10**11
MILLISECONDS_BELOW = 10**14

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_ISO = re.compile(
    r"([0-9]{4}-?(?:[0-9]{2}-?[0-9]{2}|W[0-9]{2}(?:-?[1-7])?))"  # date
    r"(?:[T ]((?:[01][0-9]|2[0-3])(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?)?)"  # time
    r"( ?(?:Z|[+ -][0-9]{2}(?::?[0-9]{2})?))?)?"  # offset
)
_LEAP_SECOND = re.compile(r"^([0-9]{2}:?[0-9]{2}:?)60")


class Clock:
    """The clock of this machine, for code that compares it with minutes; tests set their own."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        return datetime.now(UTC)


def parse_moment(text: str) -> datetime:
    """A moment in UTC, from RFC 3339, ISO 8601 (UTC unless it has an offset) or Unix time.

    Digits alone are always a Unix time, also 20240115. Raises ValueError with the reason.
    """
    stripped = text.strip()
    try:
        if _NUMBER.fullmatch(stripped):
            return _parse_unix_time(stripped)
        return _parse_iso_time(stripped.upper())
    except OverflowError:
        raise ValueError(f"is outside the years 1 to 9999: {shorten(text)!r}") from None
    except ValueError:
        raise ValueError(
            "is neither RFC 3339 / ISO 8601 such as 2024-01-15T12:00:00Z"
            f" nor a Unix time: {shorten(text)!r}"
        ) from None


def _parse_unix_time(text: str) -> datetime:
    """Seconds, milliseconds or microseconds since 1970; finer digits are truncated."""
    number = int(text) if text.isdecimal() else Fraction(text)
    scale = 1_000_000 if number < SECONDS_BELOW else 1_000 if number < MILLISECONDS_BELOW else 1
    return EPOCH + timedelta(microseconds=floor(number * scale))


def _parse_iso_time(text: str) -> datetime:
    """A space before an offset is an unescaped `+` of a URL.

    A leap second becomes the second before it, in the minute that it ends.
    """
    parts = _ISO.fullmatch(text)
    if parts is None:
        raise ValueError(text)
    date, time, offset = parts.groups(default="")
    time = _LEAP_SECOND.sub(r"\g<1>59", time) or "00"
    offset = offset.strip() or "Z"
    if offset[0].isdigit():
        offset = f"+{offset}"
    return datetime.fromisoformat(f"{date}T{time}{offset}").astimezone(UTC)


def format_moment(moment: datetime) -> str:
    """*moment*, which is in UTC, as 2024-01-15T12:00:00Z."""
    return moment.isoformat().replace("+00:00", "Z")


def minute_of(moment: datetime) -> datetime:
    """The UTC minute that contains *moment*. Raises ValueError for a naive time."""
    if moment.utcoffset() is None:
        raise ValueError(f"naive time: {moment}")
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def floor_moment(moment: datetime, width: timedelta) -> datetime:
    """The start of the UTC bucket, *width* wide, that contains *moment*."""
    return moment - (moment - EPOCH) % width


def ceil_moment(moment: datetime, width: timedelta) -> datetime:
    """The first start of a UTC bucket, *width* wide, at *moment* or later."""
    start = floor_moment(moment, width)
    return start if start == moment else start + width


@dataclass(frozen=True, slots=True)
class Span:
    """The minutes with since <= minute < until. Raises ValueError if until precedes since."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        """Reject an end before the start."""
        if self.until < self.since:
            raise ValueError(f"ends before it begins: {self}")

    @property
    def minutes(self) -> int:
        """The number of its minutes."""
        return (self.until - self.since) // MINUTE


def split_whole_hours(span: Span) -> tuple[Span, list[Span]]:
    """The whole hours of *span*, and the minutes before and after them: up to two spans."""
    first, last = ceil_moment(span.since, HOUR), floor_moment(span.until, HOUR)
    if last < first:
        return Span(first, first), [span]
    edges = [Span(last, span.until), Span(span.since, first)]
    return Span(first, last), [edge for edge in edges if edge.minutes]
