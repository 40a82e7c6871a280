"""GET /health/live, /health/ready, /health/state and /metrics: the state of each part."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from math import inf, nan
from typing import Literal

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import migrations, queries
from tracker.errors import DatabaseDown, MigrationsPending
from tracker.models import is_pegged
from tracker.rows import Row
from tracker.times import format_moment
from tracker.web import schemas
from tracker.web.endpoint import AppRequest, endpoint
from tracker.web.params import NoQuery, Schema
from tracker.web.problems import error_reasons, unavailable
from tracker.web.responses import NO_STORE, json_response

STALE_AFTER = 180.0  # seconds; two polls missed, and the third is due
UNCHANGED_AFTER = 300.0  # seconds; Deribit's indexes change about once a second

# Seconds without a heartbeat until a part is down: the scheduler ticks each minute, and its message
# may have to wait; the worker sends four heartbeats a minute.
_SILENT_AFTER = {"scheduler": 90.0, "worker": 45.0}
_LAST_SIGN = {"scheduler": "last tick", "worker": "last heartbeat"}
_LAGGING_AFTER = 60.0  # seconds that a replica may be behind
_STATUS_LIFETIME = 180.0  # seconds; the worker requests public/status each minute
_NO_INDEX = "no index of the exchange is known yet that TICKERS selects"
_IN_SYNC = 1.0  # seconds of lag that are not mentioned

# Not prometheus_client's choose_encoder: it fails on a version that is no number.
_OPENMETRICS = (openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST)
_PLAIN_TEXT = (generate_latest, CONTENT_TYPE_PLAIN_0_0_4)


# State in the database


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The state of the recording of one index.

    newest: the newest stored minute; None if the last month has no price.
    age: seconds since then.
    missing: how many minutes of the last hour have no price.
    failing: why its newest poll failed; None if it did not.
    polled: the newest minute of the last hour that was polled; None if none was.
    """

    ticker: str
    newest: datetime | None
    age: float
    missing: int
    failing: str | None
    polled: datetime | None

    @property
    def row(self) -> Row:
        """As JSON has it."""
        return {
            "ticker": self.ticker,
            "created_at": self.newest and format_moment(self.newest),
            "age_seconds": round(self.age, 1) if self.newest else None,
            "missing": self.missing,
        }

    @property
    def stale(self) -> str:
        """Why it has no fresh price; empty if it has one."""
        poll = f"; the newest poll failed: {self.failing}" if self.failing else ""
        if self.newest is None:
            return f"no price in the last month{poll}"
        if self.age > STALE_AFTER:
            age = f"the newest price is {self.age:.0f} s old, more than {STALE_AFTER:.0f} s"
            return age + poll
        return ""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """The state of a replica. lag: seconds, at most; None: unknown, nothing replayed yet."""

    lag: float | None

    @property
    def row(self) -> Row:
        """As JSON has it."""
        return {"lag_seconds": None if self.lag is None else round(self.lag, 1)}

    @property
    def behind(self) -> str:
        """Its lag in words; empty if it is in sync."""
        if self.lag is None:
            return "does not know how far it is behind"
        return f"is {self.lag:.0f} s behind" if self.lag >= _IN_SYNC else ""


async def fetch_statuses(
    conn: AsyncConnection, tickers: Sequence[str], now: datetime
) -> list[IndexStatus]:
    """The state of each of *tickers* at *now*, in their order."""
    newest = await queries.newest_minutes(conn, tickers, now)
    hours = await queries.recent_hours(conn, tickers, now)
    return [
        IndexStatus(ticker, minute, (now - minute).total_seconds() if minute else 0.0, *hour)
        for ticker, minute, hour in zip(tickers, newest, hours, strict=True)
    ]


async def fetch_unchanged(
    conn: AsyncConnection, tickers: Sequence[str], now: datetime
) -> dict[str, float]:
    """For how many seconds the price of each index has been the same; not of pegged ones."""
    moving = [ticker for ticker in tickers if not is_pegged(ticker)]
    found = await queries.unchanged_prices(conn, moving, now)
    return {name: age for name, age in zip(moving, found, strict=True) if age is not None}


