"""Is the process alive, can it serve fresh prices, and what does it measure."""

from collections.abc import Sequence
from datetime import UTC, datetime

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import migrations, queries
from tracker.errors import DatabaseDown, MigrationsPending
from tracker.web.answer import caching
from tracker.web.answer.formats import as_json
from tracker.web.answer.problems import reasons, unready
from tracker.web.asked import params
from tracker.web.reading.database import Work
from tracker.web.reading.standing import Standing, standings
from tracker.web.state import AppRequest

# Not prometheus_client's choose_encoder: it fails on a version that is no number.
_OPENMETRICS = (openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST)
_PLAIN = (generate_latest, CONTENT_TYPE_PLAIN_0_0_4)


async def live(request: AppRequest) -> Response:
    """GET /health/live: the process answers, whatever the database does."""
    params.read(request.query_params, {})
    return as_json({"status": "live"}, caching.never())


async def ready(request: AppRequest) -> Response:
    """GET /health/ready: fresh prices of every ticker can be served; 503 with reasons if not."""
    params.read(request.query_params, {})
    now = datetime.now(UTC)
    try:
        pending, found = await request.state["database"].run(_state_of(request, now))
    except (DatabaseDown, MigrationsPending) as error:
        return unready(request, reasons(error))
    if why := _unmigrated(pending) or {each.ticker: each.stale for each in found if each.stale}:
        return unready(request, why)
    prices = [each.row for each in found]
    return as_json({"status": "ready", "prices": prices}, caching.never())


async def metrics(request: AppRequest) -> Response:
    """GET /metrics: in the format of Prometheus or OpenMetrics, as the client accepts."""
    params.read(request.query_params, {})
    now = datetime.now(UTC)
    request.state["metrics"].show_feed(current=request.state["streams"].feed.current)
    request.state["metrics"].show_standings(await _standings_or_none(request, now))
    known = "application/openmetrics-text" in request.headers.get("accept", "")
    encode, media_type = _OPENMETRICS if known else _PLAIN
    body = encode(request.state["metrics"].registry)
    return Response(body, 200, caching.never(), media_type)


def _state_of(request: AppRequest, now: datetime) -> Work[tuple[list[str], list[Standing]]]:
    tickers = request.state["settings"].tickers

    async def state(conn: AsyncConnection) -> tuple[list[str], list[Standing]]:
        applied = await queries.applied_migrations(conn)
        pending = [name for name in migrations.names() if name not in applied]
        return pending, [] if pending else await standings(conn, tickers, now)

    return state


async def _standings_or_none(request: AppRequest, now: datetime) -> list[Standing] | None:
    tickers = request.state["settings"].tickers

    async def standing(conn: AsyncConnection) -> list[Standing]:
        return await standings(conn, tickers, now)

    try:
        return await request.state["database"].run(standing)
    except (DatabaseDown, MigrationsPending):
        return None


def _unmigrated(pending: Sequence[str]) -> dict[str, str]:
    return {"migrations": f"are pending: {', '.join(pending)}"} if pending else {}
