"""The exchange itself: clock, prices, faults, the public methods, and counts of its calls."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypedDict

from tracker.simulator.faults import SECOND, Fault, InjectedFault
from tracker.simulator.prices import INDEX_NAMES, price_at, tick_size

MAX_SERVED_PRICES: Final = 10_000  # per index
_HOUR, _DAY = 3_600, 86_400

# Seconds that a chart covers, and between its points. The steps of 1y and all are unknown.
_CHARTS: Final = {
    "1h": (_HOUR, 6),
    "1d": (_DAY, 300),
    "2d": (2 * _DAY, 300),
    "1m": (30 * _DAY, _HOUR),
    "1y": (365 * _DAY, _DAY),
    "all": (730 * _DAY, _DAY),
}
_CHART_SAMPLES: Final = 6  # per point
_CHART_PRECISION: Final = Decimal("1e-6")

# Which index belongs to which type is a guess.
_TYPES: Final[Mapping[str, Callable[[str], bool]]] = {
    "all": lambda _: True,
    "spot": lambda name: not name.endswith("_usd"),
    "derivative": lambda name: name.endswith(("_usd", "_usdc")),
}


def read_clock() -> int:
    """The machine's clock: microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Configuration of a simulator.

    seed: of all random walks.
    indexes: known in addition to INDEX_NAMES.
    faults: active from the start.
    clock_offset: seconds that the exchange's clock is ahead of *clock*.
    testnet: the flag in every response.
    clock: microseconds since 1970, UTC.
    """

    seed: int = 1
    indexes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    clock_offset: float = 0.0
    testnet: bool = False
    clock: Callable[[], int] = read_clock

    @property
    def known_names(self) -> dict[str, tuple[str, ...]]:
        """Every index and method: the context in which faults and parameters are validated."""
        indexes = tuple(dict.fromkeys((*INDEX_NAMES, *self.indexes)))
        return {"index": indexes, "method": tuple(METHODS)}


class Exchange:
    """The state of one simulator.

    faults: all since the start, in order of injection; the id is the position, from 1.
    requests: calls by method and index.
    responses: by outcome: ok, refused, or the kind of the fault.
    served_prices: usOut and price of the latest valid responses by index.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.known_names = options.known_names
        self.requests: Counter[tuple[str, str]] = Counter()
        self.responses: Counter[str] = Counter()
        self.served_prices = {
            index: deque[tuple[int, Decimal]](maxlen=MAX_SERVED_PRICES)
            for index in self.known_names["index"]
        }
        self.faults: list[InjectedFault] = []
        for fault in options.faults:
            self.inject(fault)

    def now(self) -> int:
        """Its clock: microseconds since 1970."""
        return self.options.clock() + round(self.options.clock_offset * SECOND)

    def inject(self, fault: Fault) -> InjectedFault:
        """Activate *fault* from now on."""
        injected = InjectedFault(id=len(self.faults) + 1, fault=fault, began_at=self.now())
        self.faults.append(injected)
        return injected

    def active_fault(self, method: str | None, index: str | None, now: int) -> InjectedFault | None:
        """The oldest active fault that affects such a call at *now*."""
        affecting = (each for each in self.faults if each.affects(method, index))
        return next((each for each in affecting if each.is_active(now)), None)

    def locked(self, now: int) -> set[str | None]:
        """The locked indexes at *now*; None stands for all of them."""
        active = (each for each in self.faults if each.is_active(now))
        return {each.fault.index for each in active if each.fault.kind == "locked"}

    def price(self, index: str, second: int, method: str = "get_index_price") -> Decimal:
        """The price of *index* at *second* according to *method*.

        While prices are frozen it is that of an earlier second, also beneath other faults. The
        newest fault comes first because a freeze may begin within another.
        """
        for injected in reversed(self.faults):
            if injected.affects(method, index) and injected.freezes(second):
                second = injected.began_at // SECOND
        return price_at(self.options.seed, index, second)


class State(TypedDict):
    """The lifespan's state, available to every request."""

    exchange: Exchange


