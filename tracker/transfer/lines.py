"""The lines of an imported file: compression, encoding, delimiter, columns, and values.

Files of other programs are read too: compressed by gzip, bzip2 or xz, in UTF-8 with or without a
byte order mark or in UTF-16 with one, with CRLF, and with commas, semicolons, tabs or bars.
"""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from operator import itemgetter
from typing import IO, Any
from zlib import error as ZlibError  # noqa: N812 -- an exception

from tracker.errors import shorten
from tracker.models import exact_price, parse_ticker
from tracker.times import EPOCH, minute_of, parse_in_unit, parse_moment

REQUIRED_COLUMNS = ("ticker", "created_at", "price")
OPTIONAL_COLUMNS = ("observed_at", "source")
COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
SOURCES = ("poll", "chart", "import")
MAX_TICKER_LENGTH = 100  # characters; an entry of an index has a maximum size
# The errors of reading a damaged file.
DAMAGE = (OSError, EOFError, ZlibError, lzma.LZMAError, UnicodeDecodeError)

_ALIASES = {"time": "created_at", "close": "price"}  # what charts call our columns
_DELIMITERS = ",;\t|"
_ZIP, _ZSTD = b"PK\x03\x04", b"\x28\xb5\x2f\xfd"
_NUMBER = re.compile(
    r"[+-]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})(?:[eE][+-]?[0-9]{1,3})?"
)
# Rows in the format of `tracker export` need no parsing, which makes an import twice as fast. Days
# after the 28th, which some months lack, are parsed.
_DATE = "(?:19[7-9][0-9]|2[0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
_MINUTE = f"{_DATE}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]"
_OFFSET = "(?:Z|[+]00(?::?00)?)?"  # of UTC, the time zone of the session
_CANONICAL_ROW = re.compile(
    r"[a-z0-9-]{1,50}_[a-z0-9]{1,49}"
    rf"\t{_MINUTE}:00{_OFFSET}"
    r"\t[1-9][0-9]{0,11}(?:\.[0-9]{1,12})?"
    rf"\t(?:{_MINUTE}:[0-5][0-9](?:\.[0-9]{{1,6}})?{_OFFSET})?"
    r"\t(?:poll|chart|import)?"
)


class FileFormatError(ValueError):
    """A file cannot be imported as a whole: its encoding, its compression or its header."""


@dataclass(frozen=True, slots=True)
class LineOptions:
    """How a user describes the lines of a file.

    columns: the file's name of each of our columns; the columns that it does not name are ignored,
    except those that are required, which have their own names. Empty: all have their own names.
    ticker: the index of every row, for a file without that column; empty: the column has it.
    time_unit: of all times, one of TIME_UNITS or iso; empty: as the API reads each of them.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    ticker: str = ""
    time_unit: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a file: its delimiter, its number of columns, and where COLUMNS are.

    positions: in the fields of a line to which the options' ticker and an empty field are appended.
    """

    delimiter: str
    width: int
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True, order=True)
class LineError:
    """A bad line, by its number in the file; the header is line 1."""

    line: int
    reason: str


def parse_columns(text: str) -> dict[str, str]:
    """The file's name of each of our columns, from NAME=COLUMN pairs; either side may be ours.

    Raises ValueError.
    """
    names: dict[str, str] = {}
    for pair in text.split(","):
        one, equals, other = (part.strip() for part in pair.partition("="))
        column, name = (other, one) if other in COLUMNS else (_ALIASES.get(one, one), other)
        if not (equals and name and column in COLUMNS):
            raise ValueError(
                f"is not a pair such as time=created_at: {shorten(pair)!r};"
                f" our columns are {', '.join(COLUMNS)}"
            )
        if column in names:
            raise ValueError(f"names {column} twice")
        names[column] = name
    return names


