"""The parser of the exchange's responses: a quote, or an error that names the invalid member."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.recordings import PRODUCTION, TESTNET, parse_btc, parse_response
from tracker.errors import ExchangeError, InvalidResponse, Refused, Unavailable
from tracker.models import Quote
from tracker.recorder.deribit import parse_locked, parse_names, parse_quote
from tracker.settings import CHECKOUT

RECORDED = CHECKOUT.parent / "shared" / "data" / "deribit"
recorded = pytest.mark.skipif(not RECORDED.exists(), reason=f"no recorded responses in {RECORDED}")


def priced(price: str) -> bytes:
    """A response of production with that price."""
    return PRODUCTION.replace(b'"index_price":83065.3', f'"index_price":{price}'.encode())


def test_recorded_response_is_quote() -> None:
    """The price is exact, the time is usOut to the microsecond."""
    observed_at = datetime(2026, 9, 29, 5, 39, 27, 85908, tzinfo=UTC)

    assert parse_btc(PRODUCTION) == Quote(
        ticker="btc_usd", price=Decimal("83065.30"), observed_at=observed_at
    )


@pytest.mark.parametrize(
    ("number", "price"),
    [
        ("40000.0", "40000.00"),
        ("68241", "68241.00"),
        ("68241.5", "68241.50"),
        ("81123.215", "81123.215"),
        ("2.533e-4", "0.0002533"),
        ("8E4", "80000.00"),
        ("0.1234567890123456789012345678", "0.1234567890123456789012345678"),
        ("123456789012345678.123456789012", "123456789012345678.123456789012"),
    ],
)
def test_price_has_every_digit(number: str, price: str) -> None:
    """Two decimals at least, and never through a float."""
    assert f"{parse_btc(priced(number)).price:f}" == price


@pytest.mark.parametrize(
    "number",
    ["0", "-1", "0.0", "-0.01", "1e19", "1e-19", "1e999999", "1e999999999", "1e-999999999",
     f"0.{'1' * 31}", "9" * 5_000, "null", "true", '"83065.3"', "[1]", "{}"],
)  # fmt: skip
def test_invalid_price_is_refused(number: str) -> None:
    """Zero, negative, not credible, or not a number; the error is short."""
    with pytest.raises(InvalidResponse, match=r"^index_price: ") as caught:
        parse_btc(priced(number))

    assert len(str(caught.value)) < 160


@pytest.mark.parametrize(
    "number",
    ["0", "-1", "1.5", "1e999999999", "1e17", "null", "true", '"1790660367085908"', "[]"],
)
def test_invalid_time_is_refused(number: str) -> None:
    """A price needs the exchange's time; a huge number does not block the process."""
    with pytest.raises(InvalidResponse, match=r"^usOut: "):
        parse_btc(PRODUCTION.replace(b'"usOut":1790660367085908', f'"usOut":{number}'.encode()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TESTNET, "^testnet: expected False, got 'True'"),
        (PRODUCTION.replace(b"false", b"0"), "^testnet: "),
        (PRODUCTION.replace(b'"index_price"', b'"price"'), "^index_price: not a number: 'None'"),
        (PRODUCTION.replace(b'"index_price"', b'"index_name":"eth_usd","index_price"'),
         "^index_name: not btc_usd: 'eth_usd'"),
        (b'{"result":[1,2]}', "^result: not an object: a list$"),
        (b'{"result":null}', "^result: not an object: 'None'$"),
        (b'{"result":5}', "^result: not an object: '5'$"),
        (b'{"result":{"index_price":"1"}}', "^index_price: not a number: '1'$"),
        (b'{"result":{"index_price":0}}', "^index_price: not a credible price: '0'$"),
        (b'{"result":{"index_price":1}}', "^usOut: not a time since 1970: 'None'$"),
        (b'{"jsonrpc":"2.0"}', "^result: missing"),
        (b"[]", "^not a JSON object"),
        (b"null", "^not a JSON object"),
        (b"", "^not JSON"),
        (PRODUCTION[:60], "^not JSON"),
        (b"<!DOCTYPE html><title>Just a moment</title>", "^not JSON .*<!DOCTYPE html>"),
        (priced("NaN"), "^index_price: not a number"),
        (priced("Infinity"), "^index_price: not a number"),
        (priced("1e9999999999999999999"), "^not JSON"),
        (b"[" * 100_000, "^not JSON"),
        (b"\xff\xfe\xfd", "^not JSON"),
    ],
)  # fmt: skip
def test_invalid_response_names_invalid_member(content: bytes, message: str) -> None:
    """In one line; the error is not transient."""
    with pytest.raises(InvalidResponse, match=message) as caught:
        parse_btc(content)

    assert not caught.value.transient
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[1]", "not a JSON object: '[1]'"),
        (b'{"a":1}', "result: missing in '{\"a\":1}'"),
        (b"\xff[", "'\N{REPLACEMENT CHARACTER}['"),
        (b"x" * 80, f": '{'x' * 80}'"),
        (b"x" * 81, f": '{'x' * 80}…'"),
    ],
)
def test_error_repeats_80_characters_of_response(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidResponse) as caught:
        parse_response(content)
    assert str(caught.value).endswith(reason)


def test_production_is_refused_where_testnet_is_configured() -> None:
    """And a response of the testnet is accepted."""
    quote = parse_quote(parse_response(TESTNET, testnet=True), "btc_usd")
    assert quote.price == Decimal("83065.30")
    with pytest.raises(InvalidResponse, match="testnet: expected True, got 'False'"):
        parse_response(PRODUCTION, testnet=True)


