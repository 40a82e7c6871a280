"""The application: its routes, and what it opens."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from tracker.settings import Settings
from tracker.web import docs, gaps, health, prices, problems
from tracker.web.database import Database
from tracker.web.metrics import Metrics
from tracker.web.observe import Observed
from tracker.web.state import State
from tracker.web.tracked import Tracked

PATHS: dict[str, Callable[..., Any]] = {
    "/prices": prices.prices,
    "/prices/last": prices.last,
    "/prices/filtered": prices.filtered,
    "/prices/gaps": gaps.gaps,
    "/prices/coverage": gaps.coverage,
    "/health/live": health.live,
    "/health/ready": health.ready,
    "/metrics": health.metrics,
    "/openapi.json": docs.openapi,
    "/docs": docs.page,
    "/docs/{name}": docs.asset,
}


def create_app(settings: Settings) -> Observed:
    """A ready application; every path is served bare and under the API's version."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with Database.opened(settings.database_dsn) as database:
            yield {
                "settings": settings,
                "database": database,
                "metrics": metrics,
                "tracked": Tracked(settings.tickers),
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
    return Observed(app, metrics)
