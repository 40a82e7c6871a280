"""One call of a client, and the answer the exchange gives when nothing goes wrong."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from tracker.simulator import questions, wire
from tracker.simulator.exchange import Exchange, State
from tracker.simulator.methods import METHODS
from tracker.simulator.questions import Question
from tracker.simulator.wire import Refusal

JSON: Final = "application/json"


@dataclass(slots=True, kw_only=True)
class Answer:
    """An answer before it is written: HTTP status and body."""

    status: int
    body: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A question as it came in, at *us_in* by the exchange's clock."""

    request: Request[State]
    exchange: Exchange
    question: Question
    us_in: int

    def answer(self, us_out: int | None = None) -> Answer:
        """The true answer as of *us_out*, or of now."""
        us_out = us_out or max(self.us_in, self.exchange.now())
        status, content = self._content(us_out)
        testnet = self.exchange.options.testnet
        echoed = {**self.question.reply, **content}
        body = wire.envelope(echoed, us_in=self.us_in, us_out=us_out, testnet=testnet)
        return Answer(status=status, body=body)

    def deliver(self, answer: Answer) -> Response:
        """*answer* on its way, its price entered in the ledger."""
        match answer.body:
            case {"result": {"index_price": Decimal() as price}, "usOut": int(us_out)}:
                self.exchange.ledger.serve(str(self.question.index), us_out, price)
        return written(answer)

    async def hold(self, seconds: float | None, over: asyncio.Event) -> bool:
        """Wait *seconds* (None: for ever) or until *over*. True if the client left meanwhile."""
        leaving = asyncio.create_task(self.left())
        ending = asyncio.create_task(over.wait())
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait((leaving, ending), timeout=seconds, return_when=first)
            return leaving.done()
        finally:
            leaving.cancel()
            ending.cancel()
            await asyncio.gather(leaving, ending, return_exceptions=True)

    async def left(self) -> None:
        """Return when the client is gone."""
        while (await self.request.receive())["type"] != "http.disconnect":
            pass

    def _content(self, us_out: int) -> tuple[int, dict[str, object]]:
        try:
            return 200, {"result": self._result(us_out)}
        except Refusal as refusal:
            return refusal.status, {"error": refusal.error}

    def _result(self, us_out: int) -> object:
        if self.question.refusal is not None:
            raise self.question.refusal
        method = METHODS.get(self.question.method or "")
        if method is None:
            raise Refusal(-32601, "Method not found")
        return method(self.exchange, self.question.params, us_out)


async def receive(request: Request[State]) -> Call:
    """The call in *request*."""
    exchange = request.state["exchange"]
    body = await request.body()
    path = str(request.path_params.get("path", ""))
    asked = questions.read(path, request.query_params, body, post=request.method == "POST")
    return Call(request=request, exchange=exchange, question=asked, us_in=exchange.now())


def written(answer: Answer) -> Response:
    """*answer* as it goes over the wire."""
    return Response(wire.encode(answer.body), answer.status, media_type=JSON)