def read_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines of *stream* in UTF-8, decompressed. Raises FileFormatError for another kind.

    The first bytes describe the file, not its name. The iterator raises one of DAMAGE where the
    file is damaged.
    """
    plain = _decompress(stream)
    start = plain.peek(4)[:4]
    if start in {codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE}:
        raise FileFormatError("is UTF-32; UTF-8 and UTF-16 are supported")
    if start[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return _decode_utf16(plain)
    return iter(plain)


def _decode_utf16(stream: IO[bytes]) -> Iterator[bytes]:
    text = io.TextIOWrapper(stream, encoding="utf-16", newline="\n")
    try:
        for line in text:
            yield line.encode()
    finally:
        text.detach()  # otherwise it would close the stream


def _decompress(stream: IO[bytes]) -> Any:
    """*stream*, or a stream of its decompressed content; both can peek."""
    start = stream.peek(6)[:6]  # type: ignore[attr-defined]  # files and stdin are buffered
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(stream)
    if start.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(stream)
    if start.startswith(_ZSTD):
        return _open_zstd(stream)
    if start.startswith(_ZIP):
        raise FileFormatError("is a zip archive or a spreadsheet: extract or export its CSV first")
    return stream


def _open_zstd(stream: IO[bytes]) -> Any:
    try:
        return import_module("compression.zstd").ZstdFile(stream)
    except ImportError:
        raise FileFormatError(
            "is compressed by zstd, which Python supports from 3.14 on:"
            " pipe it through `zstd -dc` into `tracker import -`"
        ) from None


def parse_header(line: bytes, options: LineOptions) -> Header:
    """The columns in the first line of a file. Raises FileFormatError."""
    try:
        text = line.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        raise FileFormatError("line 1: is not UTF-8") from None
    if "\0" in text:
        raise FileFormatError("line 1: has NUL characters; UTF-16 needs a byte order mark")
    if "\r" in text.rstrip("\r\n"):
        raise FileFormatError("line 1: lines end in CR alone; LF or CRLF is supported")
    wanted = {column: options.columns.get(column, column) for column in _read_columns(options)}
    delimiter, names = _split_header(text, set(wanted.values()))
    _check_names(names, wanted, options)
    ends = {"ticker": -2} if options.ticker else {}
    positions = tuple(
        names.index(wanted[column]) if wanted.get(column) in names else ends.get(column, -1)
        for column in COLUMNS
    )
    return Header(delimiter, len(names), positions)


def _read_columns(options: LineOptions) -> list[str]:
    """Those of COLUMNS that are read from the file."""
    known = REQUIRED_COLUMNS if options.columns else COLUMNS
    return [
        column
        for column in COLUMNS
        if column in {*known, *options.columns} and not (options.ticker and column == "ticker")
    ]


def _split_header(text: str, wanted: set[str]) -> tuple[str, list[str]]:
    """The delimiter that finds most of the *wanted* names, and all names.

    Raises FileFormatError if none finds one, because of invalid quotes.
    """
    best, invalid = (",", [""]), ""
    for delimiter in _DELIMITERS:
        try:
            names = [name.strip() for name in _split_fields(text, delimiter)]
        except ValueError as error:
            invalid = invalid or str(error)
            continue
        if len(wanted & set(names)) > len(wanted & set(best[1])):
            best = delimiter, names
    if invalid and not wanted & set(best[1]):
        raise FileFormatError(f"header: {invalid}")
    return best


def _check_names(names: list[str], wanted: Mapping[str, str], options: LineOptions) -> None:
    if not set(names) & set(wanted.values()):
        raise FileFormatError(
            f"header: the first line must name the columns: {', '.join(REQUIRED_COLUMNS)}"
            f" ({' and '.join(OPTIONAL_COLUMNS)} are optional); --columns takes other names"
        )
    errors = []
    if not options.columns:
        errors = [f"unknown column {shorten(name)!r}" for name in names if name not in COLUMNS]
        if options.ticker and "ticker" in names:
            errors.append("column ticker contradicts --ticker")
    errors += [
        f"column {name} is missing"
        for column, name in wanted.items()
        if name not in names and (column in REQUIRED_COLUMNS or column in options.columns)
    ]
    errors += [f"column {name} is repeated" for name in wanted.values() if names.count(name) > 1]
    if errors:
        hint = "" if options.columns else " (--columns, --ticker: for files of other programs)"
        raise FileFormatError(f"header: {'; '.join(errors)}{hint}")


def parse_lines(
    lines: Iterable[bytes], header: Header, options: LineOptions
) -> Iterator[str | LineError]:
    """Each line below the header as a row of COPY's text format, or its error.

    A row is the line's number and the values of COLUMNS; an empty value is NULL. Blank lines are
    skipped.
    """
    select = itemgetter(*header.positions)
    delimiter, width, rest = header.delimiter, header.width, (options.ticker, "")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    is_text = options.time_unit in {"", "iso"}
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            values = select([*_split_fields(line.decode(), delimiter, width), *rest])
            row = "\t".join(values)
            if not is_text or values[1] >= today or not _CANONICAL_ROW.fullmatch(row):
                row = _parse_values(values, options.time_unit)
            yield f"{number}\t{row}\n"
        except UnicodeDecodeError:
            yield LineError(number, "is not UTF-8")
        except ValueError as error:
            yield LineError(number, str(error))


def _split_fields(text: str, delimiter: str, width: int | None = None) -> list[str]:
    """The fields of a line of CSV: *width*, if given, and none continues on the next line.

    Raises ValueError.
    """
    try:
        if '"' in text:
            fields = next(csv.reader([text], strict=True, delimiter=delimiter))
        else:
            fields = text.rstrip("\r\n").split(delimiter)
    except csv.Error as error:
        raise ValueError(f"is not CSV: {error}") from None
    if width is not None and len(fields) != width:
        raise ValueError(f"has {len(fields)} columns, not {width}")
    return fields


def _parse_values(values: Sequence[str], time_unit: str) -> str:
    """The row of these values of COLUMNS. Raises ValueError that names the column."""

    def parse_time(text: str) -> datetime:
        return parse_in_unit(text, time_unit) if time_unit else parse_moment(text)

    def parse_minute(text: str) -> str:
        """No index is older than 1970; a price from the future is a mistake that polls keep."""
        moment = parse_time(text)
        if moment != minute_of(moment):
            raise ValueError(f"is not on the minute: {shorten(text)!r}")
        if not EPOCH <= moment <= datetime.now(UTC):
            raise ValueError(f"is before 1970 or in the future: {shorten(text)!r}")
        return moment.isoformat()

    def parse_observed_at(text: str) -> str:
        return parse_time(text).isoformat() if text.strip() else ""

    parsers = (_parse_index, parse_minute, _parse_price, parse_observed_at, _parse_source)
    parsed = []
    for name, parser, text in zip(COLUMNS, parsers, values, strict=True):
        try:
            parsed.append(parser(text))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return "\t".join(parsed)


def _parse_index(text: str) -> str:
    ticker = parse_ticker(text)
    if len(ticker) > MAX_TICKER_LENGTH:
        raise ValueError(f"is longer than {MAX_TICKER_LENGTH} characters")
    return ticker


def _parse_price(text: str) -> str:
    number = text.strip()
    if not _NUMBER.fullmatch(number):
        hint = " (a decimal point is required)" if "," in number else ""
        raise ValueError(f"is not a decimal number{hint}: {shorten(text)!r}")
    try:
        return f"{exact_price(Decimal(number)):f}"
    except ValueError as error:
        raise ValueError(f"is {shorten(str(error))}") from None


def _parse_source(text: str) -> str:
    source = text.strip()
    if source and source not in SOURCES:
        raise ValueError(f"is none of {', '.join(SOURCES)}: {shorten(text)!r}")
    return source
