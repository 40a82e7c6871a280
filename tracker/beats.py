"""Signs of life: what the recorder leaves in the database for those who ask how it is."""

import time
from contextlib import suppress
from datetime import timedelta
from threading import Thread

from tracker import queries
from tracker.connection import Database
from tracker.errors import DatabaseDown

_EVERY = 15.0  # seconds


def beat(database: Database, part: str, age: timedelta = timedelta()) -> None:
    """Record that *part* was alive *age* ago; nothing happens while the database is unavailable."""
    with suppress(DatabaseDown):
        database.run(lambda conn: queries.beat(conn, part, age))


def keep_beating(database: Database) -> None:
    """Say in the background that the worker runs, until the process ends."""

    def beating() -> None:
        while True:
            beat(database, "worker")
            time.sleep(_EVERY)

    Thread(target=beating, name="beats", daemon=True).start()
