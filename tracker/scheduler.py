"""The scheduler process: periodiq, which sends a tick at the start of each minute.

Run one; a second one only sends each tick twice, which changes nothing.
"""

import signal
import sys

from loguru import logger
from periodiq import Scheduler
from redis.exceptions import RedisError

from tracker import actors
from tracker.broker import told
from tracker.settings import Settings


def run(settings: Settings) -> None:
    """Tick for ever, the present minute first; exits 1 if Redis is away at a tick.

    periodiq keeps no state and does not retry: whoever runs this starts it again.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    broker = actors.create_broker(settings)
    scheduler = Scheduler([actors.declare_tick(broker, settings.tickers)])
    try:
        scheduler.schedule()
        scheduler.loop()
    except RedisError as error:
        logger.error("the tick could not be sent: {}", told(error))
        sys.exit(1)
