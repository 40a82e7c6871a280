"""Which buckets a client asks for: the interval and the zone of its query string."""

from collections.abc import Mapping
from datetime import UTC
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from tracker import buckets
from tracker.buckets import INTERVALS, UNITS, Calendar, Even
from tracker.errors import BadRequest
from tracker.web.params import shorten

DEFAULT_INTERVAL = "1h"


def interval(text: str) -> str:
    """A name of INTERVALS. Raises ValueError."""
    if text not in INTERVALS:
        raise ValueError(f"is none of {', '.join(INTERVALS)}: {shorten(text)!r}")
    return text


def zone(text: str) -> ZoneInfo:
    """A zone of the IANA database, by its name. Raises ValueError."""
    if text not in _zones():
        raise ValueError(f"is not an IANA time zone such as Europe/Berlin: {shorten(text)!r}")
    return ZoneInfo(text)


def grid(asked: Mapping[str, Any]) -> Even | Calendar:
    """The buckets of the parameters *asked*. Raises BadRequest for a zone of short ones."""
    name = asked.get("interval", DEFAULT_INTERVAL)
    if "tz" in asked and name not in UNITS:
        raise BadRequest(
            {"tz": f"is for {', '.join(UNITS)} only: shorter buckets are those of UTC"}
        )
    return buckets.grid(name, asked.get("tz", UTC))


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
