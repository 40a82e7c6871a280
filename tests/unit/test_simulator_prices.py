"""Synthetic prices: reproducible, plausible, and serialized as the exchange does."""

import json
import math
import statistics
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.models import parse_ticker
from tracker.settings import CHECKOUT
from tracker.simulator import price_at
from tracker.simulator.calls import encode, format_number
from tracker.simulator.prices import INDEX_NAMES, base_price, tick_size

NOW = 1_790_660_367
DAY = 86_400

indexes = st.sampled_from(INDEX_NAMES)
seconds = st.integers(-(10**10), 10**10)


@settings(deadline=None)
@given(seed=st.integers(), index=indexes, second=seconds)
def test_price_is_positive_multiple_of_tick_size(seed: int, index: str, second: int) -> None:
    price = price_at(seed, index, second)

    assert price > 0
    assert price % tick_size(index) == 0


def test_prices_are_equal_in_every_process() -> None:
    """Also in another order of calls."""
    calls = [*product((1, 2), ("btc_usd", "shib_usd"), (NOW - 10**8, NOW, NOW + 7))]
    script = """
import json, sys
from tracker.simulator import price_at
print(json.dumps([str(price_at(*each)) for each in json.loads(sys.argv[1])]))
"""

    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(calls[::-1])],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert json.loads(done.stdout)[::-1] == [str(price_at(*each)) for each in calls]


def test_seeds_and_indexes_have_different_walks() -> None:
    walks = {tuple(price_at(seed, index, NOW + k) / base_price(index) for k in range(5))
             for seed in (1, 2) for index in ("btc_usd", "eth_usd")}  # fmt: skip

    assert len(walks) == 4


@pytest.mark.parametrize("step", [1, 60, DAY])
def test_volatility_is_60_percent_a_year(step: int) -> None:
    """At every distance, log returns deviate like those of a Brownian motion."""
    returns = [
        math.log(price_at(seed, "btc_usd", NOW + step * (k + 1)) / price_at(seed, "btc_usd", at))
        for seed in range(3)
        for k in range(400)
        for at in [NOW + step * k]
    ]

    yearly = statistics.pstdev(returns) * math.sqrt(365.25 * DAY / step)

    assert 0.54 < yearly < 0.66


def test_price_stays_near_base_price_for_decades() -> None:
    ratios = [price_at(1, index, NOW + month * 30 * DAY) / base_price(index)
              for index in INDEX_NAMES for month in range(-300, 100, 7)]  # fmt: skip

    assert min(ratios) > Decimal("0.2")
    assert max(ratios) < 5


def test_price_changes_about_once_a_second() -> None:
    prices = [price_at(1, "btc_usd", NOW + second) for second in range(3_600)]

    changes = sum(one != other for one, other in pairwise(prices))

    assert changes > 3_500


def test_index_names_are_unique_and_match_pattern() -> None:
    assert len(set(INDEX_NAMES)) == len(INDEX_NAMES) >= 40
    assert all(parse_ticker(name) == name for name in INDEX_NAMES)


@pytest.mark.parametrize(
    ("index", "step"), [("btc_usd", "0.01"), ("eth_usd", "0.01"), ("shib_usd", "1e-8")]
)
def test_tick_size(index: str, step: str) -> None:
    """Cents for high prices, four significant digits for low ones."""
    assert tick_size(index) == Decimal(step)


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("40000", "40000.0"),
        ("40000.00", "40000.0"),
        ("83065.30", "83065.3"),
        ("1E+5", "100000.0"),
        ("0.001", "0.001"),
        ("0.00025330", "2.533e-4"),
        ("0.00002", "2.0e-5"),
        ("0", "0.0"),
        ("12345678901234567890.123456789", "12345678901234567890.123456789"),
    ],
)
def test_numbers_have_exchange_format(value: str, token: str) -> None:
    """One trailing zero at most, an exponent below a thousandth, every digit."""
    assert format_number(Decimal(value)) == token


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9))
def test_encoded_numbers_are_exact(value: Decimal) -> None:
    assert json.loads(encode([value]), parse_float=Decimal) == [value]
