"""Which indexes are polled: those that TICKERS names, and those that its patterns select.

The exchange's names are read at the start and hourly, and stored: web selects from them too, and
they serve while the exchange is unavailable.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from loguru import logger

from tracker import queries
from tracker.database import Database
from tracker.errors import DatabaseDown, ExchangeError
from tracker.models import is_pattern, select_tickers
from tracker.recorder import metrics
from tracker.recorder.deribit import DeribitClient

READ_INTERVAL = 3600.0  # seconds
RETRY_INTERVAL = 60.0  # seconds, after a failure or a name that was missing for the first time


class PolledIndexes:
    """The names of the indexes that are polled now; other threads may iterate at any time."""

    def __init__(self, tickers: Sequence[str], client: DeribitClient, database: Database) -> None:
        """Those of *tickers*, names and patterns; patterns select from the stored names."""
        self._tickers = tickers
        self._patterns = [each for each in tickers if is_pattern(each)]
        self._client = client
        self._database = database
        self._listed: set[str] = set()  # by the exchange
        self._vanished: set[str] = set()  # once listed
        self._missing: set[str] = set()  # in the newest list only
        self._reported: set[str] = set()
        self._is_failing = False
        self._is_stored = True  # what has vanished
        if self._patterns:
            self._load()
        self._names = select_tickers(tickers, self._listed)
        metrics.initialize(self._names)

    def __iter__(self) -> Iterator[str]:
        """Each name."""
        return iter(self._names)

    def __len__(self) -> int:
        """How many they are."""
        return len(self._names)

    def refresh(self) -> float:
        """Read the names of the exchange; return seconds until they are to be read again.

        A name has vanished if two lists lack it: a single one may be incomplete.
        """
        if not self._listed:
            self._load()
            self._update(set())
        try:
            names = self._client.fetch_index_names()
        except ExchangeError as error:
            self._report_failure(error)
            return RETRY_INTERVAL
        self._is_failing = False
        missing = self._listed - names
        vanished = missing & self._missing
        self._missing = missing - vanished
        self._listed = names | self._missing
        before, self._vanished = self._vanished, (self._vanished | vanished) - self._listed
        self._is_stored = self._is_stored and self._vanished == before
        self._report_unlisted()
        self._update(vanished)
        return READ_INTERVAL if self._store() and not self._missing else RETRY_INTERVAL

    def _load(self) -> None:
        """Take the stored names, unless the database is unavailable."""
        with suppress(DatabaseDown):
            self._listed, self._vanished = self._database.run(queries.exchange_names)

    def _store(self) -> bool:
        """Store the names for web and for the next start; False if the database is unavailable."""
        with suppress(DatabaseDown):
            self._database.run(queries.record_heartbeat, "listed", names=sorted(self._listed))
            if not self._is_stored:
                vanished = sorted(self._vanished)
                self._database.run(queries.record_heartbeat, "vanished", names=vanished)
            self._is_stored = True
            return True
        return False

    def _update(self, vanished: set[str]) -> None:
        """Poll what is selected now, and log what has changed."""
        before = self._names
        self._names = select_tickers(self._tickers, self._listed)
        new = [name for name in self._names if name not in before]
        metrics.initialize(new)
        if new:
            logger.info("also polling {}", ", ".join(new))
        for name in sorted(vanished.intersection(before)):
            then = "it is polled all the same" if name in self._names else "it is not polled"
            logger.warning("the exchange does not list {} any more; {}", name, then)
            if name not in self._names:
                metrics.remove(name)

    def _report_failure(self, error: ExchangeError) -> None:
        """Log, once for each outage, that the names could not be read, and what follows."""
        if self._is_failing:
            return
        self._is_failing = True
        then = ""
        if self._patterns:
            then = "those known from the last time are polled" if self._names else "none is polled"
            then = f"; until then {then}"
        logger.warning("the names in TICKERS could not be checked: {}{}", error, then)

    def _report_unlisted(self) -> None:
        """Log, once each, names that the exchange does not list and patterns that select none."""
        selected = {each: select_tickers([each], self._listed) for each in self._tickers}
        idle = {each for each, names in selected.items() if not self._listed.intersection(names)}
        for each in sorted(idle - self._reported):
            if each in self._patterns:
                logger.warning("TICKERS: the exchange lists no index that {} selects", each)
            elif each not in self._vanished | self._missing:
                logger.warning(
                    "TICKERS: the exchange does not list {}; it is polled all the same", each
                )
        self._reported = idle
