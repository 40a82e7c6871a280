"""The indexes that can be requested: those configured, and those stored."""

from collections.abc import Iterable

from tracker import queries
from tracker.web.database import Database


class TrackedTickers:
    """The known index names; the database is queried only for an unknown one.

    known: in the order in which they became known, and quick to search.
    """

    def __init__(self, configured: Iterable[str]) -> None:
        """Start with the *configured* names."""
        self.known = dict.fromkeys(configured)

    async def names(self, database: Database) -> list[str]:
        """All of them, as the database has them now. Raises DatabaseDown, MigrationsPending."""
        stored = await database.run(queries.stored_tickers)
        self.known = dict.fromkeys([*self.known, *stored])
        return list(self.known)
