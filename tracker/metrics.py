"""What the worker measures, for Prometheus; the API measures itself in web/metrics."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Lengths = Mapping[str, int]

OUTCOMES = (
    *("stored", "present"),
    *("exchange_unavailable", "rate_limited", "refused", "bad_answer", "too_late"),
)

POLLS = Counter("tracker_polls", "Polls by what came of them", ["ticker", "outcome"])
RETRIES = Counter("tracker_retries", "Calls of the exchange beyond a poll's first one")
LATENESS = Histogram(
    "tracker_poll_lateness_seconds",
    "From the start of a minute to the exchange's time of its price",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 60),
)
SKEW = Gauge("tracker_clock_skew_seconds", "How far the exchange's clock is ahead of ours")
REPAIRED = Counter("tracker_repaired_minutes", "Minutes filled from charts", ["ticker"])
REPAIR_FAILURES = Counter(
    "tracker_repair_failures", "Charts that the exchange did not give", ["ticker"]
)
OPEN_HOLES = Gauge(
    "tracker_open_holes", "Minutes of the last two days that a chart may still fill", ["ticker"]
)
LAST_TICK = Gauge("tracker_last_tick_timestamp_seconds", "When the scheduler last sent a tick")
DROPPED = Counter("tracker_dropped_minutes", "Prices that RETENTION dropped, of all indexes")
TIDY_FAILURES = Counter("tracker_tidy_failures", "Times that old prices could not be dropped")
REJECTED = Counter("tracker_messages_rejected", "Messages that failed for good, or are none")


class Queues(Collector):
    """What waits in the queue; asked for at each scrape, as only Redis knows."""

    def __init__(self) -> None:
        """Nothing to tell, until there is a queue to watch."""
        self._lengths: Callable[[], Lengths | None] | None = None

    def watch(self, lengths: Callable[[], Lengths | None]) -> None:
        """Ask *lengths*, from now on, how many messages each queue has; None: Redis is away."""
        self._lengths = lengths

    def collect(self) -> Iterator[Metric]:
        """For Prometheus: whether Redis answers, and how many messages are not done."""
        if self._lengths is None:
            return
        found = self._lengths()
        yield GaugeMetricFamily("tracker_queue_up", "1 if Redis answered", found is not None)
        help_text = "Messages not done: waiting, delayed or in work"
        messages = GaugeMetricFamily("tracker_queue_messages", help_text, labels=["queue"])
        for queue, length in (found or {}).items():
            messages.add_metric([queue], length)
        yield messages


QUEUES = Queues()
REGISTRY.register(QUEUES)


def begin(tickers: Iterable[str]) -> None:
    """Every counter of *tickers* at zero: a rate needs to see the step from there."""
    for ticker in tickers:
        for outcome in OUTCOMES:
            POLLS.labels(ticker, outcome)
        REPAIRED.labels(ticker)
        REPAIR_FAILURES.labels(ticker)


def count_poll(ticker: str, outcome: str) -> None:
    """Count a poll: stored, present (the minute had a price), or the reason of a miss."""
    POLLS.labels(ticker, outcome).inc()


def observe_price(minute: datetime, observed_at: datetime) -> None:
    """Count how late in *minute* its price was observed; early counts as in time."""
    LATENESS.observe(max(0.0, (observed_at - minute).total_seconds()))


def serve(host: str, port: int) -> None:
    """Answer Prometheus on *port*, in the background, until the process ends."""
    start_http_server(port, host)
