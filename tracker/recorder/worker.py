"""The worker process: actors that poll, store, repair and drop prices, on threads.

A message may come twice, late or out of order: the minute in it decides what it may do. dramatiq's
own command is not used, because it forks, and can hang when it is signalled twice.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, ParamSpec

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import Retry
from loguru import logger
from prometheus_client import start_http_server

from tracker import migrations, queries
from tracker.archive import update_archive
from tracker.database import Database, Timeouts, connect
from tracker.errors import (
    ArchiveError,
    DatabaseDown,
    ExchangeError,
    SettingsError,
    TrackerError,
    UnknownSchema,
    WrongClock,
    describe,
)
from tracker.models import Quote
from tracker.recorder import metrics
from tracker.recorder.broker import (
    LATER,
    MAX_BACKOFF,
    QUEUE_METRICS,
    FailureNotes,
    ResilientBroker,
    create_broker,
    declare_tick,
)
from tracker.recorder.deribit import MAX_CONCURRENT_REQUESTS, DeribitClient
from tracker.recorder.indexes import PolledIndexes
from tracker.recorder.poll import Poller
from tracker.recorder.repair import Repairer
from tracker.recorder.retention import apply_retention
from tracker.settings import Settings
from tracker.times import MINUTE, Clock, StepDetector
from tracker.watchdog import WATCHDOG_INTERVAL, Watchdog

P = ParamSpec("P")

MAX_POLL_THREADS = 400  # Deribit has about 200 indexes; Compose's pids_limit must allow for them
MAX_CONNECTIONS = 10  # as the API; one statement for all prices leaves most of them unused

_STOP_TIMEOUT = 4_000  # milliseconds for running polls, and again for the consumers
_HEARTBEAT_INTERVAL = 15.0  # seconds
_START_TIMEOUTS = Timeouts(connect=2, statement=2, response=2)  # an outage must not delay polls
_STATUS_INTERVAL = 60.0  # seconds between two calls of public/status
_MAX_STEP = timedelta(minutes=1)  # of the clock, backwards, without a restart


def run_worker(settings: Settings) -> None:
    """Work until SIGTERM or Ctrl-C, then finish what is running and return.

    The handler only notes a signal: a second one cannot disturb the stop. After the same stop this
    raises UnknownSchema as soon as another version has migrated the database, because the queue
    keeps for that version what this one must not store; and WrongClock after this machine's clock
    was set back. Its supervisor restarts it.
    """
    # Signals, and errors of this process. A handler may put into no other queue.
    ends: SimpleQueue[int | TrackerError] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: ends.put(number))
    detector = StepDetector(Clock())
    with suppress(DatabaseDown), connect(settings.database_dsn, _START_TIMEOUTS) as conn:
        migrations.require_known(conn)
    if settings.worker_metrics_port:
        _serve_metrics(settings.web_host, settings.worker_metrics_port)
    # Never closed: a poll that outlasts the stop must not record that as the exchange's fault.
    client = DeribitClient(settings.client_base_url, testnet=settings.testnet)
    broker = create_broker(settings, ResilientBroker)
    with Database(settings.database_dsn, MAX_CONNECTIONS) as database:
        indexes = PolledIndexes(settings.tickers, client, database)
        worker = start_worker(settings, broker, client, database, Clock(), indexes=indexes)
        logger.info(
            "polling {} from {}", ", ".join(indexes) or "no index yet", settings.client_base_url
        )
        Thread(target=_send_heartbeats, args=[database, ends], daemon=True).start()
        Thread(
            target=_watch_exchange, args=[client, database, indexes, worker], daemon=True
        ).start()
        watchdog = Watchdog()
        while True:
            watchdog.send_heartbeat()
            # sigtimedwait would report a signal after SIGCONT: CPython's signalmodule.c, EINTR.
            with suppress(Empty):
                end = ends.get(timeout=WATCHDOG_INTERVAL)
                break
            _check_clock(detector, ends)
        logger.info("stopping")
        watchdog.announce_stop()
        worker.stop(timeout=_STOP_TIMEOUT)
    if isinstance(end, TrackerError):
        raise end


def _serve_metrics(host: str, port: int) -> None:
    """Serve Prometheus' metrics. Raises SettingsError if the port cannot be used."""
    try:
        start_http_server(port, host)
    except OSError as error:
        why = error.strerror or describe(error)
        raise SettingsError(
            f"WORKER_METRICS_PORT: cannot listen on port {port} of {host}: {why}"
        ) from error


