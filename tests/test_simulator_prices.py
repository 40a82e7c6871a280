"""The walk: pure, plausible, and written as the exchange writes numbers."""

import json
import math
import statistics
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.simulator import price_at
from tracker.simulator.names import NAMES, PATTERN, quantum, usual_price
from tracker.simulator.wire import encode, number

NOW = 1_790_660_367
DAY = 86_400
ROOT = Path(__file__).resolve().parent.parent

indexes = st.sampled_from(NAMES)
seconds = st.integers(-(10**10), 10**10)


@settings(deadline=None)
@given(seed=st.integers(), index=indexes, second=seconds)
def test_a_price_is_positive_and_on_its_grid(seed: int, index: str, second: int) -> None:
    """Whatever is asked, the price is a positive multiple of the index's finest step."""
    price = price_at(seed, index, second)

    assert price > 0
    assert price % quantum(index) == 0


def test_every_process_sees_the_same_prices() -> None:
    """Another process, asking in another order, gets the same prices."""
    asked = [*product((1, 2), ("btc_usd", "shib_usd"), (NOW - 10**8, NOW, NOW + 7))]
    script = """
import json, sys
from tracker.simulator import price_at
print(json.dumps([str(price_at(*each)) for each in json.loads(sys.argv[1])]))
"""

    answer = subprocess.run(
        [sys.executable, "-c", script, json.dumps(asked[::-1])],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert json.loads(answer.stdout)[::-1] == [str(price_at(*each)) for each in asked]


def test_the_seed_and_the_index_matter() -> None:
    """Another seed is another walk, and so is another index."""
    walks = {tuple(price_at(seed, index, NOW + k) / usual_price(index) for k in range(5))
             for seed in (1, 2) for index in ("btc_usd", "eth_usd")}  # fmt: skip

    assert len(walks) == 4


@pytest.mark.parametrize("step", [1, 60, DAY])
def test_volatility_is_sixty_percent_a_year(step: int) -> None:
    """Whatever the distance, log returns spread as a Brownian motion's would."""
    returns = [
        math.log(price_at(seed, "btc_usd", NOW + step * (k + 1)) / price_at(seed, "btc_usd", at))
        for seed in range(3)
        for k in range(400)
        for at in [NOW + step * k]
    ]

    yearly = statistics.pstdev(returns) * math.sqrt(365.25 * DAY / step)

    assert 0.54 < yearly < 0.66


def test_prices_stay_plausible_over_the_decades() -> None:
    """No index ever leaves the neighbourhood of its usual price."""
    ratios = [price_at(1, index, NOW + month * 30 * DAY) / usual_price(index)
              for index in NAMES for month in range(-300, 100, 7)]  # fmt: skip

    assert min(ratios) > Decimal("0.2")
    assert max(ratios) < 5


def test_the_price_moves_about_once_a_second() -> None:
    """An hour of btc_usd holds hardly a second in which nothing changed."""
    prices = [price_at(1, "btc_usd", NOW + second) for second in range(3_600)]

    changes = sum(one != other for one, other in pairwise(prices))

    assert changes > 3_500


def test_the_names_are_index_names() -> None:
    """At least forty, each once, each of the pattern the exchange documents."""
    assert len(set(NAMES)) == len(NAMES) >= 40
    assert all(PATTERN.fullmatch(name) for name in NAMES)


@pytest.mark.parametrize(
    ("index", "step"), [("btc_usd", "0.01"), ("eth_usd", "0.01"), ("shib_usd", "1e-8")]
)
def test_the_finest_step(index: str, step: str) -> None:
    """Cents for the large ones, four digits for the tiny ones."""
    assert quantum(index) == Decimal(step)


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
def test_number_tokens(value: str, token: str) -> None:
    """Zeros trimmed but one, an exponent below a thousandth, no digit lost."""
    assert number(Decimal(value)) == token


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9))
def test_numbers_survive_the_wire(value: Decimal) -> None:
    """Read as Decimal from the text, a number is the one that was written."""
    assert json.loads(encode([value]), parse_float=Decimal) == [value]
