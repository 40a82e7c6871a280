"""One tracker a home: the second one says who the first is."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tracker.embedded.account import Account
from tracker.embedded.server import send_signal
from tracker.errors import EmbeddedError
from tracker.settings import Settings

_LONGEST_STOP = 20.0  # seconds; the supervisor itself kills what takes longer than 15


def stop_holder(settings: Settings) -> bool:
    """Stop the tracker that has this home, and wait until it is gone; False if none has it."""
    path = settings.home / "lock"
    try:
        stream = path.open()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise EmbeddedError(f"TRACKER_HOME: cannot read {path}: {error.strerror}") from error
    with stream:
        if _free(stream):
            return False
        send_signal(int(path.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + _LONGEST_STOP
        while not _free(stream):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"the tracker in {settings.home} does not stop")
            time.sleep(0.05)
    return True


def _free(stream: TextIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the home as long as the block. Raises EmbeddedError naming the process that has it."""
    account = Account.of(settings.home)
    account.settle(settings.home)
    path = settings.home / "lock"
    try:
        stream = path.open("a+")
    except OSError as error:
        raise EmbeddedError(f"TRACKER_HOME: cannot write {path}: {error.strerror}") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = path.read_text().strip()
            raise EmbeddedError(f"a tracker runs in {settings.home} already (pid {pid})") from None
        os.chown(path, account.uid, account.gid)
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield
