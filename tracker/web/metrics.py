"""What Prometheus reads of this process."""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

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

    def count(self, *, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        known = method if method in _METHODS else "other"
        self._requests.labels(endpoint, known, status).inc()
        self._seconds.labels(endpoint, known).observe(seconds)

    def show_ages(self, newest: Mapping[str, datetime | None] | None, now: datetime) -> None:
        """Set the age of each index's newest price; None if the database did not answer."""
        self._database_up.set(newest is not None)
        self._age.clear()
        for ticker, minute in (newest or {}).items():
            if minute is not None:
                self._age.labels(ticker).set((now - minute).total_seconds())
