"""Is the process alive, can it serve fresh prices, and what does it measure."""

from collections.abc import Mapping
from datetime import UTC, datetime

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import migrations, queries
from tracker.errors import DatabaseDown, MigrationsPending
from tracker.web import params
from tracker.web.database import Work
from tracker.web.problems import reasons, unready
from tracker.web.state import AppRequest
from tracker.web.wire import as_json, rfc3339

# Not prometheus_client's choose_encoder: it fails on a version that is no number.
_OPENMETRICS = (openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST)
_PLAIN = (generate_latest, CONTENT_TYPE_PLAIN_0_0_4)

STALE_AFTER = 180.0  # seconds; two polls missed, and the third is due

Newest = Mapping[str, datetime | None]


async def live(request: AppRequest) -> Response:
    """GET /health/live: the process answers, whatever the database does."""
    params.read(request.query_params, {})
    return as_json({"status": "live"})


async def ready(request: AppRequest) -> Response:
    """GET /health/ready: fresh prices of every ticker can be served; 503 with reasons if not."""
    params.read(request.query_params, {})
    now = datetime.now(UTC)
    try:
        pending, newest = await request.state["database"].run(_state_of(request, now))
    except (DatabaseDown, MigrationsPending) as error:
        return unready(request, reasons(error))
    if why := _unmigrated(pending) or _stale(newest, now):
        return unready(request, why)
    return as_json({"status": "ready", "prices": [_age(*item, now) for item in newest.items()]})


async def metrics(request: AppRequest) -> Response:
    """GET /metrics: in the format of Prometheus or OpenMetrics, as the client accepts."""
    params.read(request.query_params, {})
    now = datetime.now(UTC)
    request.state["metrics"].show_ages(await _newest_or_none(request, now), now)
    known = "application/openmetrics-text" in request.headers.get("accept", "")
    encode, media_type = _OPENMETRICS if known else _PLAIN
    return Response(encode(request.state["metrics"].registry), media_type=media_type)


def _state_of(request: AppRequest, now: datetime) -> Work[tuple[list[str], Newest]]:
    tickers = request.state["settings"].tickers

    async def state(conn: AsyncConnection) -> tuple[list[str], Newest]:
        applied = await queries.applied_migrations(conn)
        pending = [name for name in migrations.names() if name not in applied]
        return pending, {} if pending else await queries.newest_minutes(conn, tickers, now)

    return state


async def _newest_or_none(request: AppRequest, now: datetime) -> Newest | None:
    tickers = request.state["settings"].tickers

    async def newest(conn: AsyncConnection) -> Newest:
        return await queries.newest_minutes(conn, tickers, now)

    try:
        return await request.state["database"].run(newest)
    except (DatabaseDown, MigrationsPending):
        return None


def _unmigrated(pending: list[str]) -> dict[str, str]:
    return {"migrations": f"are pending: {', '.join(pending)}"} if pending else {}


def _stale(newest: Newest, now: datetime) -> dict[str, str]:
    """Why each ticker without a fresh price is not ready."""
    why = {}
    for ticker, minute in newest.items():
        if minute is None:
            why[ticker] = "no price in the last month"
        elif (age := (now - minute).total_seconds()) > STALE_AFTER:
            why[ticker] = f"the newest price is {age:.0f} s old, more than {STALE_AFTER:.0f} s"
    return why


def _age(ticker: str, minute: datetime | None, now: datetime) -> dict[str, object]:
    assert minute is not None  # a ticker without a price is a reason, and not shown
    age = round((now - minute).total_seconds(), 1)
    return {"ticker": ticker, "created_at": rfc3339(minute), "age_seconds": age}
