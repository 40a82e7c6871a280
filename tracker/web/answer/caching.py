"""How long an answer may be kept: until it can next change.

After that it has to be asked for again, with its ETag: whoever keeps it never shows it longer.
Source: RFC 9111.
"""

from datetime import datetime, timedelta

from tracker.times import MINUTE

# From a minute's mark until the next one's price is stored, two seconds after its mark: less the
# second for which an answer may have been in memory.
_DUE = MINUTE + timedelta(seconds=1)
_LATE = 1  # seconds; polling is behind, and the price may come at any moment
_SETTLED = 60  # seconds; repair fills holes once a minute

Headers = dict[str, str]


def until_next(newest: datetime | None, now: datetime) -> Headers:
    """Until the price after that of the minute *newest* is due; None: it is overdue."""
    left = _DUE - (now - newest) if newest else timedelta()
    return _for(min(max(int(left.total_seconds()), _LATE), _SETTLED))


def settled() -> Headers:
    """What is over: only repair and import still change it."""
    return _for(_SETTLED)


def never() -> Headers:
    """Not at all: it tells of this moment."""
    return {"Cache-Control": "no-store"}


def _for(seconds: int) -> Headers:
    return {"Cache-Control": f"max-age={seconds}, must-revalidate"}
