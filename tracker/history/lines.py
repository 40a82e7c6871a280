"""The lines of a file: text in, what COPY takes or a fault out; nothing else is touched."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import itemgetter

from tracker.errors import BadRequest
from tracker.history.faults import Fault
from tracker.models import EPOCH, exact_price, minute_of
from tracker.web.asked import params

REQUIRED = ("ticker", "created_at", "price")
COLUMNS = (*REQUIRED, "observed_at", "source")

_SOURCES = ("poll", "chart")
_LONGEST_TICKER = 100  # letters; an index entry has an end

# What most rows look like: they are passed on as they are, and only the others are taken apart.
# The 29th of February is among the others: it is not in every year.
_DATE = (
    "(?:19[7-9][0-9]|2[0-9]{3})-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    "|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_HOUR_MINUTE = "[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]"
_UTC = "(?:Z|[+]00(?::?00)?)?"  # the session's own zone too
_PLAIN = re.compile(
    "[a-z0-9-]{1,50}_[a-z0-9]{1,49}"
    rf"\t{_DATE}{_HOUR_MINUTE}:00{_UTC}"
    r"\t[1-9][0-9]{0,11}(?:\.[0-9]{1,12})?"
    rf"\t(?:{_DATE}{_HOUR_MINUTE}:[0-5][0-9](?:\.[0-9]{{1,6}})?{_UTC})?"
    r"\t(?:poll|chart)?"
)
_NUMBER = re.compile(
    r"[+-]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})(?:[eE][+-]?[0-9]{1,3})?"
)

Pick = Callable[[list[str]], tuple[str, ...]]


def rows(lines: Iterable[str]) -> Iterator[str | Fault]:
    """Each line below the header: a row of COPY's text format, or what is wrong with it.

    A row holds the line's number and COLUMNS, "" for a null. Blank lines are passed over.
    Raises BadRequest if the header does not name the columns.
    """
    today = str(datetime.now(UTC).date())
    numbered = enumerate(lines, 1)
    pick, width = _header(next(numbered, (1, ""))[1])
    for number, line in numbered:
        try:
            if line.strip():
                yield f"{number}\t{_row(_fields(line), pick, width, today)}\n"
        except ValueError as error:
            yield Fault(number, str(error))


def _header(line: str) -> tuple[Pick, int]:
    """What picks COLUMNS out of a line, one that is not there being "", and a line's width."""
    try:
        names = [name.strip() for name in _fields(line)]
    except ValueError as error:
        raise BadRequest({"header": str(error)}) from None
    if faults := _wrong(names):
        raise BadRequest({"header": "; ".join(faults)})
    # A line gets "" at its end, at -1: that is where a column stands that the file lacks.
    places = [names.index(name) if name in names else -1 for name in COLUMNS]
    return itemgetter(*places), len(names)


def _fields(line: str) -> list[str]:
    """The fields of *line*; none of ours can go on in the next. Raises ValueError."""
    if '"' not in line:
        return line.rstrip("\r\n").split(",")
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise ValueError(f"is not CSV: {error}") from None


def _wrong(names: Sequence[str]) -> list[str]:
    if not set(names) & set(COLUMNS):
        return [f"the first line must name the columns: {', '.join(COLUMNS)}"]
    unknown = [f"unknown column {params.shorten(each)!r}" for each in names if each not in COLUMNS]
    missing = [f"column {each} is missing" for each in REQUIRED if each not in names]
    repeated = [f"column {each} is repeated" for each in COLUMNS if names.count(each) > 1]
    return unknown + missing + repeated


def _row(fields: list[str], pick: Pick, width: int, today: str) -> str:
    if len(fields) != width:
        raise ValueError(f"has {len(fields)} columns, not {width}")
    fields.append("")
    values = pick(fields)
    row = "\t".join(values)
    is_past = values[1] < today  # later ones are looked at closely
    return row if is_past and _PLAIN.fullmatch(row) else _understood(*values)


def _understood(ticker: str, created_at: str, price: str, observed_at: str, source: str) -> str:
    observed = _moment("observed_at", observed_at).isoformat() if observed_at.strip() else ""
    return "\t".join(
        (_ticker(ticker), _minute(created_at), _price(price), observed, _source(source))
    )


def _ticker(text: str) -> str:
    try:
        name = params.ticker(text)
    except ValueError as error:
        raise ValueError(f"ticker: {error}") from None
    if len(name) > _LONGEST_TICKER:
        raise ValueError(f"ticker: is longer than {_LONGEST_TICKER} letters")
    return name


def _minute(text: str) -> str:
    """No index is older than 1970, and none has a price to come: a slip would ruin the archive."""
    moment = _moment("created_at", text)
    if moment != minute_of(moment):
        raise ValueError(f"created_at: is not on the minute: {params.shorten(text)!r}")
    if not EPOCH <= moment <= datetime.now(UTC):
        raise ValueError(f"created_at: is before 1970 or to come: {params.shorten(text)!r}")
    return moment.isoformat()


def _moment(name: str, text: str) -> datetime:
    try:
        return params.moment(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _price(text: str) -> str:
    number = text.strip()
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"price: is not a decimal number: {params.shorten(text)!r}")
    try:
        return f"{exact_price(Decimal(number)):f}"
    except ValueError as error:
        raise ValueError(f"price: is {params.shorten(str(error))}") from None


def _source(text: str) -> str:
    source = text.strip()
    if source and source not in _SOURCES:
        raise ValueError(f"source: is neither poll nor chart: {params.shorten(text)!r}")
    return source
