"""Signs of life: what the recorder leaves in the database for those who ask how it is."""

import time
from contextlib import suppress
from datetime import timedelta
from threading import Thread

from tracker import queries
from tracker.connection import connected
from tracker.errors import DatabaseDown
from tracker.settings import Settings

_EVERY = 15.0  # seconds


def beat(settings: Settings, part: str, age: timedelta = timedelta()) -> None:
    """Record that *part* was alive *age* ago; nothing happens while the database is unavailable."""
    with suppress(DatabaseDown), connected(settings.database_dsn) as conn:
        queries.beat(conn, part, age)


def keep_beating(settings: Settings) -> None:
    """Say in the background that the worker runs, until the process ends."""

    def beating() -> None:
        while True:
            beat(settings, "worker")
            time.sleep(_EVERY)

    Thread(target=beating, name="beats", daemon=True).start()
