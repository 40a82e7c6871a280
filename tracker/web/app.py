"""The application: its routes, and what it opens."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from tracker.settings import Settings
from tracker.web import docs
from tracker.web.answer import problems
from tracker.web.endpoints import (
    candles,
    condition,
    export,
    gaps,
    guide,
    health,
    prices,
    site,
    stream,
    tickers,
    udf,
)
from tracker.web.live.feed import Feed
from tracker.web.live.streams import DEFAULT_PACE, Pace, Streams
from tracker.web.metrics import Metrics
from tracker.web.middleware.delivery import Delivered
from tracker.web.middleware.observe import Observed
from tracker.web.middleware.sharing import Shared
from tracker.web.reading.database import Database
from tracker.web.reading.exports import Exports
from tracker.web.reading.tracked import Tracked
from tracker.web.state import State

PATHS: dict[str, Callable[..., Any]] = {
    "/prices": prices.prices,
    "/prices/last": prices.last,
    "/prices/filtered": prices.filtered,
    "/prices/gaps": gaps.gaps,
    "/prices/candles": candles.candles,
    "/prices/coverage": gaps.coverage,
    "/prices/export": export.export,
    "/prices/stream": stream.stream,
    "/tickers": tickers.tickers,
    "/udf/config": udf.udf_config,
    "/udf/symbols": udf.udf_symbols,
    "/udf/search": udf.udf_search,
    "/udf/history": udf.udf_history,
    "/udf/time": udf.udf_time,
    "/health/live": health.live,
    "/health/ready": health.ready,
    "/health/state": condition.condition,
    "/metrics": health.metrics,
    "/openapi.json": docs.openapi,
    "/docs": site.docs,
    "/problems": guide.problems,
    "/": site.page,
    "/page/{name}": site.file,
}


def create_app(settings: Settings, pace: Pace = DEFAULT_PACE) -> Observed:
    """A ready application; every path is served bare and under the API's version."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        dsn = settings.database_dsn
        async with Database.opened(dsn) as database, Feed.opened(dsn, pace.kept) as feed:
            yield {
                "settings": settings,
                "database": database,
                "metrics": metrics,
                "tracked": Tracked(settings.tickers),
                "streams": Streams(feed, database, metrics, settings.stream_clients, pace),
                "exports": Exports(dsn),
            }

    app = Starlette(
        routes=[
            Route(prefix + path, endpoint)
            for prefix in ("", f"/{settings.api_version}")
            for path, endpoint in PATHS.items()
        ],
        lifespan=lifespan,
        exception_handlers={
            Exception: problems.fail,
            HTTPException: problems.refuse_route,
            **dict.fromkeys(problems.STATUS, problems.refuse),
        },
    )
    app.router.redirect_slashes = False
    return Observed(Shared(Delivered(app), settings.allowed_origins), metrics)