async def _fetch_health(
    request: AppRequest, conn: AsyncConnection
) -> tuple[list[IndexStatus], ReplicaStatus | None]:
    """The state of each configured index, and of the replica that is read, if any."""
    polled = await request.state["tickers"].polled(conn)
    statuses = await fetch_statuses(conn, polled, datetime.now(UTC))
    if request.state["database"] is request.state["primary"]:
        return statuses, None
    return statuses, ReplicaStatus(await queries.replica_lag(conn))


async def _fetch_metrics(
    request: AppRequest, conn: AsyncConnection
) -> tuple[list[IndexStatus], ReplicaStatus | None, Mapping[str, float], float, list[str]]:
    """The same, how long each price has not changed, the age of the last backup, what vanished."""
    statuses, replica = await _fetch_health(request, conn)
    unchanged = await fetch_unchanged(conn, [each.ticker for each in statuses], datetime.now(UTC))
    backup_age = (await queries.heartbeats(conn)).get("backup", inf)
    vanished = await request.state["tickers"].vanished(conn)
    return statuses, replica, unchanged, backup_age, vanished


# Documentation


_AGE: Schema = {"type": "number", "minimum": 0}
_MISSING: Schema = {
    "type": "integer",
    "minimum": 0,
    "maximum": 60,
    "description": "Minutes of the last hour without a price",
}
_FRESH = schemas.model(
    "FreshIndex",
    {
        "ticker": schemas.TICKER,
        "created_at": schemas.MINUTE,
        "age_seconds": _AGE,
        "missing": _MISSING,
    },
)
_REPLICA = schemas.model(
    "Replica",
    {
        "lag_seconds": schemas.or_null(
            _AGE, "Seconds that it is behind, at most; null: nothing replayed since its start"
        )
    },
    description="What prices are read from, where READ_POSTGRES_HOST names a replica",
)
_PART = schemas.model(
    "Part",
    {
        "name": schemas.one_of("database", "redis", "scheduler", "worker", "exchange", "replica"),
        "state": schemas.one_of("up", "down", "unknown"),
        "words": schemas.TEXT,
    },
)
_RECORDED = schemas.model(
    "RecordedIndex",
    {
        "ticker": schemas.TICKER,
        "created_at": schemas.or_null(
            schemas.MINUTE, "The newest minute; null: none in the last month"
        ),
        "age_seconds": schemas.or_null(_AGE, "Seconds since then"),
        "missing": _MISSING,
        "failing": schemas.or_null(schemas.TEXT, "Why the newest poll failed; null if it did not"),
        "unchanged_seconds": schemas.or_null(
            _AGE,
            "For how long the price has been the same, up to a day; null without a price, and for"
            " pairs of one currency, such as usdc_usd",
        ),
        "locked": {"type": "boolean", "description": "The exchange has locked the index"},
    },
)
LIVE = schemas.model("Liveness", {"status": schemas.constant("live")})
READY = schemas.model(
    "Readiness",
    {
        "status": schemas.constant("ready"),
        "prices": {"type": "array", "items": schemas.ref(_FRESH)},
        "replica": schemas.ref(_REPLICA),
    },
    optional=("replica",),
)
STATE = schemas.model(
    "ServiceState",
    {
        "status": schemas.one_of("ok", "impaired"),
        "parts": {"type": "array", "items": schemas.ref(_PART)},
        "prices": {"type": "array", "items": schemas.ref(_RECORDED)},
    },
)


# Endpoints


@endpoint(
    "/health/live",
    "live",
    summary="The process responds",
    description="Whatever the database does.",
    response=schemas.json_response(schemas.ref(LIVE)),
    errors=(412, 422, 500),
    tag="service",
)
async def get_liveness(_request: AppRequest, _query: NoQuery) -> Response:
    """The process responds, whatever the database does."""
    return json_response({"status": "live"}, NO_STORE)


