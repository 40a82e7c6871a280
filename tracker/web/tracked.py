"""The indexes that can be requested: those configured, and those stored."""

from collections.abc import Iterable

from tracker import queries
from tracker.errors import BadRequest, shorten
from tracker.web.database import Database


class TrackedTickers:
    """The known index names; the database is queried only for an unknown one."""

    def __init__(self, configured: Iterable[str]) -> None:
        """Start with the *configured* names."""
        self._known = dict.fromkeys(configured)  # ordered, and quick to search

    async def require(self, ticker: str, database: Database) -> None:
        """Raises BadRequest unless *ticker* is configured or stored; DatabaseDown."""
        if ticker not in self._known and ticker not in await self.names(database):
            names = ", ".join(self._known)
            raise BadRequest({"ticker": f"{shorten(ticker)!r} is not tracked; tracked: {names}"})

    async def names(self, database: Database) -> list[str]:
        """All of them, as the database has them now. Raises DatabaseDown."""
        stored = await database.run(queries.stored_tickers)
        self._known = dict.fromkeys([*self._known, *stored])
        return list(self._known)
