"""The worker process: actors on threads, in one process.

Not dramatiq's own command: that forks, and can hang when it is signalled twice.
"""

import signal
from functools import partial
from threading import Thread

import dramatiq
import stamina
from dramatiq.middleware import Middleware
from loguru import logger

from tracker import actors, beats, deribit, metrics, retention
from tracker.broker import Broker, lengths
from tracker.connection import Database
from tracker.polling import Poller
from tracker.repair import Repairer
from tracker.settings import Settings

_STOPPING = {signal.SIGTERM, signal.SIGINT}
_MAX_CONNECTIONS = 10  # as many as the API has: threads of 200 indexes could take all of a server's
_GRACE = 4_000  # milliseconds for running polls to end, and again for the consumers


def run(settings: Settings) -> None:
    """Work until SIGTERM or Ctrl-C, then finish what is running and return.

    The signals are blocked and waited for: a second one cannot disturb the stop.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    if settings.worker_metrics_port:
        metrics.serve(settings.web_host, settings.worker_metrics_port)
    stamina.instrumentation.set_on_retry_hooks([])
    # Never closed: a poll that outlasts the grace must not record that as the exchange's fault.
    client = deribit.Client(settings.client_base_url)
    database = create_database(settings)
    poller = Poller(settings, client, database)
    worker = start(settings, database, poller, Repairer(settings, client, database))
    logger.info("polling {} from {}", ", ".join(settings.tickers), settings.client_base_url)
    Thread(target=poller.check_tickers, daemon=True).start()
    beats.keep_beating(database)
    signal.sigwait(_STOPPING)
    logger.info("stopping")
    worker.stop(timeout=_GRACE)


def create_database(settings: Settings) -> Database:
    """The worker's connections, of which one statement for all prices leaves most unused."""
    return Database(settings.database_dsn, _MAX_CONNECTIONS)


def start(
    settings: Settings, database: Database, poller: Poller, repairer: Repairer
) -> dramatiq.Worker:
    """A running worker, with a thread for each index and some for what is stored later.

    It opens *database*, and closes it when it stops.
    """
    broker = actors.create_broker(settings, Broker)
    broker.add_middleware(_OpenDatabase(database))
    actors.declare_tick(broker, settings.tickers)
    heartbeat = partial(beats.beat, database)
    apply_retention = partial(retention.apply_retention, settings, poller.fetch_time)
    actors.declare(broker, poller, repairer, heartbeat, apply_retention)
    metrics.begin(settings.tickers)
    metrics.QUEUES.watch(partial(lengths, broker))
    threads = len(settings.tickers) + deribit.AT_ONCE
    worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=250)
    worker.start()
    return worker


class _OpenDatabase(Middleware):
    """Keeps the connections open as long as the worker runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        """Open them; dramatiq names the parameters."""
        self._database.open()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        """Close them."""
        self._database.close()
