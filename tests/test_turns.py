"""Connections are taken in turn: no more than there may be, first come first served, none lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from tests.conftest import Run
from tracker.settings import Settings
from tracker.web.reading import turns
from tracker.web.reading.turns import MOST, Turns


@asynccontextmanager
async def opened(base: Settings) -> AsyncIterator[Turns]:
    """Turns over a pool of real connections."""
    options = {"autocommit": True}
    pool = AsyncConnectionPool(
        base.database_dsn, min_size=1, max_size=MOST, kwargs=options, open=False
    )
    async with pool:
        lent = Turns(pool)
        yield lent
        await lent.close()


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def all_of(lent: Turns) -> list[AsyncConnection]:
    return [await lent.take(soon()) for _ in range(MOST)]


def test_whoever_waits_longest_is_next(run: Run, base: Settings) -> None:
    """There are MOST connections, all different; a tenth more wait, and come in their order."""

    async def order() -> list[int]:
        came: list[int] = []

        async def wait(number: int) -> None:
            conn = await lent.take(soon())
            came.append(number)
            await lent.give(conn)

        async with opened(base) as lent:
            held = await all_of(lent)
            assert len({id(conn) for conn in held}) == MOST
            waiting = [asyncio.create_task(wait(number)) for number in range(5)]
            await asyncio.sleep(0)
            for conn in held:
                await lent.give(conn)
            await asyncio.gather(*waiting)
        return came

    assert run(order()) == [0, 1, 2, 3, 4]


def test_nobody_waits_for_ever(run: Run, base: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too late is told, and so are too many; afterwards all connections are there."""
    monkeypatch.setattr(turns, "_MOST_WAITING", 1)

    async def crowd() -> None:
        async with opened(base) as lent:
            held = await all_of(lent)
            late = asyncio.create_task(lent.take(soon(0.05)))
            await asyncio.sleep(0)
            with pytest.raises(TooManyRequests):
                await lent.take(soon())
            with pytest.raises(PoolTimeout):
                await late
            for conn in held:
                await lent.give(conn)
            assert len(await all_of(lent)) == MOST

    run(crowd())


def test_who_leaves_takes_no_turn_along(run: Run, base: Settings) -> None:
    """Ended while waiting, or just as the turn came: it goes to the next."""

    async def leave() -> None:
        async with opened(base) as lent:
            held = await all_of(lent)
            for comes_first in (False, True):
                leaving, staying = (asyncio.create_task(lent.take(soon())) for _ in range(2))
                await asyncio.sleep(0)
                if comes_first:
                    await lent.give(held.pop())
                leaving.cancel()
                if not comes_first:
                    await lent.give(held.pop())
                held.append(await staying)
                assert leaving.cancelled()
            for conn in held:
                await lent.give(conn)
            assert len(await all_of(lent)) == MOST

    run(leave())


def test_a_broken_connection_is_replaced(run: Run, base: Settings) -> None:
    """Closed, or left in the middle of a transaction: the next one gets a sound one."""

    async def mend() -> None:
        async with opened(base) as lent:
            for _ in range(2 * MOST):
                closed = await lent.take(soon())
                busy = await lent.take(soon())
                await closed.close()
                await busy.execute("BEGIN")
                await lent.give(closed)
                await lent.give(busy)
                sound = await lent.take(soon())
                await sound.execute("SELECT 1")
                await lent.give(sound)

    run(mend())