def test_index_names_are_parsed() -> None:
    """Only from a list of strings."""
    names = parse_names(parse_response(b'{"result":["btc_usd","eth_usd"]}'))
    assert names == {"btc_usd", "eth_usd"}
    for result, excerpt in (
        (b'"btc_usd"', "'btc_usd'"),
        (b'[{"name":"btc_usd"}]', "a list"),
        (b"[1]", "a list"),
        (b"{}", "an object"),
        (b"null", "'None'"),
        (b"5", "'5'"),
    ):
        with pytest.raises(InvalidResponse) as caught:
            parse_names(parse_response(b'{"result":%s}' % result))
        assert str(caught.value) == f"result: not a list of index names: {excerpt}"


@recorded
@pytest.mark.parametrize("file", sorted(RECORDED.glob("*.json")), ids=lambda file: file.stem)
def test_recorded_responses_are_parsed(file: Path) -> None:
    """Prices of both nets are quotes, errors are refused, maintenance is transient."""
    content = file.read_bytes()
    document = json.loads(content, parse_float=Decimal)
    if "result" in document:
        quote = parse_quote(parse_response(content, testnet=document["testnet"]), "btc_usd")
        assert quote.price == document["result"]["index_price"]
    else:
        with pytest.raises(Unavailable if "maintenance" in file.stem else Refused):
            parse_btc(content)


@recorded
def test_recorded_index_names_are_parsed() -> None:
    """They contain the tracked ones."""
    names = (RECORDED / "results" / "index_price_names.json").read_bytes()

    assert {"btc_usd", "eth_usd"} <= parse_names(parse_response(b'{"result":%s}' % names))


statuses = st.sampled_from([200, 204, 302, 400, 404, 429, 500, 503])
keys = st.sampled_from(["result", "error", "usOut", "testnet", "index_price", "code", "message"])
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.decimals(allow_nan=False).map(str)
)  # fmt: skip
documents = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(keys | st.text(), inner)
)


def assert_quote_or_error(content: bytes, status: int) -> None:
    """Assert that the result is a quote, or an ExchangeError of at most one log line."""
    try:
        text = str(parse_btc(content, status).price)
    except ExchangeError as error:
        text = str(error)
    assert 0 < len(text.encode()) < 400


@given(st.binary(), statuses)
@example(b"\xef\xbb\xbf" + PRODUCTION, 200)
@example(PRODUCTION.decode().encode("utf-16"), 200)
@example(b'{"error":{"message":"\\ud800","code":1e999999999}}', 200)
@example(b'{"error":' + b"[" * 900 + b"]" * 900 + b"}", 200)
@example(b'{"result":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}", 200)
@example(b"[" * 900 + b"]" * 900, 200)
@example(priced('1,"index_price":2'), 200)
@example(priced("1" * 500_000), 200)
@example(priced("-1" + "0" * 500_000), 200)
def test_any_bytes_are_quote_or_exchange_error(content: bytes, status: int) -> None:
    """No other exception leaves the parser."""
    assert_quote_or_error(content, status)


@given(documents, statuses)
def test_any_json_is_quote_or_exchange_error(document: object, status: int) -> None:
    """NaN, infinities and lone surrogates included: Python writes them."""
    assert_quote_or_error(json.dumps(document).encode(), status)


tokens = st.binary(max_size=8) | st.sampled_from([b"1e999999999", b"NaN", b"-", b'":', b"[", b"}"])


@given(st.data(), documents, statuses)
def test_any_change_of_response_is_quote_or_exchange_error(
    data: st.DataObject, value: object, status: int
) -> None:
    """Of one member, or of a few bytes."""
    document = json.loads(PRODUCTION)
    where = data.draw(st.sampled_from([document, document["result"]]))
    where[data.draw(st.sampled_from(sorted(where)))] = value
    assert_quote_or_error(json.dumps(document).encode(), status)

    start, length = data.draw(st.integers(0, 200)), data.draw(st.integers(0, 20))
    changed = PRODUCTION[:start] + data.draw(tokens) + PRODUCTION[start + length :]
    assert_quote_or_error(changed, 200)


BTC, ETH, LIST = {"btc_usd"}, {"eth_usd"}, ["BTC", "sol_usd"]


@pytest.mark.parametrize(
    ("result", "locked"),
    [
        ({"locked": "false"}, set()),
        ({"locked": False}, set()),
        ({}, set()),
        ({"locked": "true"}, BTC | ETH),
        ({"locked": True}, BTC | ETH),
        ({"locked": "partial", "locked_indices": ["btc_usd"]}, BTC),
        ({"locked": "partial", "locked_indices": LIST}, BTC),
        ({"locked": "partial", "locked_currencies": ["ETH"]}, ETH),
        ({"locked": "partial", "locked_indices": None, "locked_currencies": "ETH"}, set()),
        ({"locked": "false", "locked_indices": [], "locked_currencies": [None, 7]}, set()),
    ],
)
def test_status_names_locked_indexes(result: object, locked: set[str]) -> None:
    """By index or by currency, in either case, as strings or booleans."""
    assert parse_locked({"result": result}, ["btc_usd", "eth_usd"]) == locked


@pytest.mark.parametrize("result", [None, "false", []])
def test_status_of_another_type_is_invalid(result: object) -> None:
    with pytest.raises(InvalidResponse, match="not an object"):
        parse_locked({"result": result}, ["btc_usd"])
