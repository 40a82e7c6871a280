"""The application: its endpoints, its middleware, and what it opens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tracker.settings import Settings
from tracker.web import (
    candles,
    export,
    gaps,
    health,
    openapi,
    price_stream,
    prices,
    problems,
    site,
    snapshots,
    stats,
    tickers,
    udf,
)
from tracker.web.batching import PageBatcher
from tracker.web.cache import ResponseCache
from tracker.web.database import Database
from tracker.web.endpoint import AnyEndpoint, AppRequest, State, TrackedTickers, endpoint
from tracker.web.instrumentation import Instrumentation, Metrics
from tracker.web.params import NoQuery, Schema
from tracker.web.queue_probe import QueueProbe
from tracker.web.responses import json_response
from tracker.web.security import SecurityHeaders
from tracker.web.stream.feed import Feed
from tracker.web.stream.responses import DEFAULT_OPTIONS, StreamOptions, Streams


@endpoint("/openapi.json", "openapi")
async def get_openapi(request: AppRequest, _query: NoQuery) -> Response:
    """The OpenAPI document."""
    version = request.state["settings"].api_version
    versioned = request.scope["path"].endswith(f"/{version}/openapi.json")
    # Relative to this document, because a proxy may add a prefix.
    servers = (".", "..") if versioned else (version, ".")
    return json_response(_document(servers))


@cache
def _document(servers: tuple[str, ...]) -> Schema:
    return openapi.document(ENDPOINTS, servers)


ENDPOINTS: tuple[AnyEndpoint, ...] = (
    prices.list_prices,
    prices.get_last_price,
    prices.get_filtered_price,
    snapshots.list_latest_prices,
    snapshots.list_prices_at,
    export.export_prices,
    price_stream.stream_prices,
    candles.list_candles,
    stats.get_statistics,
    gaps.list_gaps,
    gaps.list_coverage,
    tickers.list_tickers,
    udf.get_udf_config,
    udf.get_udf_symbol,
    udf.search_udf_symbols,
    udf.get_udf_history,
    udf.get_udf_time,
    health.get_liveness,
    health.get_readiness,
    health.get_state,
    health.get_metrics,
    get_openapi,
    site.get_docs,
    site.get_problems,
    site.get_page,
    site.get_file,
)


def create_app(
    settings: Settings, stream_options: StreamOptions = DEFAULT_OPTIONS, *, cache: bool = True
) -> ASGIApp:
    """The application; every path is served bare and under the API's version.

    All of them also under WEB_ROOT_PATH, which some proxies remove from requests and others do not.

    cache: whether concurrent requests may share a response.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with (
            Database.opened(settings.read_dsn) as database,
            _open_primary(settings, database) as primary,
            Feed.opened(settings.direct_dsn, stream_options.feed_size) as feed,
        ):
            yield {
                "settings": settings,
                "database": database,
                "primary": primary,
                "metrics": metrics,
                "tickers": TrackedTickers(settings.tickers),
                "feed": feed,
                "streams": Streams(feed, primary, metrics, settings.stream_clients, stream_options),
                "export_slots": asyncio.Semaphore(export.MAX_EXPORTS),
                "batcher": PageBatcher(database),
                "queue": QueueProbe(settings),
            }

    roots = dict.fromkeys((settings.web_root_path, ""))
    endpoints = {
        root + version + each.path: each
        for each in ENDPOINTS  # the first ones are matched first
        for root in roots
        for version in (f"/{settings.api_version}", "")
    }
    pages = [path for path, each in endpoints.items() if each in site.PAGES and path != "/"]
    redirected = [path[:-1] if path.endswith("/") else f"{path}/" for path in pages]
    starlette = Starlette(
        routes=[
            *(Route(path, each.handle) for path, each in endpoints.items()),
            *(Route(path, site.redirect_page) for path in redirected),
        ],
        lifespan=lifespan,
        exception_handlers={
            HTTPException: problems.handle_http_exception,
            Exception: problems.handle_unexpected,
        },
    )
    starlette.router.redirect_slashes = False
    app: ASGIApp = starlette
    if cache:
        app = ResponseCache(app, {p: each.handle for p, each in endpoints.items() if each.shared})
    if settings.rate_limit:
        from tracker.web.rate_limit import RateLimit  # noqa: PLC0415 -- 10 MB that few need

        app = RateLimit(app, settings, metrics)
    return Instrumentation(SecurityHeaders(app, settings.allowed_origins), metrics)


@asynccontextmanager
async def _open_primary(settings: Settings, database: Database) -> AsyncIterator[Database]:
    """The database that is written: *database*, unless that is a replica."""
    if settings.read_dsn == settings.database_dsn:
        yield database
        return
    async with Database.opened(settings.database_dsn) as primary:
        yield primary
