"""Request ids, metrics for Prometheus, and the log of unexpected errors, around every request."""

import os
import re
import time
from collections.abc import Callable, Mapping
from math import nan

from loguru import logger
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker import __version__

Observe = Callable[[float], None]

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
# Seconds: a page takes 0.05 to 1 ms, and an alert counts requests that take over 1 s.
_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


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
            "HTTP requests",
            [*labels, "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "tracker_http_request_seconds",
            "Time to the end of the response",
            labels,
            registry=self.registry,
            buckets=_BUCKETS,
        )
        # Looking up a metric by its labels takes longer than counting.
        self._counted: dict[tuple[object, ...], tuple[Callable[[], None], Observe]] = {}
        self.database_up = Gauge(
            "tracker_database_up",
            "1 if the database responded to this scrape",
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
        self._unchanged = Gauge(
            "tracker_price_unchanged_seconds",
            "For how long the price has been the same, up to a day, from the database; not of pairs"
            " of one currency",
            ["ticker"],
            registry=self.registry,
        )
        self._vanished = Gauge(
            "tracker_index_vanished",
            "1 for a day after the exchange has stopped listing the index",
            ["ticker"],
            registry=self.registry,
        )
        self.backup_age = Gauge(
            "tracker_backup_age_seconds",
            "Seconds since the last complete backup; infinite without one, NaN if unknown",
            registry=self.registry,
        )
        Gauge(
            "tracker_build_info",
            "1; the label has the version",
            ["version"],
            registry=self.registry,
        ).labels(__version__).set(1)
        self.replica_lag = Gauge(
            "tracker_replica_lag_seconds",
            "Seconds that the replica is behind, at most; NaN without a replica, or if unknown",
            registry=self.registry,
        )
        self.replica_lag.set(nan)
        self.uncounted = Counter(
            "tracker_http_requests_uncounted",
            "Requests that RATE_LIMIT did not apply to, because Redis did not count them",
            registry=self.registry,
        )
        self.stream_clients = Gauge(
            "tracker_stream_clients",
            "Clients of the stream of prices",
            registry=self.registry,
        )
        self.stream_dropped = Counter(
            "tracker_stream_dropped",
            "Clients that were disconnected because they read too slowly",
            registry=self.registry,
        )
        self.feed_current = Gauge(
            "tracker_feed_current",
            "1 if this process has read every commit until some seconds ago",
            registry=self.registry,
        )

    def count(self, *, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = endpoint, method if method in _METHODS else "other", status
        if key not in self._counted:
            times = self._seconds.labels(*key[:2])
            self._counted[key] = self._requests.labels(*key).inc, times.observe
        count, observe = self._counted[key]
        count()
        observe(seconds)

    def show_indexes(
        self,
        ages: Mapping[str, float],
        missing: Mapping[str, int],
        unchanged: Mapping[str, float],
        vanished: Mapping[str, int],
    ) -> None:
        """Set the metrics of each index: seconds, minutes of the last hour, seconds, 0 or 1."""
        gauges: tuple[tuple[Gauge, Mapping[str, float]], ...] = (
            (self._age, ages),
            (self._missing, missing),
            (self._unchanged, unchanged),
            (self._vanished, vanished),
        )
        for gauge, values in gauges:
            gauge.clear()
            for ticker, value in values.items():
                gauge.labels(ticker).set(value)


class Instrumentation:
    """ASGI middleware that sets `scope["request_id"]` and X-Request-ID, and counts requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap *app*."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = _request_id(scope)
        started = time.perf_counter()
        status = 0  # no response was sent: the client has disconnected

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                header = (b"x-request-id", scope["request_id"].encode())
                message["headers"] = [*message["headers"], header]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:  # noqa: BLE001 -- only the server is outside
            logger.bind(request_id=scope["request_id"]).exception("a request failed")
        finally:
            # The endpoint whose method `handle` served it: a path would be a label for each typo.
            endpoint = getattr(scope.get("endpoint"), "__self__", None)
            self._metrics.count(
                endpoint=getattr(endpoint, "name", "none"),
                method=scope["method"],
                status=status,
                seconds=time.perf_counter() - started,
            )


def _request_id(scope: Scope) -> str:
    """The client's own id, if it is short and plain; a new one otherwise."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return os.urandom(16).hex()
