"""The metrics of the web process, for Prometheus."""

from collections.abc import Callable, Mapping
from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

Observe = Callable[[float], None]

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        """Every metric, at zero."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        labels = ["endpoint", "method"]
        self._requests = Counter(
            "tracker_http_requests",
            "HTTP requests answered",
            [*labels, "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "tracker_http_request_seconds",
            "Time to the end of the answer",
            labels,
            registry=self.registry,
        )
        # To look a metric up by its labels takes longer than to count.
        self._counted: dict[tuple[object, ...], tuple[Callable[[], None], Observe]] = {}
        self._database_up = Gauge(
            "tracker_database_up",
            "1 if the database answered this scrape",
            registry=self.registry,
        )
        self._age = Gauge(
            "tracker_price_age_seconds",
            "Seconds since the minute of the newest price, from the database",
            ["ticker"],
            registry=self.registry,
        )

        self._missing = Gauge(
            "tracker_missing_minutes",
            "Minutes of the last hour without a price, from the database",
            ["ticker"],
            registry=self.registry,
        )

        self._replica_lag = Gauge(
            "tracker_replica_lag_seconds",
            "Seconds that the replica is behind, at most; NaN if there is none or it cannot know",
            registry=self.registry,
        )
        self._replica_lag.set(nan)
        self._uncounted = Counter(
            "tracker_http_requests_uncounted",
            "Requests that RATE_LIMIT did not hold for, as Redis did not count them",
            registry=self.registry,
        )
        self._streams = Gauge(
            "tracker_stream_clients",
            "Clients that follow the stream of prices",
            registry=self.registry,
        )
        self._dropped = Counter(
            "tracker_stream_dropped",
            "Clients that were dropped because they read too slowly",
            registry=self.registry,
        )
        self._feed_current = Gauge(
            "tracker_feed_current",
            "1 if every commit until some seconds ago is known to this process",
            registry=self.registry,
        )

    def count_unlimited(self) -> None:
        """Count a request that no limit held for."""
        self._uncounted.inc()

    def count(self, *, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        kind = endpoint, method if method in _METHODS else "other", status
        if kind not in self._counted:
            times = self._seconds.labels(*kind[:2])
            self._counted[kind] = self._requests.labels(*kind).inc, times.observe
        count, observe = self._counted[kind]
        count()
        observe(seconds)

    def show_streams(self, clients: int) -> None:
        """Set how many clients follow the stream."""
        self._streams.set(clients)

    def count_dropped(self) -> None:
        """Count a client that did not keep up."""
        self._dropped.inc()

    def show_feed(self, *, current: bool) -> None:
        """Set whether the feed knows of every commit."""
        self._feed_current.set(current)

    def show_replica(self, lag: float | None) -> None:
        """Set how many seconds the replica is behind; None: nobody knows."""
        self._replica_lag.set(nan if lag is None else lag)

    def show_database(self, *, up: bool) -> None:
        """Set whether the database responded."""
        self._database_up.set(up)

    def show_indexes(self, ages: Mapping[str, float], missing: Mapping[str, int]) -> None:
        """Set, by index, how old the newest price is and how many minutes have none."""
        for gauge, values in ((self._age, ages), (self._missing, missing)):
            gauge.clear()
            for ticker, value in values.items():
                gauge.labels(ticker).set(value)
