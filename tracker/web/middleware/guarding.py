"""Around every request: what its answer says to browsers for safety's sake."""

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.web.answer.safety import DATA_POLICY, POLICY, marks


class Guarded:
    """An application whose answers are taken for nothing but what they are."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        """Wrap *app*; pages of *origins* may read its answers."""
        self._app = app
        self._marks = marks(origins)
        self._data_marks = [*self._marks, DATA_POLICY]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                message["headers"] = [*headers, *self._fitting(headers)]
            await send(message)

        await self._app(scope, receive, send_guarded if scope["type"] == "http" else send)

    def _fitting(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Pages for people have a policy of their own."""
        for name, _ in headers:
            if name == POLICY:
                return self._marks
        return self._data_marks
