"""The application: its routes, and what it opens."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

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
from tracker.web.middleware.keeping import Kept
from tracker.web.middleware.marking import Marked
from tracker.web.middleware.observe import Observed
from tracker.web.middleware.timely import Timely
from tracker.web.reading.database import Database
from tracker.web.reading.exports import Exports
from tracker.web.reading.pages import Pages
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

# What they answer comes from the prices of one index alone.
KEPT = ("/prices", "/prices/last", "/prices/filtered", "/prices/candles")


def create_app(settings: Settings, pace: Pace = DEFAULT_PACE, *, keeps: bool = True) -> Observed:
    """A ready application; every path is served bare and under the API's version.

    keeps: whether answers are kept in memory while nothing changes, for a second at most.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with (
            Database.opened(settings.read_dsn) as database,
            _primary(settings, database) as primary,
            Feed.opened(settings.direct_dsn, pace.kept) as feed,
        ):
            yield {
                "settings": settings,
                "database": database,
                "primary": primary,
                "metrics": metrics,
                "tracked": Tracked(settings.tickers),
                "streams": Streams(feed, primary, metrics, settings.stream_clients, pace),
                "exports": Exports(settings.read_dsn),
                "pages": Pages(database),
            }

    prefixes = (f"/{settings.api_version}", "")
    app = Starlette(
        routes=[
            Route(prefix + path, endpoint)
            for prefix in prefixes
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
    served: ASGIApp = Timely(Delivered(app))
    if keeps:
        served = Kept(served, {pre + path: PATHS[path] for pre in prefixes for path in KEPT})
    limited = _limited(served, settings, metrics)
    return Observed(Marked(limited, settings.allowed_origins), metrics)


def _limited(app: ASGIApp, settings: Settings, metrics: Metrics) -> ASGIApp:
    """*app*; where RATE_LIMIT says so, with a limit for each client."""
    if not settings.rate_limit:
        return app
    from tracker.web.middleware.limiting import Limited  # noqa: PLC0415 -- 10 MB that few need
    from tracker.web.middleware.quota import Quota  # noqa: PLC0415 -- the same

    return Limited(app, Quota(settings), settings.api_version, metrics)


@asynccontextmanager
async def _primary(settings: Settings, database: Database) -> AsyncIterator[Database]:
    """The database that is written; *database*, unless that is a replica."""
    if settings.read_dsn == settings.database_dsn:
        yield database
        return
    async with Database.opened(settings.database_dsn) as primary:
        yield primary
