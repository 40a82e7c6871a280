"""The exchange's public methods: each turns parameters and a moment into a result."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from tracker.simulator.chart import RANGES, points
from tracker.simulator.exchange import SECOND, Exchange
from tracker.simulator.names import is_derivative, is_spot, quantum
from tracker.simulator.wire import Refusal, invalid

Params = Mapping[str, object]
Method = Callable[[Exchange, Params, int], object]  # the moment in microseconds

_VERSION: Final = "1.2.26"
_TRUTHS: Final = {"true": True, "false": False, True: True, False: False}
_TYPES: Final[Mapping[object, Callable[[str], bool]]] = {
    "all": bool,
    "spot": is_spot,
    "derivative": is_derivative,
}


def get_index_price(exchange: Exchange, params: Params, moment: int) -> object:
    """The price of the second that contains *moment*."""
    price = exchange.price(_index(exchange, params), moment // SECOND)
    return {"estimated_delivery_price": price, "index_price": price}


def get_index_price_names(exchange: Exchange, params: Params, _: int) -> object:
    """Every name; as objects when ``extended``."""
    extended = params.get("extended", False)
    if not isinstance(extended, str | bool) or extended not in _TRUTHS:
        raise invalid("extended", "must be a boolean")
    names = exchange.names
    return [{"name": name} for name in names] if _TRUTHS[extended] else list(names)


def get_supported_index_names(exchange: Exchange, params: Params, _: int) -> object:
    """The names of one ``type``: all, spot or derivative."""
    belongs = _TYPES.get(_word(params, "type", "all"))
    if belongs is None:
        raise invalid("type", "must be one of all, spot, derivative")
    return [name for name in exchange.names if belongs(name)]


def get_index_chart_data(exchange: Exchange, params: Params, moment: int) -> object:
    """``[[ms, average], …]``, oldest first, of a ``range``; 1h unless it says otherwise."""
    index = _index(exchange, params)
    chart = RANGES.get(_word(params, "range", "1h"))
    if chart is None:
        raise invalid("range", f"must be one of {', '.join(RANGES)}")

    def price(second: int) -> Decimal:
        return exchange.price(index, second, "get_index_chart_data")

    return points(price, chart, moment // SECOND, quantum(index))


def get_time(_: Exchange, __: Params, moment: int) -> object:
    """The exchange's clock, in milliseconds."""
    return moment // 1_000


def status(_: Exchange, __: Params, ___: int) -> object:
    """Nothing is locked; the exchange really says so in a string."""
    return {"locked": "false"}


def test(_: Exchange, params: Params, __: int) -> object:
    """The version, or an error if one is wished for; which one is unknown."""
    if params.get("expected_result") == "exception":
        raise Refusal(11094, "internal_server_error", status=500)
    return {"version": _VERSION}


_ALL: Final = (
    *(get_index_price, get_index_price_names, get_supported_index_names),
    *(get_index_chart_data, get_time, status, test),
)
METHODS: Final[Mapping[str, Method]] = {method.__name__: method for method in _ALL}


def _index(exchange: Exchange, params: Params) -> str:
    if "index_name" not in params:
        raise invalid("index_name", "value required")
    name = _word(params, "index_name", "")
    if name not in exchange.names:
        raise invalid("index_name", "invalid index")
    return name


def _word(params: Params, name: str, default: str) -> str:
    word = params.get(name, default)
    if not isinstance(word, str):
        raise invalid(name, "must be a string")
    return word
