"""The lock of a home: which tracker uses it, and at which address its API is."""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tracker.embedded.account import CHECK_INTERVAL, Account, send_signal
from tracker.errors import EmbeddedError
from tracker.settings import Settings

_STOP_TIMEOUT = 20.0  # seconds; the supervisor kills its processes within 15


@contextmanager
def lock_home(settings: Settings, url: str = "") -> Iterator[None]:
    """Hold the home during the block. Raises EmbeddedError with the pid of another holder.

    url: the address of the API that runs during the block.
    """
    account = Account.of(settings.home)
    account.make_home(settings.home)
    path = settings.home / "lock"
    try:
        stream = path.open("a+")
    except OSError as error:
        raise EmbeddedError(f"TRACKER_HOME: cannot write {path}: {error.strerror}") from error
    with stream:
        if not _lock(stream, fcntl.LOCK_EX):
            pid = path.read_text().split("\n")[0]
            raise EmbeddedError(f"a tracker already runs in {settings.home} (pid {pid})")
        os.chown(path, account.uid, account.gid)
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n{url}\n")
        stream.flush()
        yield


def stop_tracker(settings: Settings) -> bool:
    """Stop the tracker that holds this home and wait for its end; False if none holds it."""
    path = settings.home / "lock"
    try:
        stream = path.open()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise EmbeddedError(f"TRACKER_HOME: cannot read {path}: {error.strerror}") from error
    with stream:
        if _lock(stream, fcntl.LOCK_SH):
            return False
        send_signal(int(path.read_text().split("\n")[0]), signal.SIGTERM)
        deadline = time.monotonic() + _STOP_TIMEOUT
        while not _lock(stream, fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"the tracker in {settings.home} does not stop")
            time.sleep(CHECK_INTERVAL)
    return True


def running_url(settings: Settings) -> str | None:
    """The API's address of the tracker that runs here: the demo's, with a notice, if alone."""
    if url := _locked_url(settings):
        return url
    url = _locked_url(demo_settings(settings))
    if url:
        sys.stderr.write("this is the demo's API: its prices are synthetic\n")
    return url


def _locked_url(settings: Settings) -> str | None:
    """The address that the holder of this home has written, if a tracker holds it."""
    try:
        with (settings.home / "lock").open() as stream:
            if _lock(stream, fcntl.LOCK_SH):
                return None
            return stream.read().partition("\n")[2].strip() or None
    except OSError:  # nothing runs here, or it is another user's
        return None


def _lock(stream: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def demo_settings(settings: Settings) -> Settings:
    """The demo's settings: a home and a database of its own, always on embedded servers.

    An archive is its own too: simulated prices must not get into that of the exchange's.
    """
    home = settings.home / "demo"
    return settings.changed(
        tracker_home=home,
        archive_dir=home / "archive" if settings.archive_dir else None,
        tracker_cache=settings.cache,
        postgres_host="",
        read_postgres_host="",
        direct_postgres_host="",
        postgres_db="tracker_demo",
        redis_host="",
        redis_sentinels=(),
        client_base_url=f"http://127.0.0.1:{settings.simulator_port}/api/v2",
    )
