"""Which buckets a client asks for: the interval and the zone of its query string."""

from collections.abc import Mapping
from datetime import UTC
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from tracker import buckets
from tracker.buckets import INTERVALS, Calendar, Even
from tracker.errors import shorten

DEFAULT_INTERVAL = "1h"


def interval(text: str) -> str:
    """A name of INTERVALS. Raises ValueError."""
    if text not in INTERVALS:
        raise ValueError(f"is none of {', '.join(INTERVALS)}: {shorten(text)!r}")
    return text


def zone(text: str) -> ZoneInfo:
    """A zone of the IANA database, by its name. Raises ValueError."""
    if text not in zones():
        raise ValueError(f"is not an IANA time zone such as Europe/Berlin: {shorten(text)!r}")
    return ZoneInfo(text)


def grid(asked: Mapping[str, Any]) -> Even | Calendar:
    """The buckets of the parameters *asked*; a zone changes those of a day and longer only."""
    return buckets.grid(asked.get("interval", DEFAULT_INTERVAL), asked.get("tz", UTC))


@cache
def zones() -> frozenset[str]:
    """The names of all zones that this machine knows, but for the one it happens to stand in."""
    return frozenset(available_timezones() - {"localtime"})
