"""Faults to inject: their kinds and fields, which calls they affect, and for how long."""

import asyncio
import math
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

SECOND: Final = 1_000_000  # microseconds

Kind = Literal[
    "latency", "timeout", "reset", "rate_limit", "maintenance", "error",
    "html", "truncated", "testnet", "frozen", "locked", "missing", "wrong_status",
]  # fmt: skip
KINDS: Final[tuple[str, ...]] = get_args(Kind)
_KINDS_WITH: Final = {
    "delay": ("latency",),
    "retry_after": ("rate_limit",),
    "code": ("rate_limit", "error", "html", "wrong_status"),
}
_STATUSES: Final = (200, *range(400, 600))
_MAX: Final = 10**9  # seconds, or calls


def _check_known(value: str, info: ValidationInfo) -> str:
    """Look *value* up in the names that the validation context, if any, has for its field."""
    if info.context and value not in info.context[info.field_name]:
        raise ValueError(f"unknown {info.field_name}: {value!r}")
    return value


def _strip_public(value: object) -> object:
    return value.removeprefix("public/") if isinstance(value, str) else value


KnownName = Annotated[str, AfterValidator(_check_known)]
Seconds = Annotated[float, Field(gt=0, lt=_MAX)]


class Fault(BaseModel):
    """A fault to inject. The functions of responses.py describe the kinds.

    index, method: only calls with this index or method; None: every call.
    seconds, calls: how long, and how often; None: without limit.
    delay: seconds until the response (latency).
    retry_after: value of the Retry-After header in seconds (rate_limit).
    code: of the JSON-RPC error (error, rate_limit), or the HTTP status (html, wrong_status).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    index: KnownName | None = None
    method: Annotated[KnownName | None, BeforeValidator(_strip_public)] = None
    seconds: Seconds | None = None
    calls: Annotated[int, Field(ge=1, lt=_MAX)] | None = None
    delay: Seconds | None = Field(default=None, validate_default=True)
    retry_after: Annotated[int, Field(ge=0, lt=_MAX)] | None = None
    code: int | None = None

    @field_validator("delay", "retry_after", "code")
    @classmethod
    def _check_kind(cls, value: float | None, info: ValidationInfo) -> float | None:
        kind, name = info.data.get("kind"), str(info.field_name)
        if value is None:
            if (kind, name) == ("latency", "delay"):
                raise ValueError("required by latency")
        elif kind is not None and kind not in _KINDS_WITH[name]:
            raise ValueError(f"not a field of {kind}")
        elif name == "code" and kind in ("html", "wrong_status") and value not in _STATUSES:
            raise ValueError("must be an HTTP status: 200, or 400 to 599")
        return value


def describe_errors(error: ValidationError) -> dict[str, str]:
    """The reason for each invalid field; ``body`` is the whole."""
    return {
        ".".join(map(str, each["loc"])) or "body": each["msg"].removeprefix("Value error, ")
        for each in error.errors(include_url=False, include_context=False)
    }


@dataclass(slots=True, kw_only=True)
class InjectedFault:
    """A fault since its injection. Times in microseconds by the exchange's clock.

    ends_at: the first moment without it; infinite while unknown.
    calls_left: None: without limit.
    removed: set when a client removes it.
    """

    id: int
    fault: Fault
    began_at: int
    ends_at: float = math.inf
    calls_left: int | None = None
    removed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.calls_left = self.fault.calls
        if self.fault.seconds is not None:
            self.ends_at = self.began_at + round(self.fault.seconds * SECOND)

    def affects(self, method: str | None, index: str | None) -> bool:
        """Whether it is meant for such calls."""
        return self.fault.method in (None, method) and self.fault.index in (None, index)

    def is_active(self, now: int) -> bool:
        """Whether it lasts at *now*. A clock set back does not reactivate it."""
        return now < self.ends_at and self.calls_left != 0 and not self.removed.is_set()

    def freezes(self, second: int) -> bool:
        """Whether it freezes the price of *second*, in whole or in part: a second has one price."""
        began = self.began_at // SECOND
        return (
            self.fault.kind in ("frozen", "locked")
            and began <= second
            and second * SECOND < self.ends_at
        )

    def use(self, now: int) -> None:
        """Count one call; the last one ends it."""
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left == 0:
                self.ends_at = min(self.ends_at, now + 1)

    def remove(self, now: int) -> None:
        """End it, and the waits of calls that it delays."""
        self.ends_at = min(self.ends_at, now + 1)
        self.removed.set()

    def as_json(self) -> dict[str, object]:
        """Its fields, when it began and how many calls are left."""
        fields = self.fault.model_dump(exclude_none=True)
        return {"id": self.id, **fields, "began": self.began_at, "left": self.calls_left}
