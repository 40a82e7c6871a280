"""The indexes the stand-in knows, and how large and how fine their prices are."""

import re
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Final

PATTERN: Final = re.compile(r"[a-z0-9-]+_[a-z0-9]+")

# The ones clients ask for most, in the order of a recorded answer of the exchange.
NAMES: Final = (
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

# What one coin is worth in US dollars, roughly; any other coin's worth is drawn from its name.
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
_LEAST, _DECADES = -1, 3  # an unlisted coin costs between 0.10 and 100 dollars
_DIGITS = 4  # significant ones, at least, of a price of the usual size
_CENTS = 2


def is_derivative(index: str) -> bool:
    """Whether futures or options settle in *index*; the exchange's own rule is unknown."""
    return index.endswith(("_usd", "_usdc"))


def is_spot(index: str) -> bool:
    """Whether *index* is the price of a pair that is traded; the own rule is unknown."""
    return not index.endswith("_usd")


@lru_cache
def usual_price(index: str) -> Decimal:
    """Around what the walk of *index* runs, in its quote currency."""
    coin, _, quote = index.partition("_")
    return _dollars(coin) / _dollars(quote)


@lru_cache
def quantum(index: str) -> Decimal:
    """The finest step of *index*: a cent, or less where the price has few digits."""
    decimals = max(_CENTS, _DIGITS - 1 - usual_price(index).adjusted())
    return Decimal(1).scaleb(-decimals)


def _dollars(coin: str) -> Decimal:
    return _DOLLARS.get(coin) or _drawn(coin)


def _drawn(coin: str) -> Decimal:
    drawn = int.from_bytes(blake2b(coin.encode(), digest_size=4).digest()) / 2**32
    return Decimal(f"{10 ** (_LEAST + _DECADES * drawn):.3g}")
