"""The replica that requests are answered from, where there is one, and how far it is behind."""

from dataclasses import dataclass

from psycopg import AsyncConnection

from tracker import queries
from tracker.rows import Row

_IN_STEP = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Replica:
    """How it stands.

    lag: seconds that it is behind, at most; None if it cannot know, as it has replayed nothing
        since its start.
    """

    lag: float | None

    @property
    def row(self) -> Row:
        """As JSON has it."""
        return {"lag_seconds": None if self.lag is None else round(self.lag, 1)}

    @property
    def behind(self) -> str:
        """In words; nothing if it is in step."""
        if self.lag is None:
            return "does not know how far it is behind"
        return f"is {self.lag:.0f} s behind" if self.lag >= _IN_STEP else ""


async def replica(conn: AsyncConnection) -> Replica:
    """How the server of *conn* stands."""
    return Replica(await queries.replica_lag(conn))
