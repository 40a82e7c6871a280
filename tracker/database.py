"""PostgreSQL for blocking code: pooled connections, and a deadline for each response."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import psycopg
from psycopg import OperationalError
from psycopg.abc import PQGen
from psycopg_pool import ConnectionPool, PoolTimeout

from tracker.errors import DatabaseDown, describe

# What our statements rely on, whatever the database or the role has set: names without a schema,
# text in UTF-8, and values as PostgreSQL writes them by default. GMT is UTC without zone files.
SESSION = " ".join(
    f"-c {option}"
    for option in (
        "search_path=public",
        "client_encoding=UTF8",
        "timezone=GMT",
        "datestyle=ISO",
        "intervalstyle=postgres",
        "extra_float_digits=1",
        "standard_conforming_strings=on",
        r"default_transaction_isolation=read\ committed",
        "default_transaction_read_only=off",
        "lock_timeout=0",
        "idle_in_transaction_session_timeout=0",
    )
)

P = ParamSpec("P")
T = TypeVar("T")

_MIN_CONNECTIONS = 2  # for prices, and for heartbeats and repair
_MAX_IDLE = 60.0  # seconds, for connections that an outage or a lock made necessary
_CLOSE_TIMEOUT = 0.5  # seconds for each attempt to connect that is under way
_CHECK_INTERVAL = 0.1  # seconds between two looks for a failed attempt to connect


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines, in seconds.

    connect: for a new connection, and for a free one of the pool.
    statement: the server cancels a statement after that time.
    response: the client closes a connection whose server has not responded to a statement by then.
    """

    connect: int = 5
    statement: float = 5.0
    response: float = 8.0


DEFAULT_TIMEOUTS = Timeouts()


class _Connection(psycopg.Connection):
    """A connection that is closed when its server does not respond in time.

    A stopped server does not respond to a cancel request either, and TCP does not notice it.
    """

    response_timeout = math.inf  # seconds
    timed_out = False

    @classmethod
    def connect(cls, *args: Any, **options: Any) -> Self:
        """As psycopg's, with two more options: response_timeout, and on_failure(error)."""
        response_timeout = options.pop("response_timeout")
        on_failure = options.pop("on_failure", None)
        try:
            conn = super().connect(*args, **options)
        except OperationalError as error:
            if on_failure:
                on_failure(error)
            raise
        conn.response_timeout = response_timeout
        return conn

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's. Raises OperationalError after *response_timeout*, and closes then."""
        timeout = self.response_timeout if timeout is None else timeout
        deadline = monotonic() + timeout
        try:
            return super().wait(gen, interval, timeout)
        except OperationalError:
            if monotonic() < deadline:
                raise
            self.timed_out = True
            self.close()
            raise OperationalError("the server does not respond") from None


class Database:
    """A pool of connections for threads, open within its `with` block.

    It opens while the server is unavailable too, and survives the server's restarts.
    """

    def __init__(
        self, dsn: str, max_connections: int, timeouts: Timeouts = DEFAULT_TIMEOUTS
    ) -> None:
        """A pool of at most *max_connections*, not open yet."""
        self._timeouts = timeouts
        self._failure, self._failed_at = "", -math.inf  # of the newest attempt to connect
        self._pool = ConnectionPool(
            dsn,
            connection_class=_Connection,
            kwargs={**_options(timeouts), "on_failure": self._note_failure},
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
        """Begin to connect, in the background."""
        self._pool.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections; one in use closes when it is returned."""
        self._pool.close(_CLOSE_TIMEOUT)

    def run(
        self,
        work: Callable[Concatenate[psycopg.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return `work(conn, ...)`, which must be idempotent: it runs again on a lost connection.

        Raises DatabaseDown for an unavailable or unresponsive server, for a pool that is exhausted
        for the connect timeout, and for any other error that a later attempt may fix.
        """
        give_up_at = monotonic() + self._timeouts.connect
        with _translate_errors():
            while True:
                conn = self._get_connection(give_up_at)
                try:
                    return work(conn, *args, **kwargs)
                except OperationalError:
                    # After a restart of the server each pooled connection fails once.
                    if conn.timed_out or not conn.closed:
                        raise
                finally:
                    self._pool.putconn(conn)

    def _get_connection(self, give_up_at: float) -> _Connection:
        """A connection. Raises OperationalError at *give_up_at*, or when connecting fails.

        The pool itself would let each caller wait until then, and not tell the reason.
        """
        started = monotonic()
        while True:
            try:
                return self._pool.getconn(timeout=_CHECK_INTERVAL)
            except PoolTimeout:
                if self._failed_at > started:
                    raise OperationalError(self._failure) from None
                if monotonic() > give_up_at:
                    message = f"no free connection in {self._timeouts.connect} s"
                    raise OperationalError(message) from None

    def _note_failure(self, error: OperationalError) -> None:
        self._failure, self._failed_at = describe(error), monotonic()


@contextmanager
def connect(dsn: str, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> Iterator[psycopg.Connection]:
    """A single connection, for commands and for long statements.

    Raises DatabaseDown, within the block too, for an error that a later attempt may fix.
    """
    with _translate_errors(), _Connection.connect(dsn, **_options(timeouts)) as conn:
        yield conn


def _options(timeouts: Timeouts) -> dict[str, Any]:
    return {
        "autocommit": True,
        "connect_timeout": timeouts.connect,
        "application_name": "tracker-worker",
        "options": f"{SESSION} -c statement_timeout={timeouts.statement:.0f}s",
        "response_timeout": timeouts.response,
    }


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise DatabaseDown, in one line, for an error that a later attempt may fix."""
    try:
        yield
    except (OperationalError, psycopg.ProgrammingError, psycopg.InternalError) as error:
        raise DatabaseDown(describe(error)) from error
