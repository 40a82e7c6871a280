"""Prices that are ready together are stored by one statement.

While one statement runs, other threads leave their prices; the next one takes them all. Nobody
waits for a batch to fill.
"""

from collections import deque
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from threading import Lock

import psycopg

from tracker import queries
from tracker.connection import Database
from tracker.errors import DatabaseDown
from tracker.models import Quote

_PATIENCE = "500ms"  # for a lock: one index that an import holds must not keep the others waiting


class PriceWriter:
    """Stores prices for many threads."""

    def __init__(self, database: Database) -> None:
        """A writer to *database*."""
        self._database = database
        self._pending: deque[_Price] = deque()
        self._turn = Lock()

    def store(self, quote: Quote, minute: datetime) -> bool:
        """Store *quote* under *minute*; False if it has a price already.

        Raises DatabaseDown, and IntegrityError or DataError if the schema refuses this price.
        """
        price = _Price(quote, minute)
        self._pending.append(price)
        with self._turn:
            if not price.outcome.done():
                self._store_pending()
        new = price.outcome.result()
        return self._store_alone(price) if new is None else new

    def _store_pending(self) -> None:
        """Store all that wait, and tell each its outcome.

        What fails as a batch is left to the threads, one by one: an index that is locked, slow or
        refused keeps only its own thread busy, as if there were no batch.
        """
        batch = [self._pending.popleft() for _ in range(len(self._pending))]
        stamped = [(price.quote, price.minute) for price in batch]
        patience = _PATIENCE if len(batch) > 1 else "0"
        try:
            new = self._database.run(
                partial(queries.insert_prices, stamped=stamped, patience=patience)
            )
        except Exception as error:  # noqa: BLE001 -- other threads wait for their outcome
            for price in batch:
                if len(batch) > 1 and _concerns_rows(error):
                    price.outcome.set_result(None)
                else:
                    price.outcome.set_exception(error)
            return
        for price in batch:
            price.outcome.set_result(price.key in new)
            new.discard(price.key)

    def _store_alone(self, price: "_Price") -> bool:
        return self._database.run(
            partial(queries.insert_price, quote=price.quote, minute=price.minute)
        )


class _Price:
    """A price that waits, and what becomes of it: new, not new, or None: not with others."""

    def __init__(self, quote: Quote, minute: datetime) -> None:
        self.quote, self.minute = quote, minute
        self.key = (quote.ticker, minute)
        self.outcome: Future[bool | None] = Future()


def _concerns_rows(error: Exception) -> bool:
    """Whether a single row may be the reason: not so if there is no server that responds."""
    cause = error.__cause__ if isinstance(error, DatabaseDown) else error
    return not (isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None)
