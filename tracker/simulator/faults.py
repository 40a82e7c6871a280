"""Faults on demand: what goes wrong, for whom, and until when."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

FROZEN = "frozen"
_SECOND = 1_000_000  # microseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is to go wrong.

    kind: one of faultspec.KINDS.
    index, method: only calls that name it; None for every call.
    seconds, calls: how long, and how often; None without limit.
    delay: seconds an answer takes (latency).
    retry_after: seconds to wait, as a header says (rate_limit).
    code: the JSON-RPC error's (error, rate_limit) or HTTP's (html, wrong_status).
    """

    kind: str
    index: str | None = None
    method: str | None = None
    seconds: float | None = None
    calls: int | None = None
    delay: float | None = None
    retry_after: int | None = None
    code: int | None = None


@dataclass(slots=True, kw_only=True)
class Live:
    """A fault in force, or once in force. Times in microseconds by the exchange's clock."""

    id: int
    fault: Fault
    began: int
    left: int | None
    stopped: int | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def until(self) -> int | None:
        """When its seconds are up."""
        seconds = self.fault.seconds
        return None if seconds is None else self.began + round(seconds * _SECOND)

    @property
    def end(self) -> int | None:
        """The first moment it is no longer in force, as far as that is known."""
        return min((end for end in (self.until, self.stopped) if end is not None), default=None)

    def stop(self, now: int) -> None:
        """End it after *now*, once."""
        self.stopped = self.stopped or now + 1

    def in_force(self, now: int) -> bool:
        """Whether it strikes a call at *now*."""
        running = self.left != 0 and self.stopped is None
        return running and (self.until is None or now < self.until)

    def concerns(self, method: str | None, index: str | None) -> bool:
        """Whether such a call is among those it was wished for."""
        return self.fault.method in (None, method) and self.fault.index in (None, index)

    def covers(self, second: int) -> bool:
        """Whether it was in force in *second*; one second never has two prices."""
        return self.began // _SECOND <= second and (self.end is None or second * _SECOND < self.end)

    def shown(self) -> dict[str, object]:
        """It as JSON: what was wished for, and how many calls are left."""
        wish = {name: value for name, value in asdict(self.fault).items() if value is not None}
        return {"id": self.id, **wish, "began": self.began, "left": self.left}


class Faults:
    """All faults so far, in the order they came; the first in force that fits wins."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._all: list[Live] = []

    def add(self, fault: Fault) -> Live:
        """Put *fault* in force from now on."""
        number = len(self._all) + 1
        live = Live(id=number, fault=fault, began=self._clock(), left=fault.calls)
        self._all.append(live)
        return live

    def live(self) -> list[Live]:
        """Those in force now."""
        now = self._clock()
        return [live for live in self._all if live.in_force(now)]

    def strike(self, method: str | None, index: str | None, now: int) -> Live | None:
        """The fault that this call meets, spending one of its calls; None if it meets none."""
        for live in self._all:
            if live.in_force(now) and live.concerns(method, index):
                self._spend(live, now)
                return live
        return None

    def remove(self, number: int) -> bool:
        """End a fault, and whatever still waits because of it. False if none has that id."""
        if not 0 < number <= len(self._all):
            return False
        self._all[number - 1].stop(self._clock())
        self._all[number - 1].over.set()
        return True

    def clear(self) -> None:
        """End every fault."""
        for live in self._all:
            self.remove(live.id)

    def stands(self, method: str, index: str, second: int) -> int:
        """The second whose price *index* shows at *second*: an earlier one while frozen.

        A frozen market stays so until the end of the second in which the fault ended,
        and it is so beneath any other fault. Newest first: a freeze may begin in another.
        """
        for live in reversed(self._all):
            frozen = live.fault.kind == FROZEN and live.concerns(method, index)
            if frozen and live.covers(second):
                second = live.began // _SECOND
        return second

    def _spend(self, live: Live, now: int) -> None:
        if live.left is not None:
            live.left -= 1
            if not live.left:
                live.stop(now)
