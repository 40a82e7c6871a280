"""Moments, minutes and spans of minutes, in UTC. Sources: RFC 3339, ISO 8601, RFC 9110."""

import re
import time
from calendar import monthrange
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
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
# below 1e14, microseconds below 1e17, nanoseconds from there. A time before 1970 is in seconds.
SECONDS_BELOW = 10**11
MILLISECONDS_BELOW = 10**14
MICROSECONDS_BELOW = 10**17

# How many of a unit make a second.
TIME_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
# A year from 1900 to 2199 and what may follow: its month, day, hour and minute, second.
_DATE_DIGITS = re.compile(r"(?:19|20|21)[0-9]{2}(?:[0-9]{2}|[0-9]{4}|[0-9]{8}|[0-9]{10})?")
_ISO = re.compile(
    r"([0-9]{4}-?(?:[0-9]{2}-?[0-9]{2}|W[0-9]{2}(?:-?[1-7])?))"  # date
    r"(?:[T ]((?:[01][0-9]|2[0-3])(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?)?)"  # time
    r"( ?(?:Z|[+ -][0-9]{2}(?::?[0-5][0-9])?))?)?"  # offset
)
_ISO_FIELDS = re.compile(
    r"(?P<year>[0-9]{4})(-?)"
    r"(?:W(?P<week>[0-9]{2})(?:-?[1-7])?|(?P<month>[0-9]{2})\2(?P<day>[0-9]{2}))"
    r"(?:[T ](?P<hour>[0-9]{2})"
    r"(?::?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2})(?:[.,][0-9]+)?)?)?"
    r"(?: ?(?:Z|[+ -](?P<offset_hour>[0-9]{2})(?::?(?P<offset_minute>[0-9]{2}))?))?)?"
)
_LEAP_SECOND = re.compile(r"^([0-9]{2}:?[0-9]{2}:?)60")


class Clock:
    """The clock of this machine, for code that compares it with minutes; tests set their own."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        return datetime.now(UTC)


def elapsed_seconds() -> float:
    """Seconds by a clock that nobody can set and that counts while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class StepDetector:
    """Detects that a clock was set, because another one that nobody can set passed another time."""

    def __init__(self, clock: Clock, elapsed: Callable[[], float] = elapsed_seconds) -> None:
        """Watch *clock*; *elapsed* counts seconds."""
        self._clock = clock
        self._elapsed = elapsed
        self._start = self._read_start()

    def measure_step(self) -> timedelta:
        """By how much the clock was set since the last call; positive: forward."""
        before, self._start = self._start, self._read_start()
        return self._start - before

    def _read_start(self) -> datetime:
        return self._clock.now() - timedelta(seconds=self._elapsed())


def parse_moment(text: str, *, allow_date_digits: bool = False) -> datetime:
    """A moment in UTC, from RFC 3339, ISO 8601 (UTC unless it has an offset) or Unix time.

    allow_date_digits: whether digits that look like a date, such as 20240115, are a Unix time.

    Raises ValueError with the reason.
    """
    stripped = text.strip()
    try:
        if _NUMBER.fullmatch(stripped):
            return _parse_unix_time(stripped, allow_date_digits=allow_date_digits)
        return _parse_iso_time(stripped.upper())
    except OverflowError:
        raise ValueError(f"is outside the years 1 to 9999: {shorten(text)!r}") from None
    except ValueError as error:
        raise ValueError(f"{error}: {shorten(text)!r}") from None


def parse_in_unit(text: str, unit: str) -> datetime:
    """A moment in UTC, from a number of TIME_UNITS since 1970, or ("iso") from RFC 3339, ISO 8601.

    Raises ValueError with the reason.
    """
    stripped = text.strip()
    try:
        if unit == "iso":
            return _parse_iso_time(stripped.upper())
        seconds = Fraction(stripped if _NUMBER.fullmatch(stripped) else "") / TIME_UNITS[unit]
        return EPOCH + timedelta(microseconds=floor(seconds * 1_000_000))
    except OverflowError:
        raise ValueError(f"is outside the years 1 to 9999: {shorten(text)!r}") from None
    except ValueError:
        kind = "RFC 3339 / ISO 8601" if unit == "iso" else f"a number of {unit} since 1970"
        raise ValueError(f"is not {kind}: {shorten(text)!r}") from None