def start_worker(
    settings: Settings,
    broker: RedisBroker,
    client: DeribitClient,
    database: Database,
    clock: Clock,
    *,
    indexes: PolledIndexes,
) -> dramatiq.Worker:
    """A running worker, with a thread for each of *indexes* and some for work that may wait."""
    declare_tick(broker, indexes)
    declare_actors(settings, broker, client, database, clock, indexes=indexes)
    declare_archive(settings, broker)
    QUEUE_METRICS.broker = broker
    worker = dramatiq.Worker(broker, worker_threads=_count_threads(indexes), worker_timeout=250)
    worker.start()
    return worker


def _count_threads(indexes: PolledIndexes) -> int:
    """A poll of an unresponsive exchange keeps its thread until its minute ends.

    With fewer threads the other polls would only record that their minute is over.
    """
    return min(len(indexes), MAX_POLL_THREADS) + MAX_CONCURRENT_REQUESTS


def declare_actors(
    settings: Settings,
    broker: RedisBroker,
    client: DeribitClient,
    database: Database,
    clock: Clock,
    *,
    indexes: PolledIndexes,
) -> None:
    """Declare the actors of the worker alone. Their times are in ISO 8601."""
    poller = Poller(client, database, clock)
    repairer = Repairer(indexes, client, database)
    notes = FailureNotes(broker.client)
    retried: dict[str, Any] = {
        "queue_name": LATER,
        "priority": 1,
        "retry_when": lambda _, error: isinstance(error, Retry),
        "min_backoff": 1_000,  # milliseconds
        "max_backoff": MAX_BACKOFF,
    }

    @dramatiq.actor(broker=broker, max_retries=0)
    def poll(ticker: str, minute: str) -> None:
        """Poll one index; its failure affects no other."""
        with logger.contextualize(ticker=ticker, minute=minute):
            moment = datetime.fromisoformat(minute)
            try:
                quote = poller.fetch(ticker, moment, partial(notes.write, ticker, minute))
            except ExchangeError as error:
                logger.warning("poll failed: {}", error)
                with _skipped_if_clock_is_wrong():
                    confirmed = poller.confirm_minute(moment)
                    reason, code, attempts = notes.first_failure(ticker, minute, error)
                    _run_or_send(miss, ticker, minute, reason, code, attempts, confirmed=confirmed)
            else:
                poller.discard_misses(quote)
                observed_at = quote.observed_at.isoformat()
                _run_or_send(store, ticker, minute, f"{quote.price:f}", observed_at)

    @dramatiq.actor(broker=broker, **retried)
    def store(ticker: str, minute: str, price: str, observed_at: str) -> None:
        """Store a price of its minute, also long after it."""
        moment = datetime.fromisoformat(observed_at)
        quote = Quote(ticker=ticker, price=Decimal(price), observed_at=moment)
        with _retried_later(), logger.contextualize(ticker=ticker, minute=minute, price=price):
            new = poller.store(quote, datetime.fromisoformat(minute))
            logger.info("stored" if new else "the minute has a price already")

    @dramatiq.actor(broker=broker, **retried)
    def miss(
        ticker: str,
        minute: str,
        reason: str,
        code: int | None,
        attempts: int,
        *,
        confirmed: bool = True,
    ) -> None:
        """Record a minute that could not be polled, also long after it.

        Messages of earlier versions lack *confirmed*.
        """
        moment = datetime.fromisoformat(minute)
        with _retried_later():
            poller.record_miss(
                ticker, moment, reason, code=code, attempts=attempts, confirmed=confirmed
            )

    @dramatiq.actor(broker=broker, queue_name=LATER, max_retries=0)
    def repair(minute: str) -> None:
        """Fill missing minutes from charts; a late message leaves that to the next tick."""
        now = clock.now()
        if now - datetime.fromisoformat(minute) < 2 * MINUTE:
            with suppress(DatabaseDown):
                repairer.repair(now)

    @dramatiq.actor(broker=broker, actor_name="heard", queue_name=LATER, max_retries=0)
    def record_scheduler_heartbeat(sent_at: str) -> None:
        """Record when the scheduler sent a tick; a clock ahead of ours counts as now."""
        age = max(clock.now() - datetime.fromisoformat(sent_at), timedelta())
        with suppress(DatabaseDown):
            database.run(queries.record_heartbeat, "scheduler", age)

    @dramatiq.actor(broker=broker, actor_name="tidy", queue_name=LATER, max_retries=0)
    def drop_old_prices() -> None:
        """Apply the retention, also if this message is late."""
        apply_retention(settings, clock.now(), client.fetch_time)


