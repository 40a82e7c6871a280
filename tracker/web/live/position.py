"""Where a client is in the stream: how far in the changes of each of its indexes. Pure."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from tracker.errors import shorten
from tracker.models import INDEX_NAME

_ONE = re.compile(rf"({INDEX_NAME}):([0-9]{{1,18}})(?:\.([1-9][0-9]{{0,3}}))?")


class Position(NamedTuple):
    """After which of an index's changes; positions are in the order of what they follow.

    revision: all of its changes and those before it.
    place: how many minutes of the next revision's, if it has several.
    """

    revision: int
    place: int = 0


START = Position(0)

Positions = Mapping[str, Position]


def shown(positions: Positions) -> str:
    """*positions* as a client keeps them: btc_usd:120,eth_usd:98.3."""
    return ",".join(_shown(ticker, *position) for ticker, position in positions.items())


def positions(text: str) -> dict[str, Position]:
    """What `shown` gave. Raises ValueError."""
    found = {}
    for part in text.split(","):
        parts = _ONE.fullmatch(part)
        if parts is None or parts[1] in found:
            raise ValueError(f"is not the id of an event of this stream: {shorten(text)!r}")
        found[parts[1]] = Position(int(parts[2]), int(parts[3] or 0))
    return found


def _shown(ticker: str, revision: int, place: int) -> str:
    return f"{ticker}:{revision}.{place}" if place else f"{ticker}:{revision}"
