"""The worker process: actors on threads, in one process.

Not dramatiq's own command: that forks, and can hang when it is signalled twice.
"""

import signal
from threading import Event

import dramatiq
from loguru import logger

from tracker import actors, deribit
from tracker.polling import Poller
from tracker.settings import Settings

_THREADS = deribit.AT_ONCE + 1  # one more, so that a slow exchange does not keep ticks waiting
_GRACE = 5_000  # milliseconds for running polls to end, and again for the consumers


def run(settings: Settings) -> None:
    """Work until SIGTERM or Ctrl-C, then finish what is running and return."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    broker, poller = actors.create_broker(settings), Poller(settings)
    actors.declare(broker, settings, poller)
    with poller.opened():
        worker = dramatiq.Worker(broker, worker_threads=_THREADS, worker_timeout=250)
        worker.start()
        logger.info("polling {} from {}", ", ".join(settings.tickers), settings.client_base_url)
        poller.check_tickers()
        stop.wait()
        logger.info("stopping")
        worker.stop(timeout=_GRACE)
    broker.close()
