"""The query string: strings in, typed values or one BadRequest out; nothing else is touched.

Sources: RFC 3339 and ISO 8601 (times).
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any

from starlette.datastructures import QueryParams

from tracker.errors import BadRequest

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 1000

# Unix times are told apart by magnitude: seconds below 1e11 (the year 5138), milliseconds below
# 1e14, microseconds from there. A time before 1970 is in seconds.
SECONDS_BELOW = 10**11
MILLISECONDS_BELOW = 10**14
INTERVALS = {"1h": timedelta(hours=1), "1d": timedelta(days=1)}
EXTRAS = ("source", "observed_at")
INDEX_NAME = "[a-z0-9-]+_[a-z0-9]+"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_SHOWN = 60
_TICKER = re.compile(INDEX_NAME)
_LIMIT = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_ISO = re.compile(
    r"([0-9]{4}-?(?:[0-9]{2}-?[0-9]{2}|W[0-9]{2}(?:-?[1-7])?))"  # date
    r"(?:[T ]((?:[01][0-9]|2[0-3])(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?)?)"  # time
    r"( ?(?:Z|[+ -][0-9]{2}(?::?[0-9]{2})?))?)?"  # offset
)
_LEAP_SECOND = re.compile(r"^([0-9]{2}:?[0-9]{2}:?)60")

Reader = Callable[[str], Any]


def read(query: QueryParams, readers: Mapping[str, Reader], *required: str) -> dict[str, Any]:
    """The value of each parameter that is there, read by its reader.

    Raises BadRequest that names every parameter that is missing, repeated, unknown or not
    understood: a typo must not silently give a default.
    """
    errors = {name: "is required" for name in required if name not in query}
    values = {}
    for name in query:
        try:
            values[name] = _value(query, name, readers)
        except ValueError as error:
            errors[shorten(name)] = str(error)
    if errors:
        raise BadRequest(errors)
    return values


def _value(query: QueryParams, name: str, readers: Mapping[str, Reader]) -> object:
    if name not in readers:
        raise ValueError(f"is not a parameter here; there are {', '.join(readers) or 'none'}")
    texts = query.getlist(name)
    if len(texts) > 1:
        raise ValueError("is given more than once")
    return readers[name](texts[0])


def ticker(text: str) -> str:
    """An index name; whether it is tracked is for the caller to ask. Raises ValueError."""
    if not _TICKER.fullmatch(text):
        raise ValueError(f"is not an index name such as btc_usd: {shorten(text)!r}")
    return text


def limit(text: str) -> int:
    """How many rows, 1 to 1000. Raises ValueError."""
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= LARGEST_LIMIT:
        raise ValueError(f"is not a whole number from 1 to {LARGEST_LIMIT}: {shorten(text)!r}")
    return int(text)


def interval(text: str) -> str:
    """A name of INTERVALS. Raises ValueError."""
    if text not in INTERVALS:
        raise ValueError(f"is not {' or '.join(INTERVALS)}: {shorten(text)!r}")
    return text


def include(text: str) -> list[str]:
    """Names of EXTRAS, in their order, each at most once. Raises ValueError."""
    names = text.split(",")
    for name in names:
        if name not in EXTRAS:
            raise ValueError(f"has {shorten(name)!r}; there are {', '.join(EXTRAS)}")
        if names.count(name) > 1:
            raise ValueError(f"has {name!r} more than once")
    return [name for name in EXTRAS if name in names]


def moment(text: str) -> datetime:
    """A moment, in UTC: RFC 3339, ISO 8601 (naive means UTC), or Unix time. Raises ValueError.

    Digits alone are always a Unix time, 20240115 too.
    """
    stripped = text.strip()
    try:
        if _NUMBER.fullmatch(stripped):
            return _unix_time(Fraction(stripped))
        return _iso_time(stripped.upper())
    except OverflowError:
        raise ValueError(f"is outside the years 1 to 9999: {shorten(text)!r}") from None
    except ValueError:
        raise ValueError(
            "is neither RFC 3339 / ISO 8601 such as 2024-01-15T12:00:00Z"
            f" nor a Unix time: {shorten(text)!r}"
        ) from None


def shorten(text: str) -> str:
    """*text* of a client, safe to give back: short, and of printable characters."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"


def _unix_time(number: Fraction) -> datetime:
    """Seconds, milliseconds or microseconds since 1970; what is finer is cut off."""
    scale = 1_000_000 if number < SECONDS_BELOW else 1_000 if number < MILLISECONDS_BELOW else 1
    return _EPOCH + timedelta(microseconds=floor(number * scale))


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