def _parse_unix_time(text: str, *, allow_date_digits: bool) -> datetime:
    """Seconds to nanoseconds since 1970; digits beyond microseconds are truncated."""
    number = int(text) if text.isdecimal() else Fraction(text)
    if not allow_date_digits and _DATE_DIGITS.fullmatch(str(floor(number))):
        raise ValueError(
            "looks like a date without hyphens, but a number is a Unix time: write a date as"
            " 2024-01-15, with a time as 2024-01-15T12:00Z"
        )
    if number < MICROSECONDS_BELOW:
        scale = 1_000_000 if number < SECONDS_BELOW else 1000 if number < MILLISECONDS_BELOW else 1
        return EPOCH + timedelta(microseconds=floor(number * scale))
    return EPOCH + timedelta(microseconds=number // 1000)


def _parse_iso_time(text: str) -> datetime:
    """A space before an offset is an unescaped `+` of a URL.

    A leap second becomes the second before it, in the minute that it ends.
    """
    parts = _ISO.fullmatch(text)
    if parts is None:
        raise ValueError(_explain_iso_time(text))
    date, time, offset = parts.groups(default="")
    time = _LEAP_SECOND.sub(r"\g<1>59", time) or "00"
    offset = offset.strip() or "Z"
    if offset[0].isdigit():
        offset = f"+{offset}"
    try:
        moment = datetime.fromisoformat(f"{date}T{time}{offset}")
    except ValueError:
        raise ValueError(_explain_iso_time(text)) from None
    return moment.astimezone(UTC)


def _explain_iso_time(text: str) -> str:
    """Why *text* is no moment: the first of its fields that no calendar or clock has."""
    parts = _ISO_FIELDS.fullmatch(text)
    if parts is None:
        return (
            "is neither a date or time such as 2024-01-15 or 2024-01-15T12:00:00Z nor a Unix time"
        )
    fields = {name: int(digits) for name, digits in parts.groupdict(default="1").items()}
    year, month = fields["year"], fields["month"]
    bounds = {"year": (1, 9999), "month": (1, 12), "hour": (0, 23), "minute": (0, 59)}
    bounds |= {"second": (0, 60), "offset_hour": (0, 23), "offset_minute": (0, 59)}
    for name, (least, most) in bounds.items():
        if not least <= fields[name] <= most:
            label = name.replace("offset_", "offset's ")
            return f"is no moment, because its {label} is {fields[name]}, not {least} to {most}"
    if parts["week"]:
        return f"is no moment, because {year} has no week {fields['week']}"
    return f"is no moment, because {year}-{month:02} has {monthrange(year, month)[1]} days"


def format_moment(moment: datetime) -> str:
    """*moment*, which is in UTC, as 2024-01-15T12:00:00Z."""
    return moment.isoformat().replace("+00:00", "Z")


def minute_of(moment: datetime) -> datetime:
    """The UTC minute that contains *moment*. Raises ValueError for a naive time."""
    if moment.utcoffset() is None:
        raise ValueError(f"naive time: {moment}")
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def next_instant(moment: datetime) -> datetime:
    """The first moment after *moment*, which half-open bounds need to include it; LAST has none."""
    return moment if moment == LAST else moment + datetime.resolution


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


def parse_http_date(value: str) -> datetime | None:
    """The moment of an HTTP date; None if it is missing or invalid."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else None


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, 0 or more, from the header's seconds or date; None if it has neither.

    A date counts from the response's own, because this machine's clock may differ.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    until, now = parse_http_date(value), parse_http_date(headers.get("date", ""))
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds()) if until else None
