"""How long an answer may take to begin.

Each question to the database has a bound of its own (reading/database), and an export one for its
first line; this is the bound of their sum, and of what nobody thought of. The paths that keeping.py
has go without: all that they ask has one such bound, and an unknown index one before it.
"""

import asyncio
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.web.answer import problems

DEADLINE = 10.0  # seconds; the longest sum of the others is that of an export, 8.5


class Timely:
    """An application that begins to answer in time, or says that it cannot: 503."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap *app*."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan; what has begun may last."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bound = asyncio.timeout(DEADLINE)

        async def send_begun(message: Message) -> None:
            if message["type"] == "http.response.start":
                bound.reschedule(None)
            await send(message)

        try:
            async with bound:
                await self._app(scope, receive, send_begun)
        except TimeoutError:
            if not bound.expired():
                raise
            await _late(scope["request_id"])(scope, receive, send)


def _late(request_id: str) -> ASGIApp:
    status = HTTPStatus.SERVICE_UNAVAILABLE
    why = {"server": f"found no answer within {DEADLINE:g} seconds"}
    return problems.problem(status, why, request_id, problems.RETRY_AFTER)
