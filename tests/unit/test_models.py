"""Values: what they contain, and that they are never invalid."""

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.models import Quote, exact_price, is_pegged, select_tickers
from tracker.times import MINUTE, minute_of

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)

offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(timezones=offsets).filter(lambda moment: 1 < moment.year < 9999)
credible = st.builds(
    lambda digits, point: Decimal(digits).scaleb(-point),
    st.integers(1, 10**18),
    st.integers(0, 18),
)


@given(moments)
def test_minute_contains_its_moment_in_utc(moment: datetime) -> None:
    """Whatever the offset, even one of half an hour."""
    minute = minute_of(moment)

    assert minute <= moment < minute + MINUTE
    assert minute.tzinfo is UTC
    assert (minute - datetime(1970, 1, 1, tzinfo=UTC)) % MINUTE == timedelta(0)
    assert minute_of(minute) == minute


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("68241.5", "68241.50"),
        ("68241.50", "68241.50"),
        ("68241", "68241.00"),
        ("40000.0", "40000.00"),
        ("1E+5", "100000.00"),
        ("1E+18", "1000000000000000000.00"),
        ("2.533e-4", "0.0002533"),
        ("0.100", "0.100"),
        ("1E-18", "0.000000000000000001"),
        ("999999999999999999.999999999999999999", "999999999999999999.999999999999999999"),
        ("0.123456789012345678901234567890", "0.123456789012345678901234567890"),
    ],
)
def test_price_has_all_digits_and_two_decimals(text: str, shown: str) -> None:
    """Zeros are added, none is removed, and nothing is rounded."""
    assert f"{exact_price(Decimal(text)):f}" == shown


@given(credible)
def test_exact_price_is_idempotent(number: Decimal) -> None:
    """It equals the number, with two decimals at least."""
    price = exact_price(number)

    assert price == number
    assert int(price.as_tuple().exponent) <= -2
    assert str(exact_price(price)) == str(price)


@pytest.mark.parametrize(
    "text",
    ["0", "-0.00", "-1", "NaN", "sNaN", "Infinity", "1E+19", "1E-19", "1E+999999", f"0.{1:031}"],
)
def test_implausible_price_is_rejected(text: str) -> None:
    """Zero, negative, not a number, too large, too small, too long."""
    with pytest.raises(ValueError, match=r"not a (positive number|credible price)"):
        exact_price(Decimal(text))


def test_quote_with_naive_time_is_rejected() -> None:
    with pytest.raises(ValueError, match="naive time"):
        Quote(ticker="btc_usd", price=Decimal("1.00"), observed_at=NOON.replace(tzinfo=None))


@pytest.mark.parametrize("text", ["1", "1.5", "0.00", "-1.00", "NaN", "1E+2"])
def test_quote_requires_exact_price(text: str) -> None:
    """A price that the table would reject does not get that far."""
    with pytest.raises(ValueError, match=r"positive number|two decimals"):
        Quote(ticker="btc_usd", price=Decimal(text), observed_at=NOON)


def test_quote_is_immutable() -> None:
    quote = Quote(ticker="btc_usd", price=Decimal("68241.50"), observed_at=NOON)

    with pytest.raises(FrozenInstanceError):
        quote.ticker = "eth_usd"  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("ticker", "pegged"),
    [
        *[
            (name, True)
            for name in ("usdc_usd", "usdt_usd", "usdc_usdt", "buidl_usdc", "usyc_usd", "eurr_eur")
        ],
        *[
            (name, False)
            for name in ("btc_usd", "eth_btc", "eurr_usd", "steth_eth", "drbfix-btc_usdc")
        ],
    ],
)
def test_pair_of_one_currency_is_pegged(ticker: str, *, pegged: bool) -> None:
    """Dollars and euros, with the coins that stand for them."""
    assert is_pegged(ticker) is pegged


@pytest.mark.parametrize(
    ("tickers", "selected"),
    [
        (["*"], ("a-b_usd", "btc_usd", "btc_usdc", "eth_usd")),
        (["*_usd"], ("a-b_usd", "btc_usd", "eth_usd")),
        (["btc_*", "eth_usd", "*_usd"], ("btc_usd", "btc_usdc", "eth_usd", "a-b_usd")),
        (["sol_usd", "x*"], ("sol_usd",)),
        (["*t*_*d"], ("btc_usd", "eth_usd")),
    ],
)
def test_patterns_select_listed_names(tickers: list[str], selected: tuple[str, ...]) -> None:
    """In the order of TICKERS, then by name; listed texts that are not index names are left out."""
    listed = ["eth_usd", "btc_usdc", "btc_usd", "a-b_usd", "BTC_USD", "odd", "x y_usd"]

    assert select_tickers(tickers, listed) == selected
