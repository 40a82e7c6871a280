"""The query string: every parameter is parsed or rejected with a reason."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from tracker.errors import BadRequest
from tracker.times import parse_moment
from tracker.web import candles, export, params
from tracker.web.params import Parameter, parse_query
from tracker.web.price_stream import TICKERS
from tracker.web.prices import TOLERANCE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
HALF = timedelta(seconds=0.5)
BERLIN = ZoneInfo("Europe/Berlin")
LEAP = datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)
SECONDS_BELOW, MILLISECONDS_BELOW, MICROSECONDS_BELOW = 10**11, 10**14, 10**17  # of Unix times
SHAPE = (
    r"[0-9]{4}-?([0-9]{2}-?[0-9]{2}|W[0-9]{2}-?[0-9])"
    r"([Tt ][0-9]{2}(:?[0-9]{2}(:?[0-9]{2}([.,][0-9]{1,9})?)?)?"
    r"( ?([Zz]|[+ -][0-9]{2}(:?[0-9]{2})?))?)?"
)  # of ISO times, possible and impossible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-15T12:00:00Z", NOON),
        ("2024-01-15t12:00:00z", NOON),
        ("2024-01-15 12:00:00Z", NOON),
        ("2024-01-15T12:00:00", NOON),
        ("2024-01-15T12:00", NOON),
        ("2024-01-15T12", NOON),
        ("20240115T120000Z", NOON),
        ("2024-W03-1T12:00Z", NOON),
        ("  2024-01-15T12:00:00Z\n", NOON),
        ("2024-01-15T12:00:00.5Z", NOON + HALF),
        ("2024-01-15T12:00:00,5Z", NOON + HALF),
        ("2024-01-15T12:00:00.5000009Z", NOON + HALF),
        ("2024-01-15T17:30:00+05:30", NOON),
        ("2024-01-15T17:30:00+0530", NOON),
        ("2024-01-15T17:00:00+05", NOON),
        ("2024-01-15T02:00:00-10:00", NOON),
        ("2024-01-15T12:00:00-00:00", NOON),
        ("2024-01-16T11:59+23:59", NOON),
        ("2024-01-15", NOON.replace(hour=0)),
        ("2024-W03-1", NOON.replace(hour=0)),
        ("2016-12-31T23:59:60Z", LEAP),
        ("20161231T235960Z", LEAP),
        ("2017-01-01T00:59:60.5+01:00", LEAP + HALF),
    ],
)
def test_iso_time_is_utc_moment(text: str, expected: datetime) -> None:
    """Any offset, none, a bare date, lower case, white space around, a leap second."""
    assert parse_moment(text) == expected
    assert parse_moment(text).tzinfo is UTC


@pytest.mark.parametrize("day", ["2024-01-15T", "2024-01-15 ", "20240115T"])
@pytest.mark.parametrize("clock", ["17:30", "17:30:00", "17:30:00.000", "173000"])
@pytest.mark.parametrize("offset", [" 05:30", " 0530", "  05:30", " +05:30"])
def test_unescaped_plus_is_an_offset(day: str, clock: str, offset: str) -> None:
    """`+` in a query string means a space."""
    assert parse_moment(day + clock + offset) == NOON


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1705320000", NOON),
        (" 1705320000", NOON),
        ("+1705320000", NOON),
        ("1705320000.5", NOON + HALF),
        ("1705320000.4999999999999999999999999", NOON + HALF - timedelta(microseconds=1)),
        ("1.70532E+9", NOON),
        ("1705320000000", NOON),
        ("1705320000000500", NOON + HALF / 1000),
        ("1705320000500000", NOON + HALF),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("-0.5", datetime(1970, 1, 1, tzinfo=UTC) - HALF),
        ("99999999999", datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)),
        ("100000000000", datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)),
        ("99999999999999", datetime(5138, 11, 16, 9, 46, 39, 999000, tzinfo=UTC)),
        ("100000000000000", datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)),
        ("-62135596800", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_number_is_unix_time_by_magnitude(text: str, expected: datetime) -> None:
    """Seconds below 1e11, milliseconds below 1e14, microseconds below 1e17; decimals of each."""
    assert parse_moment(text) == expected


REFUSED = {
    "incomplete": ["", " ", "2024-01", "12:00", "2024-01-15T", "2024-01-15T1", "24-01-15"],
    "not there": ["2024-02-30", "2023-02-29", "2024-13-01", "0000-01-01", "2024-01-15T25:00"],
    "too many": ["2024-01-15T12:60", "2024-01-15T12:00:61", "2024-01-15T12:00:600", "9" * 100_000],
    "offset": ["2024-01-15Z", "2024-01-15T12:00ZZ", "2024-01-15T12+24:00", "2024-01-15T12:00+5"],
    "decimals": ["2024-01-15T12:30.5", "2024-01-15T12.5", "2024-01-15T12:00:00.Z", "1.", ".5"],
    "shape": [
        "now",
        "2024-1-5",
        "2024-0115",
        "+2024-01-15",
        "2024-01-15_12:00",
        "--1",
        "1_0",
        "0x1",
    ],
    "letters": ["2024-01-15T12:00\x00", "\u0662\u0660\u0662\u0664-01-15", "\u0661", "T12\u221205"],
    "outside": ["0001-01-01T00:00+01:00", "9999-12-31T23:59-01:00", "-62135596801", "1e999"],
    "number": ["NaN", "Infinity", "-inf", "1e", "-1e999", "1e9999", "9" * 31],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_text_is_rejected(kind: str) -> None:
    """The reason shows the text, short and printable."""
    for text in REFUSED[kind]:
        with pytest.raises(ValueError, match=r"^is (neither|no moment|outside)") as caught:
            parse_moment(text)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 250


@given(st.text() | st.text("0123456789-+:.,TZW eE") | st.from_regex(SHAPE))
@example("2024-01-15T12:00:00 05:30")
def test_any_text_is_utc_moment_or_value_error(text: str) -> None:
    try:
        moment = parse_moment(text)
    except ValueError:
        return
    assert moment.tzinfo is UTC


offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(timezones=offsets).filter(lambda moment: 1 < moment.year < 9999)


@given(
    moments, st.sampled_from([str.upper, str.lower]), st.sampled_from("T "), st.sampled_from("+ ")
)
def test_moment_is_parsed_from_every_spelling(
    moment: datetime, cased: Callable[[str], str], separator: str, plus: str
) -> None:
    """Offset, case, separator, an unescaped `+`; Unix seconds with six decimals."""
    text = cased(moment.isoformat(separator))
    since_1970 = moment - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = since_1970 // timedelta(microseconds=1)
    seconds = (
        f"{'-' * (microseconds < 0)}{abs(microseconds) // 10**6}.{abs(microseconds) % 10**6:06}"
    )

    assert parse_moment(text.replace("+", plus)) == moment
    assert parse_moment(moment.astimezone(UTC).replace(tzinfo=None).isoformat()) == moment
    if microseconds < SECONDS_BELOW * 10**6:
        assert parse_moment(seconds, allow_date_digits=True) == moment
    if MILLISECONDS_BELOW <= microseconds < MICROSECONDS_BELOW:
        assert parse_moment(str(microseconds)) == moment
    if microseconds >= MICROSECONDS_BELOW // 1000:
        assert parse_moment(f"{microseconds}000") == moment


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("10", 10), ("007", 7), ("0", None), ("11", None), ("1 ", None)]
)
def test_integer_is_in_its_range(text: str, value: int | None) -> None:
    """The reason names both ends."""
    size = params.integer("size", 1, 10, "How many.")
    schema = {"type": "integer", "minimum": 1, "maximum": 10}
    assert (size.name, size.schema, size.description) == ("size", schema, "How many.")
    if value is not None:
        assert size.parse(text) == value
        return
    with pytest.raises(ValueError, match="whole") as caught:
        size.parse(text)
    assert str(caught.value) == f"is not a whole number from 1 to 10: {text!r}"


def test_choice_has_names_of_its_schema() -> None:
    side = params.choice("side", ("left", "right"), "Which side.")
    schema = {"type": "string", "enum": ["left", "right"]}
    assert (side.name, side.schema, side.description) == ("side", schema, "Which side.")
    assert side.parse("right") == "right"
    with pytest.raises(ValueError, match="is not") as caught:
        side.parse("up")
    assert str(caught.value) == "is not one of left, right: 'up'"


def test_moment_explains_its_formats() -> None:
    date = params.moment("date", "A minute.", required=True)
    assert (date.name, date.schema, date.required) == ("date", params.MOMENT_SCHEMA, True)
    assert date.description == f"A minute. {params.MOMENT_TEXT}"
    assert date.parse("2024-01-15T12:00Z") == NOON
    assert not params.moment("date", "A minute.").required


@dataclass(frozen=True, kw_only=True)
class IncludeQuery:
    """A query with a list."""

    include: Annotated[tuple[str, ...], params.INCLUDE] = ()


@pytest.mark.parametrize(
    "text", ["source,observed_at", "observed_at,source", "observed_at&include=source"]
)
def test_include_is_in_order_of_columns(text: str) -> None:
    found = parse_query(QueryParams(f"include={text}"), IncludeQuery)
    assert found.include == ("source", "observed_at")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not one of source, observed_at: ''"),
        ("source,", "is not one of source, observed_at: ''"),
        ("source,id", "is not one of source, observed_at: 'id'"),
        ("source, observed_at", "is not one of source, observed_at: ' observed_at'"),
        ("Id&include=source,a: b", "is not one of source, observed_at: 'Id', 'a: b'"),
        ("source,source", "has 'source' more than once"),
        ("source&include=source", "has 'source' more than once"),
    ],
)
def test_invalid_include_has_reason(text: str, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_query(QueryParams(f"include={text}"), IncludeQuery)
    assert caught.value.errors == {"include": reason}


def test_zone_has_iana_name() -> None:
    for name in ("Europe/Berlin", "europe/berlin", " EUROPE/BERLIN "):
        assert params.ZONE.parse(name) == BERLIN
    assert params.ZONE.parse("Etc/GMT 2") == ZoneInfo("Etc/GMT+2")  # an unescaped plus
    for name in ("Europe/Bonn", "localtime", "../etc/passwd", ""):
        with pytest.raises(ValueError, match="is not") as caught:
            params.ZONE.parse(name)
        expected = f"is not an IANA time zone such as Europe/Berlin: {name!r}"
        assert str(caught.value) == expected


def test_fields_have_defaults_of_query() -> None:
    """As the OpenAPI document has them; none for a required or an empty one."""

    @dataclass(frozen=True, kw_only=True)
    class Query:
        required: Annotated[str, params.TICKER]
        limit: Annotated[int, params.LIMIT] = 50
        order: Annotated[str, params.ORDER] = "desc"
        start: Annotated[datetime | None, params.START] = None
        include: Annotated[tuple[str, ...], params.INCLUDE] = ()
        text: Annotated[str, replace(params.FORMAT, name="text")] = ""
        zone: Annotated[ZoneInfo, params.ZONE] = BERLIN

    fields = params.query_fields(Query)
    assert {name: (field.attribute, field.default) for name, field in fields.items()} == {
        "ticker": ("required", {}),
        "limit": ("limit", {"default": 50}),
        "order": ("order", {"default": "desc"}),
        "start_date": ("start", {}),
        "include": ("include", {}),
        "text": ("text", {}),
        "tz": ("zone", {"default": "Europe/Berlin"}),
    }


def test_endpoint_without_parameters_has_none() -> None:
    with pytest.raises(BadRequest) as caught:
        parse_query(QueryParams("a=1"), params.NoQuery)
    assert caught.value.errors == {"a": "is not a parameter here; parameters: none"}


@pytest.mark.parametrize(
    ("parameter", "first", "last"), [(params.LIMIT, 1, 1000), (TOLERANCE, 0, 86_400)]
)
def test_integer_has_digits_only(parameter: Parameter, first: int, last: int) -> None:
    """Both bounds are allowed."""
    for number in (first, first + 1, last - 1, last):
        assert parameter.parse(str(number)) == number
    outside = (str(first - 1), str(last + 1), "9" * 5000)
    for text in (*outside, "", "1.5", "1e3", "+5", " 5", "five", "\u0665", "0x5"):
        with pytest.raises(ValueError, match=f"^is not a whole number from {first} to {last}: "):
            parameter.parse(text)


@pytest.mark.parametrize(
    ("parameter", "names"),
    [
        (params.ORDER, "desc asc"),
        (params.FORMAT, "json csv ndjson"),
        (candles.FORMAT, "json csv ndjson arrow parquet"),
        (export.FORMAT, "csv ndjson arrow parquet"),
    ],
)
def test_choice_is_one_of_its_names(parameter: Parameter, names: str) -> None:
    """In the same spelling; the reason lists them."""
    assert [parameter.parse(name) for name in names.split()] == names.split()
    for other in ("", "CSV", "DESC", " asc", "xml"):
        with pytest.raises(ValueError, match=f"is not one of {names.replace(' ', ', ')}: "):
            parameter.parse(other)


@pytest.mark.parametrize("text", ["", "btc", "BTC_USD", "btc_usd ", "btc_usd\x00", "b'_c", "_usd"])
def test_invalid_ticker_is_rejected(text: str) -> None:
    """Only its pattern is checked here."""
    assert params.TICKER.parse("btc-dvol_usdc") == "btc-dvol_usdc"
    with pytest.raises(ValueError, match="not an index name"):
        params.TICKER.parse(text)


@dataclass(frozen=True, kw_only=True)
class ExampleQuery:
    """A query like those of endpoints."""

    ticker: Annotated[str, params.TICKER]
    limit: Annotated[int, params.LIMIT] = 50
    start_date: Annotated[datetime | None, params.START] = None


@dataclass(frozen=True, kw_only=True)
class RepeatedQuery:
    """A query whose parameter is a list."""

    tickers: Annotated[tuple[str, ...], TICKERS]


def test_every_invalid_parameter_is_named_at_once() -> None:
    """Missing, repeated, unknown and malformed parameters, all in one response."""
    values = QueryParams("limit=0&date=x&start_date=1&start_date=2&=&%00=1")

    with pytest.raises(BadRequest) as caught:
        parse_query(values, ExampleQuery)

    unknown = "is not a parameter here; parameters"
    assert {name: why.split(":")[0] for name, why in caught.value.errors.items()} == {
        "ticker": "is required",
        "limit": "is not a whole number from 1 to 1000",
        "start_date": "is given more than once",
        "date": unknown,
        "": unknown,
        "\N{REPLACEMENT CHARACTER}": unknown,
    }
    assert caught.value.errors["date"].endswith(": ticker, limit, start_date")


def test_defaults_are_those_of_the_query() -> None:
    """A missing parameter has the default of its field."""
    assert parse_query(QueryParams("ticker=btc_usd"), ExampleQuery) == ExampleQuery(
        ticker="btc_usd", limit=50, start_date=None
    )


def test_unknown_parameters_may_be_ignored() -> None:
    """Charting libraries need it."""
    values = QueryParams("ticker=btc_usd&other=1")
    found = parse_query(values, ExampleQuery, ignore_unknown=True)
    assert found == ExampleQuery(ticker="btc_usd")


def test_list_is_repeated_or_separated_by_commas() -> None:
    """In the order of the request; the same value twice is a typo, and each is parsed alone."""
    brackets = "ticker[]=eth_usd&ticker[]=btc_usd", "ticker[]=eth_usd&ticker=btc_usd"
    for query in ("ticker=eth_usd&ticker=btc_usd", "ticker=eth_usd,btc_usd", *brackets):
        found = parse_query(QueryParams(query), RepeatedQuery)
        assert found.tickers == ("eth_usd", "btc_usd")
    for query, reason in (
        ("ticker=eth_usd&ticker=eth_usd", "has 'eth_usd' more than once"),
        ("ticker=eth_usd,eth_usd", "has 'eth_usd' more than once"),
        ("ticker=eth_usd&ticker[]=eth_usd", "has 'eth_usd' more than once"),
        ("ticker=eth_usd&ticker=BTC", "is not an index name such as btc_usd: 'BTC'"),
    ):
        with pytest.raises(BadRequest) as caught:
            parse_query(QueryParams(query), RepeatedQuery)
        assert caught.value.errors == {"ticker": reason}
