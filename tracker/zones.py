"""When the days of a zone begin, in UTC; whole minutes, because prices are.

Pure. Zones come from the IANA database, https://www.iana.org/time-zones.
"""

from bisect import bisect_left
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from tracker.times import FIRST, MINUTE

_DAY = timedelta(days=1)
_REMEMBERED = 20_000  # starts of days, 55 years of them; a page asks for the same ones again


def shown(moment: datetime, zone: tzinfo) -> date:
    """The day on the zone's calendar at *moment*; at the ends of time, the UTC day."""
    try:
        return moment.astimezone(zone).date()
    except OverflowError:
        return moment.date()


@lru_cache(_REMEMBERED)
def begin(day: date, zone: tzinfo) -> datetime:
    """The first UTC minute that begins on *day*, or on a later one, by the zone's calendar.

    Of a midnight that comes twice it is the first. Midnight may also be skipped, and a whole day.
    FIRST if it would be earlier than that.
    """
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 -- the zone comes next
    try:
        found = midnight.replace(tzinfo=zone).astimezone(UTC)
        is_skipped = found.astimezone(zone).replace(tzinfo=None) != midnight
    except OverflowError:
        return FIRST
    return _search(day, zone, found) if is_skipped else _minute(found)


def _search(day: date, zone: tzinfo, late: datetime) -> datetime:
    """The same, where the clock is set forward over midnight, at most a day before *late*."""
    early = _minute(late - _DAY)

    def begun(minutes: int) -> bool:
        return shown(early + minutes * MINUTE, zone) >= day

    return early + bisect_left(range(_DAY // MINUTE + 1), x=True, key=begun) * MINUTE


def _minute(moment: datetime) -> datetime:
    """The first whole minute from *moment* on: offsets of old have seconds."""
    whole = moment.replace(second=0, microsecond=0)
    return whole if whole == moment else whole + MINUTE
