"""A clock that tests set, for the tracker and the simulated exchange alike."""

from datetime import UTC, datetime, timedelta

from tracker.times import EPOCH, Clock

# Yesterday's: the worker drops ticks that are a week old.
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


class ManualClock(Clock):
    """A clock that stands until it is set: no minute ends in the middle of a test."""

    def __init__(self, moment: datetime = NOON) -> None:
        """A clock that stands at *moment*."""
        self.moment = moment

    def now(self) -> datetime:
        """The moment that was set."""
        return self.moment

    def microseconds(self) -> int:
        """The same since 1970, as the simulator's clock counts."""
        return (self.moment - EPOCH) // timedelta(microseconds=1)
