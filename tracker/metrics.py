"""What the worker measures, for Prometheus; the API measures itself in web/metrics."""

from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram, start_http_server

POLLS = Counter("tracker_polls", "Polls by what came of them", ["ticker", "outcome"])
RETRIES = Counter("tracker_retries", "Calls of the exchange beyond a poll's first one")
LATENESS = Histogram(
    "tracker_poll_lateness_seconds",
    "From the start of a minute to the exchange's time of its price",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 60),
)
SKEW = Gauge("tracker_clock_skew_seconds", "How far the exchange's clock is ahead of ours")
REPAIRED = Counter("tracker_repaired_minutes", "Minutes filled from charts", ["ticker"])
OPEN_HOLES = Gauge(
    "tracker_open_holes", "Minutes of the last two days that a chart may still fill", ["ticker"]
)
LAST_TICK = Gauge("tracker_last_tick_timestamp_seconds", "When the scheduler last sent a tick")


def count_poll(ticker: str, outcome: str) -> None:
    """Count a poll: stored, present (the minute had a price), or the reason of a miss."""
    POLLS.labels(ticker, outcome).inc()


def observe_price(minute: datetime, observed_at: datetime) -> None:
    """Count how late in *minute* its price was observed; early counts as in time."""
    LATENESS.observe(max(0.0, (observed_at - minute).total_seconds()))


def serve(host: str, port: int) -> None:
    """Answer Prometheus on *port*, in the background, until the process ends."""
    start_http_server(port, host)
