"""How the stream's connection fares: its beginning, its loss, and its return."""

import sys
from collections.abc import Callable

import httpx

from tracker.models import SourcedPrice
from tracker.replies import Events, Reset


class Link:
    """Tells on standard error when the connection is lost, and when it is there again.

    hooks: for the HTTP client whose stream it is.
    """

    def __init__(self) -> None:
        """Not asked for so far."""
        self.hooks = {"request": [self._asks], "response": [self._answers]}
        self._is_first = True
        self._is_lost = False

    def _asks(self, request: httpx.Request) -> None:
        if not request.url.path.endswith("/stream"):
            return
        if not (self._is_first or self._is_lost):
            self._is_lost = True
            tell("the connection is lost; trying again")
        self._is_first = False

    def _answers(self, answer: httpx.Response) -> None:
        if self._is_lost and answer.is_success and answer.url.path.endswith("/stream"):
            self._is_lost = False
            tell("connected again; what came meanwhile follows")


class Started(Events):
    """The events of a stream; *begun* is called once, when the stream has told where it begins."""

    def __init__(self, begun: Callable[[], None]) -> None:
        """What *begun* reads then cannot be older than where the stream begins."""
        super().__init__()
        self._begun: Callable[[], None] | None = begun

    def take(self, line: str) -> SourcedPrice | Reset | None:
        """See Events."""
        value = super().take(line)
        if self._begun and self.last_id:
            self._begun()
            self._begun = None
        return value


def tell(text: str) -> None:
    """Say it beside the prices, not among them."""
    sys.stderr.write(f"tracker: {text}\n")
