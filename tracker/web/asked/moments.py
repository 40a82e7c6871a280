"""Moments as clients write them. Sources: RFC 3339, ISO 8601."""

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor

from tracker.models import EPOCH

# Unix times are told apart by magnitude: seconds below 1e11 (the year 5138), milliseconds below
# 1e14, microseconds from there. A time before 1970 is in seconds.
SECONDS_BELOW = 10**11
MILLISECONDS_BELOW = 10**14

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_ISO = re.compile(
    r"([0-9]{4}-?(?:[0-9]{2}-?[0-9]{2}|W[0-9]{2}(?:-?[1-7])?))"  # date
    r"(?:[T ]((?:[01][0-9]|2[0-3])(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?)?)"  # time
    r"( ?(?:Z|[+ -][0-9]{2}(?::?[0-9]{2})?))?)?"  # offset
)
_LEAP_SECOND = re.compile(r"^([0-9]{2}:?[0-9]{2}:?)60")


def parse(text: str) -> datetime:
    """A moment, in UTC. Raises ValueError; OverflowError if it lies outside the years 1 to 9999."""
    if _NUMBER.fullmatch(text):
        return _unix_time(int(text) if text.isdecimal() else Fraction(text))
    return _iso_time(text.upper())


def _unix_time(number: int | Fraction) -> datetime:
    """Seconds, milliseconds or microseconds since 1970; what is finer is cut off."""
    scale = 1_000_000 if number < SECONDS_BELOW else 1_000 if number < MILLISECONDS_BELOW else 1
    return EPOCH + timedelta(microseconds=floor(number * scale))


def _iso_time(text: str) -> datetime:
    """A `+` that came as a space is put back; a leap second counts to the minute it ends."""
    parts = _ISO.fullmatch(text)
    if parts is None:
        raise ValueError(text)
    date, time, offset = parts.groups(default="")
    time = _LEAP_SECOND.sub(r"\g<1>59", time) or "00"
    offset = offset.strip() or "Z"
    if offset[0].isdigit():
        offset = f"+{offset}"
    return datetime.fromisoformat(f"{date}T{time}{offset}").astimezone(UTC)
