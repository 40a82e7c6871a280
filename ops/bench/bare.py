"""The least that an endpoint can do: fixed bytes, and `SELECT 1` through a pool such as ours."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from os import environ
from typing import TypedDict

from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

# As long as an answer of /prices/last.
_BYTES = b'{"id":100000,"ticker":"btc_usd","price":"30012.34","created_at":"2026-11-22T14:49:00Z"}'


class State(TypedDict):
    """What the lifespan opens."""

    pool: AsyncConnectionPool


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[State]:
    """Open the pool."""
    dsn = f"host={environ['PGHOST']} user={environ['PGUSER']} dbname={environ['PGDATABASE']}"
    options = {"autocommit": True}
    async with AsyncConnectionPool(dsn, min_size=2, max_size=10, kwargs=options) as pool:
        yield {"pool": pool}


async def fixed(_: Request[State]) -> Response:
    """GET /bytes."""
    return Response(_BYTES, media_type="application/json")


async def one(request: Request[State]) -> Response:
    """GET /select."""
    async with request.state["pool"].connection() as conn:
        cursor = await conn.execute("SELECT 1")
        await cursor.fetchall()
    return Response(_BYTES, media_type="application/json")


app = Starlette(routes=[Route("/bytes", fixed), Route("/select", one)], lifespan=lifespan)