@endpoint(
    "/health/ready",
    "ready",
    summary="The database responds, no migration is pending, and every ticker has a fresh price",
    description="503 with the reasons otherwise.",
    response=schemas.json_response(schemas.ref(READY)),
    errors=(412, 422, 500, 503),
    tag="service",
)
async def get_readiness(request: AppRequest, _query: NoQuery) -> Response:
    """Whether fresh prices of every ticker can be served; 503 with the reasons if not."""

    async def check_database(
        conn: AsyncConnection,
    ) -> tuple[str, list[IndexStatus], ReplicaStatus | None]:
        applied = await queries.applied_migrations(conn)
        if unknown := migrations.find_unknown(applied):
            return f"are of a newer version: {', '.join(unknown)}", [], None
        if pending := migrations.find_pending(applied):
            return f"are pending: {', '.join(pending)}", [], None
        return "", *await _fetch_health(request, conn)

    difference, statuses, replica = await request.state["database"].run(check_database)
    if difference:
        return unavailable(request, {"migrations": difference})
    if not statuses:
        return unavailable(request, {"tickers": _NO_INDEX})
    stale = {each.ticker: each.stale for each in statuses if each.stale}
    if stale:
        behind = {"replica": replica.behind} if replica and replica.behind else {}
        return unavailable(request, stale | behind)
    body: dict[str, object] = {"status": "ready", "prices": [each.row for each in statuses]}
    if replica:
        body["replica"] = replica.row
    return json_response(body, NO_STORE)


@endpoint(
    "/metrics",
    "metrics",
    summary="For Prometheus",
    description="In the format of Prometheus, or of OpenMetrics if Accept has it.",
    response=schemas.text_response("text/plain", "application/openmetrics-text"),
    errors=(412, 422, 500),
    tag="service",
)
async def get_metrics(request: AppRequest, _query: NoQuery) -> Response:
    """In the format of Prometheus or OpenMetrics, as the client accepts."""
    metrics = request.state["metrics"]
    metrics.feed_current.set(request.state["feed"].current)
    statuses: list[IndexStatus] = []
    replica: ReplicaStatus | None = None
    unchanged: Mapping[str, float] = {}
    vanished: Sequence[str] = ()
    backup_age, up = nan, False
    with suppress(DatabaseDown, MigrationsPending):
        found = await request.state["database"].run(lambda conn: _fetch_metrics(request, conn))
        statuses, replica, unchanged, backup_age, vanished = found
        up = True
    metrics.database_up.set(up)
    metrics.backup_age.set(backup_age)
    metrics.show_indexes(
        {each.ticker: each.age for each in statuses if each.newest},
        {each.ticker: each.missing for each in statuses},
        unchanged,
        {each.ticker: 0 for each in statuses} | dict.fromkeys(vanished, 1),
    )
    lag = replica.lag if replica else None
    metrics.replica_lag.set(nan if lag is None else lag)
    openmetrics_accepted = "application/openmetrics-text" in request.headers.get("accept", "")
    encode, media_type = _OPENMETRICS if openmetrics_accepted else _PLAIN_TEXT
    headers = {**NO_STORE, "Vary": "Accept"}
    return Response(encode(metrics.registry), 200, headers, media_type)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the service: whether it works, and why."""

    name: str
    state: Literal["up", "down", "unknown"]
    words: str


@endpoint(
    "/health/state",
    "condition",
    summary="The state of each part of the service, with a reason; always 200",
    description="By what the database has of each part and of each index, and by a write to Redis.",
    response=schemas.json_response(schemas.ref(STATE)),
    errors=(412, 422, 500),
    tag="service",
)
async def get_state(request: AppRequest, _query: NoQuery) -> Response:
    """Each part and each index, by what the database has; Redis by a write of our own."""
    now, tickers = datetime.now(UTC), request.state["tickers"]
    beats: Mapping[str, float] = {}
    statuses: list[IndexStatus] = []
    unchanged: Mapping[str, float] = {}
    locked: list[str] = []
    vanished: list[str] = []
    failure = ""

    async def fetch_state(
        conn: AsyncConnection,
    ) -> tuple[Mapping[str, float], list[IndexStatus], Mapping[str, float], list[str], list[str]]:
        polled = await tickers.polled(conn)
        return (
            await queries.heartbeats(conn),
            await fetch_statuses(conn, polled, now),
            await fetch_unchanged(conn, polled, now),
            await queries.locked_indexes(conn, _STATUS_LIFETIME),
            await tickers.vanished(conn),
        )

    checking = asyncio.create_task(request.state["queue"].check())
    try:
        found = await request.state["primary"].run(fetch_state)
        beats, statuses, unchanged, locked, vanished = found
    except (DatabaseDown, MigrationsPending) as error:
        [(name, why)] = error_reasons(error).items()
        failure = why if name == "database" else f"{name} {why}"
    redis = _redis_part(await checking)
    if failure:
        parts = [Part("database", "down", failure), redis]
        unknown = "only the database would know"
        parts += [Part(each, "unknown", unknown) for each in ("scheduler", "worker", "exchange")]
    else:
        worker = _heartbeat_part("worker", beats)
        frozen = _frozen_indexes(statuses, unchanged, locked)
        parts = [Part("database", "up", "responds"), redis, _scheduler_part(beats, redis), worker]
        exchange = _exchange_part(statuses, frozen, worker, now)
        if vanished:
            words = f"{exchange.words}; it does not list {', '.join(vanished)} any more"
            exchange = replace(exchange, words=words)
        parts.append(exchange)
    parts += await _replica_parts(request)
    healthy = all(part.state == "up" for part in parts) and not any(each.stale for each in statuses)
    return json_response(
        {
            "status": "ok" if healthy else "impaired",
            "parts": [asdict(part) for part in parts],
            "prices": [
                {
                    **each.row,
                    "failing": each.failing,
                    "unchanged_seconds": unchanged.get(each.ticker),
                    "locked": each.ticker in locked,
                }
                for each in statuses
            ],
        },
        NO_STORE,
    )


def _redis_part(failure: str) -> Part:
    """The queue's Redis, through which ticks and polls pass."""
    return Part("redis", "down", failure) if failure else Part("redis", "up", "accepts writes")


