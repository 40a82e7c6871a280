"""The query string: strings in, typed values or one BadRequest out; nothing else is touched.

Sources: RFC 3339 and ISO 8601 (times).
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from starlette.datastructures import QueryParams

from tracker.errors import BadRequest

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 1000

# Unix times are told apart by magnitude: seconds below 1e11 (the year 5138), milliseconds below
# 1e14, microseconds from there.
_SECONDS_BELOW = Decimal("1e11")
_MILLISECONDS_BELOW = Decimal("1e14")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_SHOWN = 60
_TICKER = re.compile(r"[a-z0-9-]{1,40}_[a-z0-9]{1,40}")
_LIMIT = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_ISO = re.compile(r"[0-9]{4}-?(?:[0-9]{2}-?[0-9]{2}|W[0-9]{2}(?:-?[1-7])?)(?:[T ][0-9].*)?")
_LOST_PLUS = re.compile(r"([^T ]+[T ][^ ]+) ([0-9]{2}(?::?[0-9]{2})?)")
_LEAP_SECOND = re.compile(r"(:[0-9]{2}):60")

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
        raise ValueError(f"is not a parameter here; there are {', '.join(readers)}")
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


def moment(text: str) -> datetime:
    """A moment, in UTC: RFC 3339, ISO 8601 (naive means UTC), or Unix time. Raises ValueError."""
    stripped = text.strip()
    try:
        if _NUMBER.fullmatch(stripped):
            return _unix_time(Decimal(stripped))
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


def _unix_time(number: Decimal) -> datetime:
    """Seconds, milliseconds or microseconds since 1970; what is finer is cut off."""
    size = abs(number)
    scale = 1_000_000 if size < _SECONDS_BELOW else 1_000 if size < _MILLISECONDS_BELOW else 1
    return _EPOCH + timedelta(microseconds=int((number * scale).to_integral_value("ROUND_FLOOR")))


def _iso_time(text: str) -> datetime:
    """A `+` that came as a space is put back; a leap second counts to the minute it ends."""
    if not _ISO.fullmatch(text):
        raise ValueError(text)
    if lost := _LOST_PLUS.fullmatch(text):
        text = f"{lost[1]}+{lost[2]}"
    read_time = datetime.fromisoformat(_LEAP_SECOND.sub(r"\1:59", text))
    if read_time.utcoffset() is None:
        return read_time.replace(tzinfo=UTC)
    return read_time.astimezone(UTC)
