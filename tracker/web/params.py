"""Parameters of the query string: each is one value with its name, parser, schema and text.

The query of an endpoint is a frozen dataclass, each field annotated with its parameter. From it
follow the typed values, the 422 problem that names every invalid parameter, and the OpenAPI
document.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime
from functools import cache
from typing import Annotated, Any, TypeVar, get_type_hints
from zoneinfo import ZoneInfo, available_timezones

from starlette.datastructures import QueryParams

from tracker.candles import INTERVALS
from tracker.columnar import PRICE_TYPES
from tracker.errors import BadRequest, shorten
from tracker.models import INDEX_NAME, parse_ticker
from tracker.rows import EXTRA_COLUMNS
from tracker.times import (
    MICROSECONDS_BELOW,
    MILLISECONDS_BELOW,
    SECONDS_BELOW,
    next_instant,
    parse_moment,
)

Q = TypeVar("Q")
Schema = dict[str, Any]

MAX_LIMIT = 1000
DEFAULT_LIMIT = 50
ORDERS = ("desc", "asc")
FORMATS = ("json", "csv", "ndjson")
LINE_FORMATS = ("csv", "ndjson")  # those that need no end, and can be streamed

_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")

TICKER_SCHEMA: Schema = {
    "type": "string",
    "pattern": f"^{INDEX_NAME}$",
    "examples": ["btc_usd"],
}
MOMENT_SCHEMA: Schema = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "date"},
        {"type": "number", "minimum": -62135596800, "maximum": 2.5340230079999997e20},
    ],
    "examples": ["2024-01-15T12:00:00Z", "2024-01-15", 1705320000],
}
MOMENT_TEXT = (
    "RFC 3339 or ISO 8601 with any offset (none means UTC; a bare date is its midnight), or a Unix"
    f" time: seconds (below {SECONDS_BELOW:,}), milliseconds (below {MILLISECONDS_BELOW:,}),"
    f" microseconds (below {MICROSECONDS_BELOW:,}) or nanoseconds, with decimals. A number that"
    " looks like a date, such as 20240115, is refused."
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query string.

    parse: its value from one text; raises ValueError with the reason, to be read after the name.
    schema, description: as the OpenAPI document has them; for a list, the schema of an item.
    listed: the value is a tuple of different items, separated by commas or in several parameters;
        those of an enumeration are in its order.
    documented: whether the OpenAPI document has it.
    """

    name: str
    parse: Callable[[str], Any]
    schema: Schema
    description: str
    required: bool = False
    listed: bool = False
    documented: bool = True


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter as one query has it: the name of its attribute, and the schema of its default."""

    attribute: str
    parameter: Parameter
    default: Schema


@cache
def query_fields(query: type) -> Mapping[str, Field]:
    """The fields of the dataclass *query*, by the names of their parameters."""
    hints = get_type_hints(query, include_extras=True)
    found = {}
    for field in fields(query):
        [parameter] = hints[field.name].__metadata__
        default: Schema = {}
        if field.default is not MISSING and field.default not in (None, (), ""):
            named = isinstance(field.default, int | str)
            default = {"default": field.default if named else str(field.default)}
        found[parameter.name] = Field(field.name, parameter, default)
    return found


def parse_query(values: QueryParams, query: type[Q], *, ignore_unknown: bool = False) -> Q:
    """The query that *values* are.

    Raises BadRequest that names every parameter that is missing, repeated, unknown or invalid: a
    typo must not silently give a default.
    """
    known = query_fields(query)  # type: ignore[arg-type]  # types are hashable
    if not values.keys() <= known.keys():
        values = _without_brackets(values, known)
    errors = {
        name: "is required"
        for name, field in known.items()
        if field.parameter.required and name not in values
    }
    parsed: dict[str, Any] = {}
    for name in values:
        field = known.get(name)
        if field is not None:
            try:
                texts = values.getlist(name)
                if field.parameter.listed:
                    parsed[field.attribute] = _parse_list(field.parameter, texts)
                elif len(texts) > 1:
                    errors[name] = "is given more than once"
                else:
                    parsed[field.attribute] = field.parameter.parse(texts[0])
            except ValueError as error:
                errors[name] = str(error)
        elif not ignore_unknown:
            names = ", ".join(known) or "none"
            errors[shorten(name)] = f"is not a parameter here; parameters: {names}"
    if errors:
        raise BadRequest(errors)
    return query(**parsed)


def _without_brackets(values: QueryParams, known: Mapping[str, Field]) -> QueryParams:
    """*values* with lists by their own names, to which some clients (axios) append `[]`."""
    listed = {f"{name}[]": name for name, field in known.items() if field.parameter.listed}
    return QueryParams([(listed.get(name, name), text) for name, text in values.multi_items()])


def _parse_list(parameter: Parameter, texts: list[str]) -> tuple[Any, ...]:
    values, errors = [], dict[str, list[str]]()
    for item in ",".join(texts).split(","):
        try:
            values.append(parameter.parse(item))
        except ValueError as error:  # reasons end with the item
            why, _, shown = str(error).partition(": ")
            errors.setdefault(why, []).append(shown)
    if errors:
        raise ValueError("; ".join(f"{why}: {', '.join(shown)}" for why, shown in errors.items()))
    for value, count in Counter(values).items():
        if count > 1:
            raise ValueError(f"has {shorten(str(value))!r} more than once")
    chosen = dict.fromkeys(values)
    return tuple(name for name in parameter.schema.get("enum", chosen) if name in chosen)


def parse_zone(text: str) -> ZoneInfo:
    """A time zone by its IANA name in any case; a space is an unescaped `+`. Raises ValueError."""
    name = zone_names().get(text.strip().replace(" ", "+").lower())
    if name is None:
        raise ValueError(f"is not an IANA time zone such as Europe/Berlin: {shorten(text)!r}")
    return ZoneInfo(name)


@cache
def zone_names() -> Mapping[str, str]:
    """All zones that this machine knows, except for its own local time, by lower-case names."""
    return {name.lower(): name for name in available_timezones() - {"localtime"}}


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers from *least* to *most*."""

    def parse(text: str) -> int:
        if not _WHOLE_NUMBER.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(f"is not a whole number from {least} to {most}: {shorten(text)!r}")
        return int(text)

    return parse


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """A parser of one of *names*."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"is not one of {', '.join(names)}: {shorten(text)!r}")
        return text

    return parse


def moment(name: str, description: str, *, required: bool = False) -> Parameter:
    """A parameter whose value is a moment."""
    text = f"{description} {MOMENT_TEXT}"
    return Parameter(name, parse_moment, MOMENT_SCHEMA, text, required=required)


def choice(name: str, names: Collection[str], description: str) -> Parameter:
    """A parameter whose value is one of *names*."""
    return Parameter(name, one_of(names), {"type": "string", "enum": list(names)}, description)


def interval_choice(names: Collection[str], description: str) -> Parameter:
    """The parameter `interval`, whose value is one of *names*."""
    parameter = choice("interval", names, description)
    return replace(parameter, schema=parameter.schema | {"x-enum-varnames": interval_names(names)})


def interval_names(intervals: Iterable[str]) -> list[str]:
    """Names of constants for generators, because *intervals*, such as 1d, are no identifiers."""
    units = {"m": "MINUTE", "h": "HOUR", "d": "DAY", "w": "WEEK"}
    units |= {"M": "MONTH", "Q": "QUARTER", "Y": "YEAR"}
    return [f"{units[each[-1]]}_{each[:-1]}" for each in intervals]


def integer(name: str, least: int, most: int, description: str) -> Parameter:
    """A parameter whose value is a whole number."""
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Parameter(name, whole_number(least, most), schema, description)


TICKER = Parameter(
    "ticker",
    parse_ticker,
    TICKER_SCHEMA,
    "The index: one that is tracked, or that was and is stored; /tickers lists them.",
    required=True,
)
TICKERS = replace(
    TICKER,
    description="The indexes: separated by commas, or repeated; default: all that /tickers lists.",
    required=False,
    listed=True,
)
START = moment(
    "start_date",
    "One bound of the range, inclusive; it may be the later one. Without end_date: where the"
    " listing starts; default: now, or the first price with `order=asc`.",
)
END = moment(
    "end_date",
    "The other bound, exclusive. Without start_date: where the listing stops; default: the first"
    " price, or now with `order=asc`.",
)
ORDER = choice("order", ORDERS, "desc: newest first; asc: oldest first.")
LIMIT = integer("limit", 1, MAX_LIMIT, "The maximum length of a page.")
BEFORE = moment(
    "before",
    "A cursor, as links have it: the page of what is nearest before it, exclusive, in the requested"
    " range and order. With `after`, both are bounds: the first page between them, in that order.",
)
AFTER = moment(
    "after",
    "A cursor, as links have it: the page of what is nearest after it, exclusive, in the requested"
    " range and order.",
)
FILL = choice(
    "fill",
    ("null", "previous"),
    "Return also what is missing in the range from `start_date` to `end_date`, both of which it"
    " needs: with null prices, or with the previous price, which may lie before the range. `filled`"
    " marks it. The last one is over, or has a price already. Not as Arrow or Parquet.",
)
INCLUDE = replace(
    choice("include", EXTRA_COLUMNS, "Keys to add to a price: separated by commas, or repeated."),
    listed=True,
)
# The OpenAPI document has JSON alone (schemas.rows_response).
FORMAT = replace(
    choice(
        "format",
        FORMATS,
        "The format of the response, whatever Accept says; default: what Accept prefers, JSON if it"
        " accepts any.",
    ),
    documented=False,
)
PRICE_TYPE = choice(
    "price_type",
    PRICE_TYPES,
    "The type of prices in Arrow and Parquet: decimal(38, 18), which is exact, or float64, the"
    " nearest doubles. Other formats have no types.",
)
ZONE = Parameter(
    "tz",
    parse_zone,
    {
        "type": "string",
        "pattern": "^[A-Za-z0-9_+/-]+$",
        "examples": ["Europe/Berlin", "America/New_York", "UTC"],
    },
    "A time zone by its IANA name, for days and longer: its days have 23 or 25 hours where clocks"
    " change. Shorter buckets are the same in each.",
)
INTERVAL = interval_choice(
    INTERVALS,
    "The width of a bucket. Days and longer begin by the calendar of `tz`: three days are counted"
    " from 1970-01-01, weeks begin on Monday, quarters and years in January. Shorter ones are"
    " counted from midnight UTC.",
)


def half_open(
    start: datetime | None, end: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """[since, until) of the moments between *start*, inclusive, and *end*, exclusive.

    Either may be the later one; None: unbounded.
    """
    if start is None or end is None or start <= end:
        return start, end
    return next_instant(end), next_instant(start)


def require_range(start: datetime | None, end: datetime | None) -> None:
    """What `fill` needs. Raises BadRequest without both bounds."""
    if start is None or end is None:
        raise BadRequest({"fill": "needs start_date and end_date"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NoQuery:
    """The query of an endpoint without parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickerQuery:
    """A query about one index."""

    ticker: Annotated[str, TICKER]
