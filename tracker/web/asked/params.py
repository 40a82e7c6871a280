"""The query string: strings in, typed values or one BadRequest out; nothing else is touched."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.datastructures import QueryParams

from tracker.errors import BadRequest, shorten
from tracker.rows import EXTRAS

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 1000

INTERVALS = {"1h": timedelta(hours=1), "1d": timedelta(days=1)}
ORDERS = ("desc", "asc")
FORMATS = ("json", "csv", "ndjson")
LINE_FORMATS = ("csv", "ndjson")  # those that need no end, and can be streamed
LARGEST_TOLERANCE = 86_400  # seconds

_WHOLE = re.compile(r"[0-9]{1,9}")

Reader = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Each:
    """The reader of a parameter that may be repeated, never with the same value: a list."""

    reader: Reader


Readers = Mapping[str, Reader | Each]


def read(query: QueryParams, readers: Readers, *required: str) -> dict[str, Any]:
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


def _value(query: QueryParams, name: str, readers: Readers) -> object:
    if name not in readers:
        raise ValueError(f"is not a parameter here; there are {', '.join(readers) or 'none'}")
    reader, texts = readers[name], query.getlist(name)
    if isinstance(reader, Each):
        return _different([reader.reader(text) for text in texts])
    if len(texts) > 1:
        raise ValueError("is given more than once")
    return reader(texts[0])


def _different(values: list[Any]) -> list[Any]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"is {shorten(str(value))!r} more than once")
    return values


def limit(text: str) -> int:
    """How many rows, 1 to 1000. Raises ValueError."""
    return _whole(text, 1, LARGEST_LIMIT)


def tolerance(text: str) -> int:
    """How many seconds a price may lie away, 0 to a day. Raises ValueError."""
    return _whole(text, 0, LARGEST_TOLERANCE)


def interval(text: str) -> str:
    """A name of INTERVALS. Raises ValueError."""
    return _one_of(text, INTERVALS)


def order(text: str) -> str:
    """A name of ORDERS. Raises ValueError."""
    return _one_of(text, ORDERS)


def form(text: str) -> str:
    """A name of FORMATS. Raises ValueError."""
    return _one_of(text, FORMATS)


def line_form(text: str) -> str:
    """A name of LINE_FORMATS. Raises ValueError."""
    return _one_of(text, LINE_FORMATS)


def include(text: str) -> list[str]:
    """Names of EXTRAS, in their order, each at most once. Raises ValueError."""
    names = text.split(",")
    for name in names:
        if name not in EXTRAS:
            raise ValueError(f"has {shorten(name)!r}; there are {', '.join(EXTRAS)}")
        if names.count(name) > 1:
            raise ValueError(f"has {name!r} more than once")
    return [name for name in EXTRAS if name in names]


def _whole(text: str, least: int, most: int) -> int:
    if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
        raise ValueError(f"is not a whole number from {least} to {most}: {shorten(text)!r}")
    return int(text)


def _one_of(text: str, names: Collection[str]) -> str:
    if text not in names:
        raise ValueError(f"is not {' or '.join(names)}: {shorten(text)!r}")
    return text
