"""Which tickers may be asked for: those configured, and those stored."""

from collections.abc import Iterable

from tracker import queries
from tracker.errors import BadRequest
from tracker.web.database import Database


class Tracked:
    """The known tickers; the database is asked only for a name that is not among them."""

    def __init__(self, configured: Iterable[str]) -> None:
        """Start with the *configured* names."""
        self._known = list(configured)

    async def require(self, ticker: str, database: Database) -> None:
        """Raises BadRequest unless *ticker* is configured or stored."""
        if ticker in self._known:
            return
        stored = await database.run(queries.stored_tickers)
        self._known = list(dict.fromkeys([*self._known, *stored]))
        if ticker not in self._known:
            names = ", ".join(self._known)
            raise BadRequest({"ticker": f"{ticker!r} is not tracked; there are {names}"})