def declare_archive(settings: Settings, broker: RedisBroker) -> None:
    """Declare the actor that keeps the archive."""

    @dramatiq.actor(broker=broker, queue_name=LATER, max_retries=0)
    def archive() -> None:
        """Write the months that have changed to ARCHIVE_DIR, also if this message is late."""
        if settings.archive_dir is None:
            return
        try:
            tally = update_archive(settings.database_dsn, settings.archive_dir)
        except (ArchiveError, DatabaseDown) as error:
            metrics.ARCHIVE_FAILURES.inc()
            logger.warning("the archive is not current until the next hour: {}", error)
        else:
            bound = logger.bind(files=tally.files, rows=tally.rows)
            bound.info("archived {:,} prices in {:,} files", tally.rows, tally.files)


def _run_or_send(actor: dramatiq.Actor[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run *actor* here; while the database is unavailable, send it to the queue."""
    try:
        actor(*args, **kwargs)
    except Retry as error:
        logger.warning("database unavailable, {} is queued: {}", actor.actor_name, error)
        actor.send(*args, **kwargs)


@contextmanager
def _skipped_if_clock_is_wrong() -> Iterator[None]:
    """Log that a minute is not recorded as missed, because a clock is wrong."""
    try:
        yield
    except WrongClock as error:
        logger.warning("not recorded as missed: {}", error)


@contextmanager
def _retried_later() -> Iterator[None]:
    """Raise dramatiq's Retry, which logs no traceback, while the database is unavailable."""
    try:
        yield
    except DatabaseDown as error:
        raise Retry(str(error)) from error


def _check_clock(detector: StepDetector, ends: SimpleQueue[int | TrackerError]) -> None:
    """Log that this machine's clock was set; end the process after it was set back.

    Messages that wait in memory for a time that was ahead would otherwise wait for it again.
    """
    step = detector.measure_step()
    if step < -_MAX_STEP:
        why = f"this machine's clock was set back by {-step}: the worker must be restarted"
        ends.put(WrongClock(why))
    elif step > _MAX_STEP:
        logger.warning("this machine's clock was set forward, or it was paused, by {}", step)


def _watch_exchange(
    client: DeribitClient, database: Database, indexes: PolledIndexes, worker: dramatiq.Worker
) -> None:
    """Read which indexes the exchange has, hourly, and which of them are locked, each minute."""
    locked: set[str] = set()
    refresh_at = 0.0  # on the monotonic clock
    while True:
        with _logged("the names of the indexes could not be checked"):
            if time.monotonic() >= refresh_at:
                refresh_at = time.monotonic() + indexes.refresh()
                while len(worker.workers) < _count_threads(indexes):
                    worker._add_worker()  # noqa: SLF001 -- as its start does; nothing else can
        failure = "the status of the exchange was not recorded"
        with _logged(failure), suppress(ExchangeError, DatabaseDown):
            tickers = list(indexes)
            before, locked = locked, client.fetch_locked(tickers)
            for ticker in tickers:
                metrics.LOCKED.labels(ticker).set(ticker in locked)
            for ticker in sorted(locked - before):
                logger.warning("the exchange has locked {}: its price does not change", ticker)
            for ticker in sorted(before - locked):
                logger.info("the exchange has unlocked {}", ticker)
            database.run(queries.record_heartbeat, "exchange", locked=locked)
        time.sleep(_STATUS_INTERVAL)


def _send_heartbeats(database: Database, ends: SimpleQueue[int | TrackerError]) -> None:
    """Record that the worker is alive, until the process ends, or refuse the schema."""
    while True:
        try:
            with _logged("the worker's heartbeat failed"), suppress(DatabaseDown):
                database.run(queries.record_heartbeat, "worker")
                database.run(migrations.require_known)
        except UnknownSchema as error:
            ends.put(error)
            return
        time.sleep(_HEARTBEAT_INTERVAL)


@contextmanager
def _logged(failure: str) -> Iterator[None]:
    """Log an unexpected error, such as no file descriptor: nothing restarts a thread that ends."""
    try:
        yield
    except TrackerError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever it is, the thread goes on
        logger.warning("{}: {}", failure, describe(error))
