"""Reading Deribit's answers: bytes in, a value or one typed error out; nothing is asked here.

Sources: https://docs.deribit.com/ (JSON-RPC overview, errors); RFC 9110, 10.2.3 (Retry-After).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from tracker.errors import BadAnswer, ExchangeError, RateLimited, Refused, Unavailable
from tracker.models import Quote, exact_price
from tracker.times import EPOCH

_LARGEST_CODE = 2**31  # misses.code is an integer
_LATEST = 10**17  # microseconds since 1970: the year 5138
_OK = 200
_LONGEST_SHOWN = 80
_TOO_MANY = {429, 10028}
_SERVER_ERROR = 500  # and above: proxies on the way have codes of their own, 520 say
# Codes of errors that pass by themselves; those of other errors mean the question is wrong.
_PASSING = {10001, 10040, 10041, 10047, 10048, 10066, 11051, 11056, 11094, 13025, 13028, 13503}
_LASTING = {-32700, -32600, -32601, -32602, -32000, 10030} | {
    *(11029, 11043, 11049, 11050, 12005, 13018, 13020),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; the names in *headers* are in lower case."""

    content: bytes
    status: int = _OK
    headers: Mapping[str, str] = field(default_factory=dict)


def read_quote(answer: Answer, ticker: str, *, testnet: bool) -> Quote:
    """The price of *ticker* in an answer of public/get_index_price. Raises ExchangeError.

    The method's result has no time of its own, so that of the answer is taken: usOut,
    microseconds since 1970 UTC. Source: https://docs.deribit.com/#public-get_index_price
    """
    document = _document(answer)
    result = _result(document, answer)
    _check_net(document, testnet=testnet)
    if not isinstance(result, dict):
        raise BadAnswer(f"result: not an object: {_shown(answer.content)}")
    if result.get("index_name", ticker) != ticker:
        raise BadAnswer(f"index_name: asked for {ticker}, got {_shown(result['index_name'])}")
    price, moment = _price(result.get("index_price")), _moment(document.get("usOut"), "usOut")
    return Quote(ticker=ticker, price=price, observed_at=moment)


def read_names(answer: Answer) -> set[str]:
    """Every name in an answer of public/get_index_price_names. Raises ExchangeError."""
    result = _result(_document(answer), answer)
    if not isinstance(result, list) or not all(isinstance(name, str) for name in result):
        raise BadAnswer(f"result: not a list of index names: {_shown(answer.content)}")
    return set(result)


def read_time(answer: Answer) -> datetime:
    """The moment in an answer of public/get_time, milliseconds since 1970 UTC.

    Raises ExchangeError. Source: https://docs.deribit.com/#public-get_time
    """
    result = _result(_document(answer), answer)
    if not isinstance(result, Decimal):
        raise BadAnswer(f"result: not a number of milliseconds: {_shown(answer.content)}")
    return _moment(result * 1000, "result")


def read_chart(answer: Answer, ticker: str, *, testnet: bool) -> list[Quote]:
    """The points of *ticker* in an answer of public/get_index_chart_data, oldest first.

    Each is an average over the step that its time stands for, not a price of that moment.
    Raises ExchangeError. Source: https://docs.deribit.com/#public-get_index_chart_data
    """
    document = _document(answer)
    result = _result(document, answer)
    _check_net(document, testnet=testnet)
    if not isinstance(result, list):
        raise BadAnswer(f"result: not a list of points: {_shown(answer.content)}")
    return [_point(point, ticker) for point in result]


def _point(point: object, ticker: str) -> Quote:
    match point:
        case [Decimal() as milliseconds, Decimal() as price]:
            moment = _moment(milliseconds * 1000, "time of a point")
            return Quote(ticker=ticker, price=_price(price), observed_at=moment)
    raise BadAnswer(f"result: not a point: {_shown(point)}")


def _check_net(document: dict[str, Any], *, testnet: bool) -> None:
    """Raises BadAnswer for an answer of the other net, whose prices are others."""
    if document.get("testnet", testnet) is not testnet:
        raise BadAnswer(f"testnet: expected {testnet}, got {_shown(document['testnet'])}")


def _document(answer: Answer) -> dict[str, Any]:
    """The JSON object of the answer; where there is none, the status says what went wrong."""
    try:
        document = json.loads(
            answer.content, parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number
        )
    except (ValueError, ArithmeticError, RecursionError) as error:
        _refuse_status(answer)
        raise BadAnswer(f"not JSON ({error}): {_shown(answer.content)}") from None
    if not isinstance(document, dict):
        _refuse_status(answer)
        raise BadAnswer(f"not a JSON object: {_shown(answer.content)}")
    return document


def _no_number(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


def _result(document: dict[str, Any], answer: Answer) -> object:
    """The body is read before the status is judged: errors come with HTTP 200 too."""
    if (error := document.get("error")) is not None:
        raise _rpc_error(error, answer)
    _refuse_status(answer)
    if "result" not in document:
        raise BadAnswer(f"result: missing in {_shown(answer.content)}")
    return document["result"]


def _rpc_error(error: object, answer: Answer) -> ExchangeError:
    """A known code says more than the status; without one the status does."""
    code = _code(error)
    if answer.status == _OK or code in _TOO_MANY | _PASSING | _LASTING:
        return _error_of(code, f"the exchange says {_words(error)}, code {code}", answer)
    message = f"the exchange says {_words(error)}, HTTP {answer.status}"
    return _error_of(answer.status, message, answer)


def _code(error: object) -> int | None:
    """The JSON-RPC error code, if there is one that can be stored."""
    value = error.get("code") if isinstance(error, dict) else None
    if not isinstance(value, Decimal) or not -_LARGEST_CODE < value < _LARGEST_CODE:
        return None
    return int(value) if value == int(value) else None


def _words(error: object) -> str:
    """What an error says of itself: 'Invalid params' ('invalid index')."""
    if not isinstance(error, dict):
        return _shown(error)
    facts, words = error.get("data"), _shown(error.get("message"))
    reason = facts.get("reason") if isinstance(facts, dict) else None
    return words if reason is None else f"{words} ({_shown(reason)})"


def _refuse_status(answer: Answer) -> None:
    """Raises for a status other than 200, when the body has not told more."""
    if answer.status != _OK:
        message = f"HTTP {answer.status}: {_shown(answer.content)}"
        raise _error_of(answer.status, message, answer)


def _error_of(code: int | None, message: str, answer: Answer) -> ExchangeError:
    retry_after = _retry_after(answer.headers)
    if code in _TOO_MANY:
        return RateLimited(message, code=code, retry_after=retry_after)
    if code in _PASSING or (answer.status >= _SERVER_ERROR and code not in _LASTING):
        return Unavailable(message, code=code, retry_after=retry_after)
    return Refused(message, code=code)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until the exchange wants to be asked again, 0 or more; a date is understood too."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _price(price: object) -> Decimal:
    try:
        if isinstance(price, Decimal):
            return exact_price(price)
    except ValueError:
        raise BadAnswer(f"index_price: not a credible price: {_shown(price)}") from None
    raise BadAnswer(f"index_price: not a number: {_shown(price)}")


def _moment(number: object, name: str) -> datetime:
    if not (isinstance(number, Decimal) and 0 < number < _LATEST and number == int(number)):
        raise BadAnswer(f"{name}: not microseconds since 1970: {_shown(number)}")
    return EPOCH + timedelta(microseconds=int(number))


def _shown(value: object) -> str:
    """*value* short enough for a log line; of what is nested, only the kind."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…")
