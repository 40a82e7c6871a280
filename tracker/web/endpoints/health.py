"""Is the process alive, can it serve fresh prices, and what does it measure."""

from dataclasses import dataclass
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
from tracker.web.reading.replica import Replica, replica
from tracker.web.reading.standing import Standing, standings
from tracker.web.state import AppRequest

# Not prometheus_client's choose_encoder: it fails on a version that is no number.
_OPENMETRICS = (openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST)
_PLAIN = (generate_latest, CONTENT_TYPE_PLAIN_0_0_4)


@dataclass(frozen=True, slots=True)
class _Health:
    """How each index stands, and the replica that says so, if it is one."""

    standings: list[Standing]
    replica: Replica | None

    @property
    def unready(self) -> dict[str, str]:
        """Why fresh prices cannot be served; nothing if they can."""
        stale = {each.ticker: each.stale for each in self.standings if each.stale}
        if stale and self.replica and self.replica.behind:
            stale["replica"] = self.replica.behind
        return stale


async def live(request: AppRequest) -> Response:
    """GET /health/live: the process answers, whatever the database does."""
    params.read(request.query_params, {})
    return as_json({"status": "live"}, caching.never())


async def ready(request: AppRequest) -> Response:
    """GET /health/ready: fresh prices of every ticker can be served; 503 with reasons if not."""
    params.read(request.query_params, {})

    async def look(conn: AsyncConnection) -> tuple[list[str], _Health | None]:
        pending = migrations.find_pending(await queries.applied_migrations(conn))
        return pending, None if pending else await _health(request, conn)

    try:
        pending, found = await request.state["database"].run(look)
    except (DatabaseDown, MigrationsPending) as error:
        return unready(request, reasons(error))
    if found is None:
        return unready(request, {"migrations": f"are pending: {', '.join(pending)}"})
    return unready(request, found.unready) if found.unready else _ready(found)


async def metrics(request: AppRequest) -> Response:
    """GET /metrics: in the format of Prometheus or OpenMetrics, as the client accepts."""
    params.read(request.query_params, {})
    measured = request.state["metrics"]
    measured.show_feed(current=request.state["streams"].feed.current)
    found = await _health_or_none(request)
    measured.show_standings(found.standings if found else None)
    measured.show_replica(found.replica.lag if found and found.replica else None)
    known = "application/openmetrics-text" in request.headers.get("accept", "")
    encode, media_type = _OPENMETRICS if known else _PLAIN
    return Response(encode(measured.registry), 200, caching.never(), media_type)


async def _health(request: AppRequest, conn: AsyncConnection) -> _Health:
    tickers = request.state["settings"].tickers
    found = await standings(conn, tickers, datetime.now(UTC))
    alone = request.state["database"] is request.state["primary"]
    return _Health(found, None if alone else await replica(conn))


async def _health_or_none(request: AppRequest) -> _Health | None:
    try:
        return await request.state["database"].run(lambda conn: _health(request, conn))
    except (DatabaseDown, MigrationsPending):
        return None


def _ready(found: _Health) -> Response:
    shown: dict[str, object] = {
        "status": "ready",
        "prices": [each.row for each in found.standings],
    }
    if found.replica:
        shown["replica"] = found.replica.row
    return as_json(shown, caching.never())
