"""The lines of an imported file: what is accepted, and the reason of each error."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.transfer.lines import (
    LineError,
    LineOptions,
    parse_columns,
    parse_header,
    parse_lines,
)

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
HEADER = "ticker,created_at,price,observed_at,source"


OWN = LineOptions()


def parse(
    line: bytes | str, header: str = HEADER, options: LineOptions = OWN
) -> list[str | LineError]:
    """The row or the error of one line below a header."""
    encoded = line if isinstance(line, bytes) else line.encode()
    return list(parse_lines([encoded], parse_header(header.encode(), options), options))


def reason(line: bytes | str) -> str:
    """The reason of the error of a line, which is the second of its file."""
    (error,) = parse(line)
    assert isinstance(error, LineError)
    assert error.line == 2
    return error.reason


@pytest.mark.parametrize(
    "moment",
    [
        "2024-01-15T12:00:00Z",
        "2024-01-15 12:00",
        "2024-01-15T17:30:00+05:30",
        "1705320000",
        "1705320000000",
        "1705320000000000",
        '"2024-01-15T12:00:00.000Z"',
    ],
)
def test_import_reads_moments_as_the_api_does(moment: str) -> None:
    """RFC 3339, ISO 8601, UTC without an offset, Unix time."""
    (row,) = parse(f"btc_usd,{moment},1.25,{moment},chart")
    _, _, created_at, _, observed_at, _ = str(row).split("\t")
    assert datetime.fromisoformat(created_at) == datetime.fromisoformat(observed_at) == NOON


@pytest.mark.parametrize("year", [1970, 1972, 2000, 2023, 2024])
def test_import_refuses_days_outside_the_calendar(year: int) -> None:
    """Whether a line is parsed or passed on."""
    days = [f"{year:04}-{month:02}-{day:02}" for month in range(14) for day in range(33)]
    taken = [
        day
        for day in days
        if isinstance(parse(f"btc_usd,{day}T23:59:00Z,1.25,{day}T23:59:59.25Z,")[0], str)
    ]
    first = datetime(year, 1, 1, tzinfo=UTC)
    whole = [first + timedelta(days=number) for number in range(366)]
    assert taken == [f"{day.date()}" for day in whole if day.year == year]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("BTC,2024-01-15T12:00:00Z,1.25,,", "ticker: is not an index name such as btc_usd: 'BTC'"),
        (f"{'a' * 99}_usd,2024-01-15T12:00:00Z,1.25,,", "ticker: is longer than 100 characters"),
        (
            "btc_usd,1969-12-31T23:59:00Z,1.25,,",
            "created_at: is before 1970 or in the future: '1969-12-31T23:59:00Z'",
        ),
        (
            "btc_usd,2999-01-01T00:00:00Z,1.25,,",
            "created_at: is before 1970 or in the future: '2999-01-01T00:00:00Z'",
        ),
        ("btc_usd,2024-01-15T12:00:30Z,1.25,,", "created_at: is not on the minute: '2024"),
        ("btc_usd,2024-02-30T12:00:00Z,1.25,,", "created_at: is no moment"),
        ("btc_usd,,1.25,,", "created_at: is neither a date"),
        ("btc_usd,2024-01-15T12:00:00Z,,,", "price: is not a decimal number: ''"),
        ("btc_usd,2024-01-15T12:00:00Z,NaN,,", "price: is not a decimal number: 'NaN'"),
        ("btc_usd,2024-01-15T12:00:00Z,1_000.00,,", "price: is not a decimal number: '1_000.00'"),
        ("btc_usd,2024-01-15T12:00:00Z,0.00,,", "price: is not a positive number: 0.00"),
        ("btc_usd,2024-01-15T12:00:00Z,-1.25,,", "price: is not a positive number: -1.25"),
        ("btc_usd,2024-01-15T12:00:00Z,1e19,,", "price: is not a credible price: 1E+19"),
        ("btc_usd,2024-01-15T12:00:00Z,1.25,today,", "observed_at: is neither a date"),
        ("btc_usd,2024-01-15T12:00:00Z,1.25,,guess", "source: is none of poll, chart, import: 'g"),
        ('btc_usd,2024-01-15T12:00:00Z,"68241,50",,', "price: is not a decimal number (a decimal "),
        ("btc_usd,2024-01-15T12:00:00Z", "has 2 columns, not 5"),
        ("btc_usd,2024-01-15T12:00:00Z,1,25,,", "has 6 columns, not 5"),
        ('btc_usd,"2024-01-15T12:00:00Z,1.25,,', "is not CSV: unexpected end of data"),
        (b"btc_usd,\xff", "is not UTF-8"),
    ],
)  # fmt: skip
def test_bad_line_has_a_reason(line: bytes | str, expected: str) -> None:
    """The column, what is invalid, and the value."""
    assert reason(line).startswith(expected)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "the first line must name the columns: ticker, created_at, price"),
        ("btc_usd,2024-01-15T12:00:00Z,1.25", "the first line must name the columns"),
        ("ticker,created_at", "column price is missing"),
        ("ticker,created_at,price,id", "unknown column 'id'"),
        ("ticker,created_at,price,price", "column price is repeated"),
        ('ticker,"created_at', "is not CSV"),
    ],
)
def test_bad_header_is_refused(header: str, expected: str) -> None:
    """The error names the wrong columns."""
    with pytest.raises(ValueError, match=f"header: {expected}"):
        parse("btc_usd,2024-01-15T12:00:00Z,1.25", header)


def test_header_names_what_other_files_need() -> None:
    """Options take other names; optional columns are not asked for."""
    named = LineOptions({"created_at": "time", "price": "close"})
    for header, options, expected in (
        ("id,ticker,created_at,price", OWN, r"unknown column 'id' \(--columns, --ticker: "),
        ("created_at,price", OWN, r"column ticker is missing \(--columns, --ticker: "),
        ("time,close", named, "column ticker is missing$"),
        ("ticker,when,close", named, "column time is missing$"),
        ("a,b", named, r"created_at, price \(observed_at and source are optional\); --columns"),
        ("ticker,created_at,price", LineOptions(ticker="a_b"), "ticker contradicts --ticker"),
        ("ticker,time,close,close", named, "column close is repeated$"),
    ):
        with pytest.raises(ValueError, match=expected):
            parse_header(header.encode(), options)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_that_of_the_header(delimiter: str) -> None:
    header, line = (text.replace(",", delimiter) for text in (HEADER, "btc_usd,0,1.25,,import"))
    assert parse(line, header) == ["2\tbtc_usd\t1970-01-01T00:00:00+00:00\t1.25\t\timport\n"]


def test_columns_are_pairs_in_either_order() -> None:
    """A pair without one of our columns, and a column with two names, are errors."""
    mapping = {"created_at": "time", "price": "close"}
    assert parse_columns("time=created_at,close=price") == mapping
    assert parse_columns("created_at=time, price=close") == mapping
    assert parse_columns("time=Date,close=Last") == {"created_at": "Date", "price": "Last"}
    assert parse_columns("time=created_at,time=observed_at")["observed_at"] == "time"
    for text in ("", "time", "time=", "=price", "open=high", "a=price,b=price"):
        with pytest.raises(ValueError, match=r"is not a pair such as|names price twice"):
            parse_columns(text)


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        ("s", "2024-01-15T12:00Z", "created_at: is not a number of s since 1970: '2024-01"),
        ("s", "1705320000000", "created_at: is outside the years 1 to 9999: '17053"),
        ("s", "1705320001", "created_at: is not on the minute: '1705320001'"),
        ("ms", "1705320001", "created_at: is not on the minute: '1705320001'"),
        ("ns", "1705320059999999999", "created_at: is not on the minute: '1705320059999999999'"),
        ("ns", "", "created_at: is not a number of ns since 1970: ''"),
        ("iso", "1705320000", "created_at: is not RFC 3339 / ISO 8601: '1705320000'"),
    ],
)
def test_time_of_another_unit_is_refused(unit: str, text: str, expected: str) -> None:
    (error,) = parse(f"btc_usd,{text},1.25,,", options=LineOptions(time_unit=unit))
    assert isinstance(error, LineError)
    assert error.reason.startswith(expected)


@given(st.text())
def test_any_line_becomes_a_row_or_an_error(line: str) -> None:
    """No other exception escapes; a row has its six columns."""
    for found in parse(line):
        assert isinstance(found, LineError) or found.count("\t") == 5
