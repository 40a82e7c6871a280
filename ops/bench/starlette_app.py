"""Comparators (b) and (c): fixed bytes, and `SELECT 1` through a pool such as the API's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

# As long as a response of /prices/last.
_BYTES = b'{"id":100000,"ticker":"btc_usd","price":"30012.34","created_at":"2026-11-22T14:49:00Z"}'


class State(TypedDict):
    """The state that the lifespan opens."""

    pool: AsyncConnectionPool


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[State]:
    """Open the pool."""
    options = {"autocommit": True}
    async with AsyncConnectionPool(min_size=2, max_size=10, kwargs=options) as pool:  # PGHOST ...
        yield {"pool": pool}


async def return_bytes(_: Request[State]) -> Response:
    """GET /bytes."""
    return Response(_BYTES, media_type="application/json")


async def select_one(request: Request[State]) -> Response:
    """GET /select."""
    async with request.state["pool"].connection() as conn:
        cursor = await conn.execute("SELECT 1")
        await cursor.fetchall()
    return Response(_BYTES, media_type="application/json")


routes = [Route("/bytes", return_bytes), Route("/select", select_one)]
app = Starlette(routes=routes, lifespan=lifespan)
