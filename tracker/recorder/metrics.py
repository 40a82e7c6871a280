"""What the worker measures, for Prometheus; the API has metrics of its own."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from tracker import __version__

OUTCOMES = (
    *("stored", "present"),
    *("exchange_unavailable", "rate_limited", "refused", "bad_answer", "too_late"),
)

POLLS = Counter("tracker_polls", "Polls by outcome", ["ticker", "outcome"])
RETRIES = Counter("tracker_retries", "Requests to the exchange after the first one of a poll")
LATENESS = Histogram(
    "tracker_poll_lateness_seconds",
    "From the start of a minute to the exchange's time of its price",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 60),
)
SKEW = Gauge("tracker_clock_skew_seconds", "How far the exchange's clock is ahead of ours")
REPAIRED = Counter("tracker_repaired_minutes", "Minutes filled from charts", ["ticker"])
REPAIR_FAILURES = Counter("tracker_repair_failures", "Failed requests for a chart", ["ticker"])
OPEN_HOLES = Gauge(
    "tracker_open_holes", "Minutes of the last two days that a chart may still fill", ["ticker"]
)
LOCKED = Gauge("tracker_index_locked", "1 if the exchange has locked the index", ["ticker"])
LAST_TICK = Gauge("tracker_last_tick_timestamp_seconds", "When the scheduler last sent a tick")
DROPPED = Counter("tracker_dropped_minutes", "Prices that RETENTION dropped, of all indexes")
RETENTION_FAILURES = Counter("tracker_tidy_failures", "Failed attempts to drop old prices")
ARCHIVE_FAILURES = Counter("tracker_archive_failures", "Failed attempts to write the archive")
REJECTED = Counter("tracker_messages_rejected", "Messages that failed for good or are undecodable")
BUILD_INFO = Gauge("tracker_build_info", "1; the label has the version", ["version"])
BUILD_INFO.labels(__version__).set(1)


def initialize(tickers: Iterable[str]) -> None:
    """Set every counter of *tickers* to zero: a rate does not see the first step of a counter."""
    for ticker in tickers:
        for outcome in OUTCOMES:
            POLLS.labels(ticker, outcome)
        REPAIRED.labels(ticker)
        REPAIR_FAILURES.labels(ticker)
        LOCKED.labels(ticker)


def remove(ticker: str) -> None:
    """Remove the metrics of *ticker*, which is not polled any more, else its polls seem to fail."""
    for outcome in OUTCOMES:
        POLLS.remove(ticker, outcome)
    for metric in (REPAIRED, REPAIR_FAILURES, OPEN_HOLES, LOCKED):
        metric.remove(ticker)
