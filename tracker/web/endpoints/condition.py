"""How the service is, part by part, in words a person reads."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import queries
from tracker.errors import DatabaseDown, MigrationsPending
from tracker.web.answer import caching
from tracker.web.answer.formats import as_json
from tracker.web.answer.problems import reasons
from tracker.web.asked import params
from tracker.web.reading.replica import replica
from tracker.web.reading.standing import STALE_AFTER, Standing, standings
from tracker.web.state import AppRequest

# How long each part may be silent, in seconds: the scheduler ticks each minute, and its message
# may have to wait; the worker says four times a minute that it runs.
_SILENT_AFTER = {"scheduler": 90.0, "worker": 45.0}
_LATE = 60.0  # seconds that a replica may be behind
_LAST_SIGN = {"scheduler": "last tick", "worker": "last sign of life"}
_WITHOUT_DATABASE = ("scheduler", "worker", "exchange")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the service: whether it works, and a few words on that."""

    name: str
    state: Literal["up", "down", "unknown"]
    words: str


async def condition(request: AppRequest) -> Response:
    """GET /health/state: each part and each index as the database knows them; always 200."""
    params.read(request.query_params, {})
    now = datetime.now(UTC)
    tickers = request.state["settings"].tickers

    async def look(conn: AsyncConnection) -> tuple[Mapping[str, float], list[Standing]]:
        return await queries.heartbeats(conn), await standings(conn, tickers, now)

    try:
        beats, found = await request.state["primary"].run(look)
    except (DatabaseDown, MigrationsPending) as error:
        parts, found = [_down(error), *map(_unknown, _WITHOUT_DATABASE)], []
    else:
        parts = _parts(beats, found, now)
    return _answer([*parts, *await _replicas(request)], found)


def _down(error: DatabaseDown | MigrationsPending) -> Part:
    [(name, why)] = reasons(error).items()
    return Part("database", "down", why if name == "database" else f"{name} {why}")


async def _replicas(request: AppRequest) -> list[Part]:
    """The replica that prices are read from; none where there is none."""
    database = request.state["database"]
    if database is request.state["primary"]:
        return []
    try:
        found = await database.run(replica)
    except DatabaseDown:
        return [Part("replica", "down", "does not answer, and no price is read without it")]
    late = found.lag is None or found.lag > _LATE
    return [Part("replica", "down" if late else "up", found.behind or "is in step")]


def _unknown(name: str) -> Part:
    return Part(name, "unknown", "only the database would know")


def _parts(beats: Mapping[str, float], found: Sequence[Standing], now: datetime) -> list[Part]:
    scheduler, worker = (_part(name, beats.get(name)) for name in _SILENT_AFTER)
    return [Part("database", "up", "answers"), scheduler, worker, _exchange(found, worker, now)]


def _part(name: str, age: float | None) -> Part:
    if age is None:
        return Part(name, "down", "has never given a sign of life")
    state: Literal["up", "down"] = "up" if age <= _SILENT_AFTER[name] else "down"
    return Part(name, state, f"{_LAST_SIGN[name]} {_ago(age)}")


def _exchange(found: Sequence[Standing], worker: Part, now: datetime) -> Part:
    """What the newest polls say of it; who does not ask cannot know."""
    failing = [f"{each.ticker}: {each.failing}" for each in found if each.failing]
    if failing:
        return Part("exchange", "down", f"the newest poll failed: {', '.join(failing)}")
    if worker.state != "up":
        return Part("exchange", "unknown", "nobody asks it")
    polled = [(now - each.polled).total_seconds() for each in found if each.polled]
    if not polled:
        return Part("exchange", "unknown", "no poll of the last hour is recorded")
    if min(polled) > STALE_AFTER:
        return Part("exchange", "unknown", f"the newest poll recorded was {_ago(min(polled))}")
    return Part("exchange", "up", "answered the newest polls")


def _ago(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, then hours."""
    if seconds < 120:  # noqa: PLR2004 -- the docstring says them
        return f"{seconds:.0f} s ago"
    if seconds < 7200:  # noqa: PLR2004
        return f"{seconds // 60:.0f} min ago"
    return f"{seconds // 3600:.0f} h ago"


def _answer(parts: Sequence[Part], found: Sequence[Standing]) -> Response:
    well = all(part.state == "up" for part in parts) and not any(each.stale for each in found)
    return as_json(
        {
            "status": "ok" if well else "impaired",
            "parts": [asdict(part) for part in parts],
            "prices": [{**each.row, "failing": each.failing} for each in found],
        },
        caching.never(),
    )
