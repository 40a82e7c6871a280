"""Endpoints: a path with its handler, its parameters and its documentation."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar, get_type_hints

from loguru import logger
from psycopg import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from tracker import queries
from tracker.errors import BadRequest, shorten
from tracker.models import is_pattern, select_tickers
from tracker.settings import Settings
from tracker.web import problems
from tracker.web.batching import PageBatcher
from tracker.web.database import Database
from tracker.web.instrumentation import Metrics
from tracker.web.params import Schema, parse_query
from tracker.web.problems import STATUSES
from tracker.web.queue_probe import QueueProbe
from tracker.web.responses import Dependency, finish_response
from tracker.web.stream.feed import Feed
from tracker.web.stream.responses import Streams

Q = TypeVar("Q")

# Seconds until a response must begin. Each query has a shorter deadline of its own (database.py),
# and an export one for its first line: 8.5 s is the longest sum.
RESPONSE_DEADLINE = 10.0

# The paths that RATE_LIMIT applies to: those that read prices; not health or metrics, which
# operators need, nor pages and their files.
RATE_LIMITED = ("/prices", "/tickers", "/udf/")


_VANISHED_LIFETIME = 86_400.0  # seconds


class TrackedTickers:
    """The known index names; the database is queried only for an unknown one.

    known: in the order of /tickers, those that are polled first, and quick to search.
    """

    def __init__(self, configured: Iterable[str]) -> None:
        """Start with the *configured* names; what patterns among them select, the database has."""
        self._configured = tuple(configured)
        self._has_patterns = any(map(is_pattern, self._configured))
        self.known = dict.fromkeys(select_tickers(self._configured, ()))

    async def polled(self, conn: AsyncConnection) -> Sequence[str]:
        """Those that are polled now, as far as the worker has recorded them."""
        if not self._has_patterns:
            return self._configured
        return select_tickers(self._configured, await queries.listed_names(conn))

    async def vanished(self, conn: AsyncConnection) -> list[str]:
        """Those that the exchange does not list any more, for a day, by name."""
        names = await queries.vanished_names(conn, _VANISHED_LIFETIME)
        return sorted(set(names).intersection(select_tickers(self._configured, names)))

    async def names(self, database: Database) -> list[str]:
        """All of them, as the database has them now. Raises DatabaseDown, MigrationsPending."""

        async def fetch_names(conn: AsyncConnection) -> list[str]:
            return [*await self.polled(conn), *await queries.stored_tickers(conn)]

        self.known = dict.fromkeys(await database.run(fetch_names))
        return list(self.known)


class State(TypedDict):
    """What the lifespan opens and handlers use.

    database: for reading prices: a replica, if there is one.
    primary: the database that is written, for what a replica cannot tell.
    """

    settings: Settings
    database: Database
    primary: Database
    metrics: Metrics
    tickers: TrackedTickers
    feed: Feed
    streams: Streams
    export_slots: asyncio.Semaphore
    batcher: PageBatcher
    queue: QueueProbe


AppRequest = Request[State]
Handler = Callable[[AppRequest, Q], Awaitable[Response]]


async def require_ticker(request: AppRequest, ticker: str) -> Dependency:
    """What a response about *ticker* depends on, before anything is read.

    Raises BadRequest unless *ticker* is configured or stored; DatabaseDown, MigrationsPending.
    """
    if ticker not in request.state["tickers"].known:
        await require_tickers(request, [ticker])
    return Dependency(ticker, request.state["feed"].revision(ticker))


async def require_tickers(request: AppRequest, names: Sequence[str]) -> None:
    """Raises BadRequest unless all *names* are configured or stored.

    Raises DatabaseDown, MigrationsPending.
    """
    tickers = request.state["tickers"]
    if tickers.known.keys() >= set(names):
        return
    stored = await tickers.names(request.state["database"])
    if unknown := [repr(shorten(name)) for name in names if name not in tickers.known]:
        verb = "is" if len(unknown) == 1 else "are"
        tracked = ", ".join(stored)
        why = f"{', '.join(unknown)} {verb} not tracked; tracked: {tracked}"
        raise BadRequest({"ticker": why})


@dataclass(frozen=True)
class Endpoint(Generic[Q]):
    """A path that is served, for GET and HEAD.

    name: its label in metrics.
    handler: its name is the operationId of the OpenAPI document: a verb and a noun.
    query: the dataclass of its parameters; unknown ones are refused, unless `ignore_unknown`.
    response: the 200 of the OpenAPI document, which lacks the endpoint without one.
    errors: names of schemas.RESPONSES.
    other_parameters: what the OpenAPI document has besides those of the query.
    links: the operation that its response leads to, and with which parameters (OpenAPI's links).
    shared: whether concurrent requests may share a response that depends on one index (cache.py).
    extend_problem: more members of its problem documents, from the detail of the problem.
    """

    path: str
    name: str
    handler: Handler[Q]
    query: type[Q]
    summary: str = ""
    description: str = ""
    response: Schema | None = None
    errors: tuple[int | str, ...] = ()
    tag: str = "prices"
    links: tuple[str, Mapping[str, str]] | None = None
    other_parameters: tuple[Schema, ...] = ()
    shared: bool = False
    ignore_unknown: bool = False
    extend_problem: Callable[[str], Mapping[str, str]] | None = None

    async def handle(self, request: AppRequest) -> Response:
        """The response to *request*, which begins within the deadline; errors become problems."""
        try:
            async with asyncio.timeout(RESPONSE_DEADLINE) as deadline:
                query = parse_query(
                    request.query_params, self.query, ignore_unknown=self.ignore_unknown
                )
                response = await self.handler(request, query)
            return finish_response(request.scope, response)
        except tuple(STATUSES) as error:
            errors = problems.error_reasons(error)
            members = (
                self.extend_problem(problems.join_reasons(errors)) if self.extend_problem else None
            )
            return problems.problem_document(
                STATUSES[type(error)], errors, request.scope, members=members
            )
        except TimeoutError:
            if not deadline.expired():
                raise
            why = f"did not respond within {RESPONSE_DEADLINE:g} seconds"
            return problems.unavailable(request, {"server": why})
        except Exception:  # noqa: BLE001 -- the client gets a 500, the log the reason
            logger.bind(request_id=request.scope["request_id"]).exception("a request failed")
            return problems.server_error(request)


def endpoint(path: str, name: str, **options: Any) -> Callable[[Handler[Q]], Endpoint[Q]]:
    """Make an endpoint of a handler of a request and a query, which is annotated with its type.

    options: the other attributes of Endpoint.
    """

    def decorate(handler: Handler[Q]) -> Endpoint[Q]:
        _, query, *_ = get_type_hints(handler).values()
        return Endpoint(path, name, handler, query, **options)

    return decorate


AnyEndpoint = Endpoint[Any]
