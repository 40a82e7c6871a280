"""Synthetic prices: a seeded random walk without state.

The logarithm of a price is a Brownian bridge. The ends of a long span are drawn first, then its
midpoint, then the midpoints of both halves, down to single seconds. Each point is drawn from a hash
of seed, index and second. Prices are therefore equal in every process and in any order of calls.
"""

import math
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from statistics import NormalDist
from typing import Final

# The most requested ones, in the order of a recorded response of the exchange.
INDEX_NAMES: Final = (
    *("ada_usd", "ada_usdc", "ada_usdt", "algo_usd", "algo_usdc", "algo_usdt"),
    *("avax_usd", "avax_usdc", "avax_usdt", "bch_usd", "bch_usdc", "bch_usdt"),
    *("bnb_usd", "bnb_usdc", "bnb_usdt", "bonk_usd", "btc_usd", "btc_usdc", "btc_usdt"),
    *("buidl_usd", "buidl_usdc", "doge_usd", "doge_usdc", "doge_usdt"),
    *("dot_usd", "dot_usdc", "dot_usdt", "eth_usd", "eth_usdc", "eth_usdt", "ethw_usd"),
    *("link_usd", "link_usdc", "link_usdt", "ltc_usd", "ltc_usdc", "ltc_usdt"),
    *("matic_usd", "matic_usdc", "matic_usdt", "mog_usd", "near_usd", "near_usdc", "near_usdt"),
    *("paxg_usd", "paxg_usdc", "pepe_usd", "shib_usd", "shib_usdc", "shib_usdt"),
    *("sol_usd", "sol_usdc", "sol_usdt", "sol_eth", "ton_usd", "ton_usdc", "trump_usd"),
    *("trx_usd", "trx_usdc", "trx_usdt", "uni_usd", "uni_usdc", "uni_usdt"),
    *("xrp_usd", "xrp_usdc", "xrp_usdt", "usdc_usd", "usdc_usdt", "usdt_usd"),
    *("drbfix-btc_usdc", "drbfix-eth_usdc", "eth_btc", "steth_usd", "steth_usdc", "steth_eth"),
    *("btc_eurr", "eth_eurr", "eurr_usd", "eurr_usdc", "hype_usd", "hype_usdc"),
)

# Approximate US dollars per coin; a hash of its name sets the value of any other coin.
_DOLLARS: Final = {
    **dict.fromkeys(("usd", "usdc", "usdt", "usde", "buidl"), Decimal(1)),
    **dict.fromkeys(("eur", "eurr", "eurc"), Decimal("1.1")),
    **dict.fromkeys(("btc", "drbfix-btc"), Decimal(80_000)),
    **dict.fromkeys(("eth", "steth", "drbfix-eth"), Decimal(3_000)),
    "paxg": Decimal(3_500),
    "bnb": Decimal(600),
    "sol": Decimal(150),
    "xrp": Decimal(2),
    "ada": Decimal("0.6"),
    "trx": Decimal("0.25"),
    "doge": Decimal("0.18"),
    "shib": Decimal("2.5e-5"),
    "bonk": Decimal("1.8e-5"),
    "pepe": Decimal("1.2e-5"),
    "mog": Decimal("1e-6"),
}
_MIN_DECIMALS: Final = 2
_MIN_DIGITS: Final = 4  # significant ones of the base price

_SPAN: Final = 1 << 25  # seconds, about 388 days; the walk returns to the base price after each
_SPAN_DEVIATION: Final = 0.2  # standard deviation of the log price at the ends of a span
_VOLATILITY: Final = 0.6 / math.sqrt(365.25 * 86_400)  # of the log price; 60 % a year, per second
_NORMAL: Final = NormalDist()
_FLOAT_STEPS: Final = 1 << 52


def price_at(seed: int, index: str, second: int) -> Decimal:
    """The price of *index* at *second* (UNIX time, any sign), a positive multiple of its tick size.

    It moves around the base price with a volatility of about 60 % a year.
    """
    tick = tick_size(index)
    price = base_price(index) * Decimal(math.exp(_log_price(seed, index, second)))
    return max(price.quantize(tick), tick)


@lru_cache
def base_price(index: str) -> Decimal:
    """The center of the walk of *index*, in its quote currency."""
    base, _, quote = index.partition("_")
    return _dollars(base) / _dollars(quote)


@lru_cache
def tick_size(index: str) -> Decimal:
    """The smallest price change of *index*: a cent, or less for prices with few digits."""
    decimals = max(_MIN_DECIMALS, _MIN_DIGITS - 1 - base_price(index).adjusted())
    return Decimal(1).scaleb(-decimals)


def _dollars(coin: str) -> Decimal:
    """The value of *coin*: listed, or between 0.10 and 100 dollars."""
    fraction = int.from_bytes(blake2b(coin.encode(), digest_size=4).digest()) / 2**32
    return _DOLLARS.get(coin) or Decimal(f"{10 ** (3 * fraction - 1):.3g}")


@lru_cache(maxsize=1 << 17)
def _log_price(seed: int, index: str, second: int) -> float:
    """The logarithm of the price divided by the base price.

    The lowest set bit of *second* gives the distance to the two points that it lies between; a call
    computes at most two new points per halving.
    """
    digest = blake2b(f"{seed} {index} {second}".encode(), digest_size=8).digest()
    normal = _NORMAL.inv_cdf((int.from_bytes(digest) % _FLOAT_STEPS + 0.5) / _FLOAT_STEPS)
    if second % _SPAN == 0:
        return _SPAN_DEVIATION * normal
    distance = second & -second
    before = _log_price(seed, index, second - distance)
    after = _log_price(seed, index, second + distance)
    return (before + after) / 2 + _VOLATILITY * math.sqrt(distance / 2) * normal