def _heartbeat_part(name: str, beats: Mapping[str, float]) -> Part:
    """The scheduler or the worker, by the seconds since its last heartbeat."""
    if name not in beats:
        return Part(name, "down", "has never sent a heartbeat")
    state: Literal["up", "down"] = "up" if beats[name] <= _SILENT_AFTER[name] else "down"
    return Part(name, state, f"{_LAST_SIGN[name]} {_ago(beats[name])}")


def _scheduler_part(beats: Mapping[str, float], redis: Part) -> Part:
    """The scheduler by its ticks; those of a silent one may be lost in Redis."""
    part = _heartbeat_part("scheduler", beats)
    if part.state == "down" and redis.state == "down":
        return replace(part, state="unknown", words=f"{part.words}; its ticks pass through Redis")
    return part


def _frozen_indexes(
    statuses: Sequence[IndexStatus], unchanged: Mapping[str, float], locked: Sequence[str]
) -> list[str]:
    """Each index that the exchange has locked, or whose price does not change, in words."""
    found = [f"{each.ticker} is locked" for each in statuses if each.ticker in locked]
    return found + [
        f"{name} has not changed for {seconds // 60:.0f} min"
        for name, seconds in unchanged.items()
        if seconds >= UNCHANGED_AFTER and name not in locked
    ]


def _exchange_part(
    statuses: Sequence[IndexStatus], frozen: Sequence[str], worker: Part, now: datetime
) -> Part:
    """The exchange, by the newest polls; without a worker that polls it is unknown.

    frozen: the indexes whose price is constant although the exchange responds, in words.
    """
    failing = [f"{each.ticker}: {each.failing}" for each in statuses if each.failing]
    if failing:
        return Part("exchange", "down", f"the newest poll failed: {', '.join(failing)}")
    if worker.state != "up":
        return Part("exchange", "unknown", "not polled")
    ages = [(now - each.polled).total_seconds() for each in statuses if each.polled]
    if not ages:
        why = "no poll of the last hour is recorded" if statuses else _NO_INDEX
        return Part("exchange", "unknown", why)
    if min(ages) > STALE_AFTER:
        return Part("exchange", "unknown", f"the newest poll recorded was {_ago(min(ages))}")
    if frozen:
        return Part("exchange", "down", f"responds, but {', '.join(frozen)}")
    return Part("exchange", "up", "responded to the newest polls")


async def _replica_parts(request: AppRequest) -> list[Part]:
    """The replica that prices are read from; empty without one."""
    if request.state["database"] is request.state["primary"]:
        return []
    try:
        replica = ReplicaStatus(await request.state["database"].run(queries.replica_lag))
    except DatabaseDown:
        return [Part("replica", "down", "does not respond, and no price is read without it")]
    lagging = replica.lag is None or replica.lag > _LAGGING_AFTER
    return [Part("replica", "down" if lagging else "up", replica.behind or "is in sync")]


def _ago(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, then hours."""
    if seconds < 120:  # noqa: PLR2004 -- see the docstring
        return f"{seconds:.0f} s ago"
    if seconds < 7200:  # noqa: PLR2004
        return f"{seconds // 60:.0f} min ago"
    return f"{seconds // 3600:.0f} h ago"