class RpcError(Exception):
    """A JSON-RPC error, and the HTTP status of its response."""

    def __init__(self, code: int, message: str, *, status: int = 400, **data: str) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, object] = {"code": code, "message": message}
        if data:
            self.error["data"] = data


def invalid_parameter(name: str, reason: str) -> RpcError:
    """The error for a missing or invalid parameter."""
    return RpcError(-32602, "Invalid params", reason=reason, param=name)


Parameters = Mapping[str, object]
Method = Callable[[Exchange, Parameters, int], object]  # the moment in microseconds


def get_index_price(exchange: Exchange, params: Parameters, now: int) -> object:
    """The price of the second that contains *now*."""
    price = exchange.price(_index(exchange, params), now // SECOND)
    return {"estimated_delivery_price": price, "index_price": price}


def get_index_price_names(exchange: Exchange, params: Parameters, _: int) -> object:
    """Every name; as objects if ``extended``."""
    extended = params.get("extended", False)
    if extended not in ("true", "false") and not isinstance(extended, bool):
        raise invalid_parameter("extended", "must be a boolean")
    names = exchange.known_names["index"]
    return [{"name": name} for name in names] if extended in (True, "true") else names


def get_supported_index_names(exchange: Exchange, params: Parameters, _: int) -> object:
    """The names of one ``type``: all (default), spot or derivative."""
    has_type = _TYPES.get(_text(params, "type", "all"))
    if has_type is None:
        raise invalid_parameter("type", f"must be one of {', '.join(_TYPES)}")
    return [name for name in exchange.known_names["index"] if has_type(name)]


def get_index_chart_data(exchange: Exchange, params: Parameters, now: int) -> object:
    """``[[ms, mean], …]`` of a ``range`` (default 1h), oldest first, at multiples of its step.

    A point is the mean of six prices at equal distances in the step that ends there: in 1h those of
    its own second and of the five before. It is rounded to six decimals, or to two more than the
    tick size has.
    """
    index = _index(exchange, params)
    chart = _CHARTS.get(_text(params, "range", "1h"))
    if chart is None:
        raise invalid_parameter("range", f"must be one of {', '.join(_CHARTS)}")
    length, step = chart
    precision = min(_CHART_PRECISION, tick_size(index).scaleb(-2))

    def mean(end: int) -> Decimal:
        seconds = range(end, end - step, -step // _CHART_SAMPLES)
        prices = (exchange.price(index, each, "get_index_chart_data") for each in seconds)
        return (sum(prices, Decimal(0)) / _CHART_SAMPLES).quantize(precision)

    last = now // SECOND // step * step
    return [[1_000 * end, mean(end)] for end in range(last - length + step, last + 1, step)]


def get_time(_: Exchange, __: Parameters, now: int) -> object:
    """The exchange's clock in milliseconds."""
    return now // 1_000


def status(exchange: Exchange, _: Parameters, now: int) -> object:
    """Which indexes are locked. The exchange sends a string, not a boolean."""
    locked = exchange.locked(now)
    if None in locked:
        return {"locked": "true"}
    names = sorted(name for name in locked if name)
    return {"locked": "partial", "locked_indices": names} if names else {"locked": "false"}


def test(_: Exchange, params: Parameters, __: int) -> object:
    """The version, or an error if ``expected_result`` is exception; its code is a guess."""
    if params.get("expected_result") == "exception":
        raise RpcError(11094, "internal_server_error", status=500)
    return {"version": "1.2.26"}


METHODS: Final[Mapping[str, Method]] = {
    method.__name__: method
    for method in (
        *(get_index_price, get_index_price_names, get_supported_index_names),
        *(get_index_chart_data, get_time, status, test),
    )
}


def _index(exchange: Exchange, params: Parameters) -> str:
    if "index_name" not in params:
        raise invalid_parameter("index_name", "value required")
    name = _text(params, "index_name", "")
    if name not in exchange.known_names["index"]:
        raise invalid_parameter("index_name", "invalid index")
    return name


def _text(params: Parameters, name: str, default: str) -> str:
    value = params.get(name, default)
    if not isinstance(value, str):
        raise invalid_parameter(name, "must be a string")
    return value
