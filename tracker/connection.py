"""The database as the worker sees it: pooled connections, and a deadline for all work on them."""

import logging
import math
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Self, TypeVar

import psycopg
from psycopg import OperationalError
from psycopg.abc import PQGen
from psycopg_pool import ConnectionPool, PoolTimeout

from tracker.errors import DatabaseDown, describe

T = TypeVar("T")
Report = Callable[[OperationalError], None]

CONNECT_TIMEOUT = 5  # seconds, for a pooled connection as for a new one
STATEMENT_TIMEOUT = 5.0  # seconds, if the server runs at all
SPARE_TIME = 3.0  # seconds more, and the connection is closed

_MIN_CONNECTIONS = 2  # for prices, and for heartbeats and repair
_MAX_IDLE = 60.0  # seconds, for those that an outage or a lock made necessary
_CLOSE_TIMEOUT = 0.5  # seconds for each attempt to connect that is under way
_CHECK_INTERVAL = 0.1  # seconds after which a caller that waits looks for a failed attempt


class _Connection(psycopg.Connection):
    """A connection whose work ends at a deadline, whatever state the server is in.

    No thread watches it: psycopg's own loop comes by ten times a second.
    """

    deadline = math.inf  # on the monotonic clock

    @classmethod
    def connect(cls, *args: Any, **options: Any) -> Self:
        """As psycopg's; the option *report* is called with the error if that fails."""
        report: Report | None = options.pop("report", None)
        try:
            return super().connect(*args, **options)
        except OperationalError as error:
            if report:
                report(error)
            raise

    @property
    def overdue(self) -> bool:
        """Whether the deadline has passed."""
        return monotonic() > self.deadline

    def wait(self, gen: PQGen[T], *limits: Any, **options: Any) -> T:
        """As psycopg's. Raises OperationalError at the deadline; the connection is of no use then.

        To cancel the statement would not help: a stopped server does not respond to that either.
        """
        return super().wait(_bounded(gen, self.deadline), *limits, **options)


def _bounded(gen: PQGen[T], deadline: float) -> Generator[Any, Any, T]:
    try:
        state = next(gen)
        while True:
            ready = yield state
            if monotonic() > deadline:
                raise OperationalError("the server does not respond")
            state = gen.send(ready)
    except StopIteration as stop:
        result: T = stop.value
        return result


class Database:
    """A pool of connections for the worker's threads, open as long as the worker runs.

    It opens whether or not the server is available, and outlives the server's restarts.
    """

    def __init__(self, dsn: str, max_connections: int) -> None:
        """A pool of at most *max_connections*, not open yet."""
        self._failures = 0
        self._failure = ""
        self._pool = ConnectionPool(
            dsn,
            connection_class=_Connection,
            kwargs={**_options(STATEMENT_TIMEOUT), "report": self._note_failure},
            open=False,
            min_size=min(_MIN_CONNECTIONS, max_connections),
            max_size=max_connections,
            max_idle=_MAX_IDLE,
            reconnect_timeout=0,  # the next caller tries again
            num_workers=2,
        )
        # Every caller logs the reason itself.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Begin to connect, in the background."""
        self._pool.open()

    def close(self) -> None:
        """Close all connections; one in use closes when it is returned."""
        self._pool.close(_CLOSE_TIMEOUT)

    def run(self, work: Callable[[psycopg.Connection], T]) -> T:
        """The result of *work*, which must be idempotent: it runs again if it loses a connection.

        Raises DatabaseDown if it has no connection within CONNECT_TIMEOUT or cannot get one, no
        result within STATEMENT_TIMEOUT, or for anything else that a later attempt may fix.
        """
        until = monotonic() + CONNECT_TIMEOUT
        with _translated():
            while True:
                conn = self._checkout(until)
                try:
                    with _bounded_work(conn, STATEMENT_TIMEOUT):
                        return work(conn)
                except OperationalError:
                    # After a restart of the server each pooled connection fails once.
                    if conn.overdue or not conn.closed:
                        raise
                finally:
                    self._pool.putconn(conn)

    def _checkout(self, until: float) -> _Connection:
        """A connection. Raises OperationalError at *until*, or once a new one cannot be made.

        The pool itself would make each caller wait for the whole time, and not give the reason.
        """
        failures = self._failures
        while True:
            try:
                return self._pool.getconn(timeout=_CHECK_INTERVAL)
            except PoolTimeout:
                if self._failures > failures:
                    raise OperationalError(self._failure) from None
                if monotonic() > until:
                    raise OperationalError(f"no connection in {CONNECT_TIMEOUT} s") from None

    def _note_failure(self, error: OperationalError) -> None:
        self._failure = describe(error)
        self._failures += 1


@contextmanager
def connected(dsn: str, seconds: float = STATEMENT_TIMEOUT) -> Iterator[psycopg.Connection]:
    """A connection of its own, for commands and for work that may take *seconds*.

    Raises DatabaseDown for what a later attempt may fix.
    """
    with (
        _translated(),
        _Connection.connect(dsn, **_options(seconds)) as conn,
        _bounded_work(conn, seconds),
    ):
        yield conn


def _options(seconds: float) -> dict[str, Any]:
    return {
        "autocommit": True,
        "connect_timeout": CONNECT_TIMEOUT,
        "application_name": "tracker-worker",
        "options": f"-c statement_timeout={seconds:.0f}s -c timezone=UTC",
    }


@contextmanager
def _bounded_work(conn: _Connection, seconds: float) -> Iterator[None]:
    """Bound the block to *seconds* and SPARE_TIME; what lasts longer closes *conn*."""
    conn.deadline = monotonic() + seconds + SPARE_TIME
    try:
        yield
    except OperationalError:
        if conn.overdue:
            conn.close()
        raise


@contextmanager
def _translated() -> Iterator[None]:
    """Raises DatabaseDown, in one line, for what a later attempt may fix."""
    try:
        yield
    except (OperationalError, psycopg.ProgrammingError, psycopg.InternalError) as error:
        raise DatabaseDown(describe(error)) from error
