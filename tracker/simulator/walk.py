"""A seeded random walk that needs no memory: any second's price, straight from a hash.

The logarithm of the price is a Brownian motion built by halving: the ends of a
long span are drawn first, then its middle between them, then the middles of
both halves, down to single seconds. Every point is drawn from a hash of its
own name, so it is the same in each process and in whatever order it is asked.
"""

import math
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from statistics import NormalDist
from typing import Final

from tracker.simulator.names import quantum, usual_price

_SPAN: Final = 1 << 25  # seconds, about 388 days: the walk comes home once in each
_HOME: Final = 0.2  # how far from the usual price a span may end, as a deviation of the log
_YEAR: Final = 365.25 * 86_400
_VOLATILITY: Final = 0.6  # of the log price, over a year
_PER_SECOND: Final = _VOLATILITY / math.sqrt(_YEAR)
_BELL: Final = NormalDist()
_STEPS: Final = 1 << 52  # as many as a float tells apart below 1


def price_at(seed: int, index: str, second: int) -> Decimal:
    """The price of *index* at *second*, UTC seconds since 1970, any sign.

    The same for the same three arguments, everywhere and always; about 60 % a
    year of volatility around the usual price of the index.
    """
    step = quantum(index)
    price = usual_price(index) * Decimal(math.exp(_log(seed, index, second)))
    return max(price.quantize(step), step)


@lru_cache(maxsize=1 << 17)
def _log(seed: int, index: str, second: int) -> float:
    """The log of the price over the usual one.

    The lowest set bit of *second* says at which halving it is drawn, and so how
    far its two elder neighbours are: a call asks for two new points per halving at most.
    """
    if second % _SPAN == 0:
        return _HOME * _gauss(seed, index, second)
    reach = second & -second
    elders = _log(seed, index, second - reach) + _log(seed, index, second + reach)
    return elders / 2 + _PER_SECOND * math.sqrt(reach / 2) * _gauss(seed, index, second)


def _gauss(seed: int, index: str, second: int) -> float:
    """A standard normal number that belongs to this name alone."""
    digest = blake2b(f"{seed} {index} {second}".encode(), digest_size=8).digest()
    return _BELL.inv_cdf((int.from_bytes(digest) % _STEPS + 0.5) / _STEPS)
