"""`tracker check-exchange`: compare the exchange's responses with what the tracker relies on.

A dozen requests, none of which changes anything. Sources: https://docs.deribit.com/ (JSON-RPC
overview, errors, and the methods named below), and recorded responses.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

from tracker.errors import ExchangeError, InvalidResponse, Unreachable
from tracker.models import INDEX_NAME, Quote, is_pattern, select_tickers
from tracker.recorder.deribit import (
    MAX_SKEW,
    DeribitClient,
    HttpResponse,
    parse_chart,
    parse_envelope,
    parse_names,
    parse_quote,
)
from tracker.times import EPOCH

T = TypeVar("T")

UNKNOWN_INDEX = "no-such-index_usd"

_FIELDS = {"jsonrpc", "usIn", "usOut", "usDiff", "testnet"}  # of every response, beside its result
_STATUS_FIELDS = {"locked", "locked_indices", "locked_currencies"}
_MAX_LATENCY = 2.0  # seconds, including a new connection
_SECOND = 1_000_000  # microseconds
_MAX_DURATION = 100_000  # microseconds in the exchange; recorded ones are below a thousand
_KNOWN_INDEX = "btc_usd"  # is checked if TICKERS has only patterns
_MAX_DECIMALS = {"btc_usd": 2, "eth_usd": 2}  # other indexes may be tiny
_MORE_DECIMALS = 5  # of an average
_MAX_CHART_AGE = timedelta(minutes=2)  # and two steps
_MAX_DEVIATION = Decimal("0.1")  # of the newest average from the price
# Seconds between the points of a chart, and their number; those of 1y and all are unknown.
_CHARTS = {"1h": (6, 600), "1d": (300, 288), "2d": (300, 576), "1m": (3600, 720), "1y": None,
           "all": None}  # fmt: skip
_LIVELY = 0.9  # of the averages of an hour differ from the one before, in the price's own decimals
_EXPIRY = (7 * 60 + 30, 8 * 60)  # minutes of a UTC day before which delivery prices are averages
_PAUSE = 2.0  # seconds between two prices
_MAX_UNREACHABLE = 2  # requests in a row, after which the others are left out


@dataclass(slots=True)
class CheckedCall:
    """One request: what its response contains, and how it differs from the documentation."""

    name: str
    seconds: float = 0.0
    found: str = ""
    differences: list[str] = field(default_factory=list)
    unreachable: bool = False

    def expect(self, condition: object, difference: str) -> None:
        """Record *difference* unless *condition* is true."""
        if not condition:
            self.differences.append(difference)


class ExchangeCheck:
    """The requests of one check, in their order."""

    def __init__(
        self,
        client: DeribitClient,
        tickers: Sequence[str],
        *,
        testnet: bool = False,
        patience: float = 10.0,
    ) -> None:
        """Check prices and charts of the first of *tickers*, and the names of all.

        patience: seconds within which its price has to change, if it does so otherwise.
        """
        self._client = client
        self._tickers = tickers
        self.ticker = next((each for each in tickers if not is_pattern(each)), _KNOWN_INDEX)
        self._testnet = testnet
        self._patience = patience
        self._price: Decimal | None = None
        self._priced_at = 0.0
        self._is_lively = True  # whether its price changes every few seconds

        self._steps: list[Callable[[], CheckedCall]] = [
            *(self._check_time, self._check_status, self._check_names, self._check_price),
            *(partial(self._check_chart, chart) for chart in _CHARTS),
            *(self._check_change, self._check_refusal),
        ]
        self.count = len(self._steps)

    def run(self) -> Iterator[CheckedCall]:
        """Send the requests; after two without a response the others are left out."""
        unreachable = 0
        for step in self._steps:
            call = step()
            yield call
            unreachable = unreachable + 1 if call.unreachable else 0
            if unreachable == _MAX_UNREACHABLE:
                return

    def _check_time(self) -> CheckedCall:
        """The clock, relative to the middle of the request by this machine's."""
        call = CheckedCall("get_time")
        sent_at = time.time()
        if (document := self._request(call, "get_time")) is None:
            return call
        result, us_out = document["result"], document.get("usOut")
        if not (isinstance(result, int) and isinstance(us_out, int)):
            call.expect(isinstance(result, int), f"result: {result!r} is not an integer")
            return call
        call.expect(abs(result * 1000 - us_out) < _SECOND, f"{result} ms is not usOut, {us_out} µs")
        ahead = us_out / 1e6 - sent_at - call.seconds / 2
        side = "ahead of" if ahead > 0 else "behind"
        call.found = f"clock {abs(ahead):.3f} s {side} this machine's (± {call.seconds / 2:.3f})"
        close = abs(ahead) - call.seconds / 2 <= MAX_SKEW
        call.expect(close, f"the clocks differ by more than {MAX_SKEW:g} s")
        return call

    def _check_status(self) -> CheckedCall:
        call = CheckedCall("status")
        if (document := self._request(call, "status")) is None:
            return call
        result = document["result"]
        call.found = json.dumps(result)
        if not isinstance(result, dict):
            call.differences.append("result: not an object")
            return call
        call.expect(
            result.keys() <= _STATUS_FIELDS, f"unknown fields: {result.keys() - _STATUS_FIELDS}"
        )
        locked = result.get("locked")
        call.expect(
            locked in {"false", "true", "partial"} or isinstance(locked, bool),
            f"locked: {locked!r}",
        )
        is_open = str(locked).lower() == "false"
        call.expect(is_open, "indexes are locked: their prices do not change")
        return call

    def _check_names(self) -> CheckedCall:
        call = CheckedCall("get_index_price_names")
        response = self._fetch(call, "get_index_price_names")
        if response is None or self._check_envelope(call, response, "result") is None:
            return call
        if (names := self._parse(call, response, parse_names)) is None:
            return call
        missing = [
            each for each in self._tickers if names.isdisjoint(select_tickers([each], names))
        ]
        call.found = f"{len(names)} names, all of TICKERS among them"
        if missing:
            call.found = f"{len(names)} names"
            call.differences.append(f"without {', '.join(missing)} of TICKERS")
        odd = sorted(name for name in names if not re.fullmatch(INDEX_NAME, name))
        call.expect(not odd, f"unusual names: {', '.join(odd[:5])}")
        return call

    def _check_price(self, name: str = "get_index_price") -> CheckedCall:
        """One price; remembers it for the check of its change."""
        call = CheckedCall(name)
        response = self._fetch(call, "get_index_price", index_name=self.ticker)
        document = response and self._check_envelope(call, response, "result")
        if not (response and document):
            return call
        quote = self._parse(call, response, partial(parse_quote, ticker=self.ticker))
        if quote is None:
            return call
        result = document["result"]
        fields = {"index_price", "estimated_delivery_price"}
        call.expect(result.keys() == fields, f"fields: {', '.join(sorted(result))}")
        for each in sorted(fields & result.keys()):
            value = result[each]
            call.expect(isinstance(value, Decimal), f"{each}: {value!r} has no decimal point")
            if isinstance(value, Decimal):
                decimals = _count_decimals(value)
                call.expect(
                    decimals <= _MAX_DECIMALS.get(self.ticker, decimals),
                    f"{each}: {value} has {decimals} decimals",
                )
        delivery = result.get("estimated_delivery_price")
        minute = quote.observed_at.hour * 60 + quote.observed_at.minute
        equal = delivery == result["index_price"] or _EXPIRY[0] <= minute < _EXPIRY[1]
        call.expect(equal, f"estimated_delivery_price: {delivery} is not index_price")
        call.found = f"{result['index_price']} {self.ticker}"
        if self._price is None:
            self._price, self._priced_at = quote.price, time.monotonic()
        elif self._price != quote.price:
            self._price = None
        return call

    def _check_change(self) -> CheckedCall:
        """Prices until one differs from the first; a still index is one that its chart knows."""
        seconds = 0.0
        known = self._price is not None
        while True:
            call = self._check_price("get_index_price, later")
            seconds = time.monotonic() - self._priced_at
            if call.differences or not known or self._price is None:
                break
            if seconds > self._patience:
                still = f"the same for {seconds:.0f} s"
                call.found += f", {still}"
                call.expect(
                    not self._is_lively,
                    f"index_price: {still}, and usually changes each second",
                )
                return call
            time.sleep(min(_PAUSE, self._patience))
        if known and not call.differences:
            call.found += f", changed within {seconds:.0f} s"
        return call

    def _check_chart(self, chart: str) -> CheckedCall:
        call = CheckedCall(f"get_index_chart_data {chart}")
        parameters = {"index_name": self.ticker, "range": chart}
        response = self._fetch(call, "get_index_chart_data", **parameters)
        document = response and self._check_envelope(call, response, "result")
        if not (response and document):
            return call
        points = self._parse(call, response, partial(parse_chart, ticker=self.ticker))
        if points is None:
            return call
        if len(points) < 2:  # noqa: PLR2004 -- a step needs two
            call.differences.append(f"{len(points)} points")
            return call
        moments = [round((point.observed_at - EPOCH).total_seconds() * 1000) for point in points]
        steps = [after - before for before, after in pairwise(moments)]
        decimals = max(_count_decimals(point.price) for point in points)
        age = _moment(document.get("usOut")) - points[-1].observed_at
        call.found = (
            f"{len(points)} points, each {min(steps) / 1000:g} s, the newest"
            f" {age.total_seconds():.0f} s old, up to {decimals} decimals"
        )
        call.expect(min(steps) > 0, "the points are not ascending")
        most = _MAX_DECIMALS.get(self.ticker, decimals) + _MORE_DECIMALS
        call.expect(decimals <= most, f"averages have {decimals} decimals")
        if (grid := _CHARTS[chart]) is not None:
            self._check_grid(call, moments, *grid)
            oldest = _MAX_CHART_AGE + 2 * timedelta(seconds=grid[0])
            call.expect(age <= oldest, f"the newest point is {age} old")
        if chart == "1h" and self._price:
            deviation = abs(points[-1].price / self._price - 1)
            self._is_lively = _changes(points, self._price) >= _LIVELY
            far = f"the newest average is {points[-1].price}, the price {self._price}"
            call.expect(deviation <= _MAX_DEVIATION, far)
        return call

    def _check_grid(self, call: CheckedCall, moments: list[int], step: int, count: int) -> None:
        """The points' times, in milliseconds: multiples of *step* seconds, without a hole."""
        odd = sum(moment % (step * 1000) != 0 for moment in moments)
        call.expect(not odd, f"{odd} times are not multiples of {step} s")
        expected = range(moments[0], moments[-1] + 1, step * 1000)
        holes = len({*expected} - {*moments})
        call.expect(not holes, f"{holes} points are missing between the first and the last")
        about = f"{len(moments)} points, not about {count}"
        call.expect(abs(len(moments) - count) <= max(2, count // 20), about)

    def _check_refusal(self) -> CheckedCall:
        """An unknown index: HTTP 400 and an error that names the parameter."""
        call = CheckedCall("get_index_price, unknown index")
        response = self._fetch(call, "get_index_price", index_name=UNKNOWN_INDEX)
        document = response and self._check_envelope(call, response, "error")
        if not (response and document):
            return call
        call.expect(response.status == 400, f"HTTP {response.status}, not 400")  # noqa: PLR2004
        error = document["error"]
        call.found = json.dumps(error, default=str)
        data = {"reason": "invalid index", "param": "index_name"}
        expected = {"code": -32602, "message": "Invalid params", "data": data}
        call.expect(error == expected, f"the error is not {json.dumps(expected)}")
        return call

    def _request(self, call: CheckedCall, method: str) -> dict[str, Any] | None:
        """The document of a successful response without parameters; None after a difference."""
        response = self._fetch(call, method)
        return self._check_envelope(call, response, "result") if response else None

    def _fetch(self, call: CheckedCall, method: str, **parameters: str) -> HttpResponse | None:
        """The response, timed; None if none came."""
        started = time.monotonic()
        try:
            response = self._client.fetch_response(method, **parameters)
        except ExchangeError as error:
            call.differences.append(str(error))
            call.unreachable = isinstance(error, Unreachable)
            return None
        finally:
            call.seconds = time.monotonic() - started
        slow = f"the response took {call.seconds:.1f} s"
        call.expect(call.seconds <= _MAX_LATENCY, slow)
        return response

    def _parse(
        self, call: CheckedCall, response: HttpResponse, parse: Callable[[dict[str, Any]], T]
    ) -> T | None:
        """What the recorder's *parse* makes of a successful response; None if it refuses that."""
        try:
            return parse(parse_envelope(response, testnet=self._testnet))
        except InvalidResponse as error:
            call.differences.append(str(error))
            return None

    def _check_envelope(
        self, call: CheckedCall, response: HttpResponse, content: str
    ) -> dict[str, Any] | None:
        """The JSON-RPC object, whose integers are int and other numbers Decimal.

        content: result or error. None after a difference that makes the rest meaningless.
        """
        kind = response.headers.get("content-type", "")
        if content == "result" or response.status >= 500:  # noqa: PLR2004 -- errors of the server
            try:
                parse_envelope(response, testnet=self._testnet)
            except ExchangeError as error:
                status = "" if str(error).startswith("HTTP") else f"HTTP {response.status}: "
                call.differences.append(f"{status}{error}")
                return None
        try:
            document = json.loads(response.content, parse_float=Decimal)
        except ValueError as error:
            call.differences.append(f"HTTP {response.status}, not JSON: {error}")
            return None
        if not isinstance(document, dict) or content not in document:
            call.differences.append(f"HTTP {response.status} without {content}")
            return None
        call.expect(kind.partition(";")[0] == "application/json", f"Content-Type: {kind}")
        fields = _FIELDS | {content}
        if missing := sorted(fields - document.keys()):
            call.differences.append(f"fields are missing: {', '.join(missing)}")
        if unknown := sorted(document.keys() - fields):
            call.differences.append(f"unknown fields: {', '.join(unknown)}")
        call.expect(document.get("jsonrpc") == "2.0", f"jsonrpc: {document.get('jsonrpc')!r}")
        testnet = document.get("testnet", self._testnet)
        call.expect(testnet is self._testnet, f"testnet: {testnet!r}, not {self._testnet}")
        self._check_times(call, document)
        return document

    def _check_times(self, call: CheckedCall, document: dict[str, Any]) -> None:
        """usIn, usOut and usDiff: microseconds."""
        times = [document[name] for name in ("usIn", "usOut", "usDiff") if name in document]
        odd = [value for value in times if not isinstance(value, int)]
        call.expect(not odd, f"usIn, usOut or usDiff is not an integer: {odd}")
        if odd or len(times) < 3:  # noqa: PLR2004 -- the three of them
            return
        us_in, us_out, duration = times
        call.expect(duration == us_out - us_in, f"usDiff: {duration} is not usOut - usIn")
        spent = f"the exchange took {duration / 1000:.0f} ms, usually less than 1"
        call.expect(duration <= _MAX_DURATION, spent)


def _changes(points: Sequence[Quote], price: Decimal) -> float:
    """The share of *points* that differ from the one before, in the decimals of *price*."""
    rounded = [point.price.quantize(price) for point in points]
    return sum(before != after for before, after in pairwise(rounded)) / (len(points) - 1)


def _count_decimals(price: Decimal) -> int:
    return max(0, -int(price.normalize().as_tuple().exponent))


def _moment(us_out: object) -> datetime:
    return EPOCH + timedelta(microseconds=us_out if isinstance(us_out, int) else 0)
