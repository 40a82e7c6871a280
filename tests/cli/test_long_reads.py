"""Long reads continue after resets, 429 and 503; what is left of one that fails is whole JSON."""

import asyncio
import csv
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import stamina

from ops.bench.processes import free_ports
from tests.support.api import serve_api
from tests.support.commands import TIMEOUT, read_line, start_tracker, wait_until_full
from tests.support.flaky import Fault, run_flaky_proxy
from tests.support.waiting import wait_until
from tracker.client import DEFAULT_ATTEMPTS, AsyncClient, Client, next_delay
from tracker.errors import ApiError
from tracker.models import SourcedPrice
from tracker.settings import Settings
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
COUNT = 2_500  # three pages
MANY = (
    "INSERT INTO prices (ticker, created_at, price)"
    " SELECT 'eth_usd', %s + n * INTERVAL '1 min', 1.50 + n FROM generate_series(1, %s) AS n"
)
MINUTES = [NOON + n * MINUTE for n in range(1, COUNT + 1)]
RESET, CUT = Fault(), Fault(after=0.5)
BUSY, LIMITED = Fault(503, {"Retry-After": "0"}), Fault(429, {"Retry-After": "1"})
ReadAll = Callable[..., list[SourcedPrice]]


@pytest.fixture(scope="module")
def url(base: Settings) -> Iterator[str]:
    """The API of a database with prices of eth_usd and none of btc_usd."""
    with psycopg.connect(base.database_dsn) as conn:
        conn.execute(MANY, [NOON, COUNT])
    with serve_api(base) as client:
        yield f"{client.base_url}/v1"


@pytest.fixture
def without_waits() -> Iterator[None]:
    """Retries without pauses."""
    with stamina.set_testing(True, attempts=DEFAULT_ATTEMPTS):
        yield


async def _collect(url: str, name: str, **options: Any) -> list[SourcedPrice]:
    async with AsyncClient(url) as client:
        values: AsyncIterator[SourcedPrice] = getattr(client, name)("eth_usd", **options)
        return [each async for each in values]


@pytest.fixture(params=["blocking", "async"])
def read_all(request: pytest.FixtureRequest) -> ReadAll:
    """All values of an iterator of one of the two clients."""

    def collect(url: str, name: str, **options: Any) -> list[SourcedPrice]:
        if request.param == "async":
            return asyncio.run(_collect(url, name, **options))
        with Client(url) as client:
            return list(getattr(client, name)("eth_usd", **options))

    return collect


@pytest.mark.usefixtures("without_waits")
def test_pages_continue_after_faults(url: str, read_all: ReadAll) -> None:
    """Wherever a fault is, also at the first request: each row once, in both orders."""
    faults = (BUSY, LIMITED, None, RESET, CUT, Fault(502), None, CUT, BUSY)
    for order, expected in (("asc", MINUTES), ("desc", MINUTES[::-1])):
        with run_flaky_proxy(url, *faults) as proxy:
            found = read_all(proxy.url, "prices", order=order, limit=1000)
        assert [price.created_at for price in found] == expected


@pytest.mark.usefixtures("without_waits")
def test_export_continues_after_faults(url: str, read_all: ReadAll) -> None:
    """From the minute after the last whole line, up to the given end."""
    faults = (LIMITED, CUT, RESET, BUSY, Fault(after=0.3), Fault(after=0.999))
    with run_flaky_proxy(url, *faults) as proxy:
        found = read_all(proxy.url, "export", start=MINUTES[3], end=MINUTES[-7])
    assert [price.created_at for price in found] == MINUTES[3:-7]
    assert found[0].source == "poll"
    assert read_all(url, "export", start=MINUTES[-1] + MINUTE) == []


@pytest.mark.usefixtures("without_waits")
def test_single_value_is_requested_again(url: str) -> None:
    with run_flaky_proxy(url, BUSY, LIMITED, RESET) as proxy, Client(proxy.url) as client:
        assert client.at("eth_usd", MINUTES[0]).created_at == MINUTES[0]
    hour = Fault(429, {"Retry-After": "3600"})
    with (
        run_flaky_proxy(url, hour) as proxy,
        Client(proxy.url) as client,
        pytest.raises(ApiError, match="HTTP 429"),
    ):
        client.tickers()


@pytest.mark.usefixtures("without_waits")
def test_read_gives_up_after_many_faults(url: str, read_all: ReadAll) -> None:
    """The last error is raised, and no more requests are made."""
    with run_flaky_proxy(url, None, *[BUSY] * 50) as proxy:
        with pytest.raises(ApiError, match="HTTP 503"):
            read_all(proxy.url, "prices")
        assert len(proxy.requests) == 1 + DEFAULT_ATTEMPTS
    hour = Fault(429, {"Retry-After": "3600"})
    with run_flaky_proxy(url, None, hour) as proxy, pytest.raises(ApiError) as caught:
        read_all(proxy.url, "prices")
    assert caught.value.retry_after == 3600
    with run_flaky_proxy(url, None, *[RESET] * 50) as proxy:
        with pytest.raises(httpx.TransportError):
            read_all(proxy.url, "prices", limit=1000)
        assert len(proxy.requests) == 1 + DEFAULT_ATTEMPTS
    with run_flaky_proxy(url, Fault(404)) as proxy, pytest.raises(ApiError):
        read_all(proxy.url, "export")


def test_stream_waits_as_retry_after_says() -> None:
    """Between attempts, of which a stream makes any number."""
    assert next_delay(0.0, ApiError(503, {}, 7.0)) == 7
    assert next_delay(4.0, ApiError(429, {}, 0.0)) == next_delay(4.0, ApiError(429, {})) == 8
    assert next_delay(0.0, httpx.ReadError("")) == 1
    with pytest.raises(ApiError, match="HTTP 404"):
        next_delay(0.0, ApiError(404, {"response": "HTTP 404"}))


@pytest.mark.slow
def test_command_waits_as_retry_after_says(url: str) -> None:
    """Seconds or a date; each wait is a line on standard error, and the output is whole."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    faults = (None, LIMITED, RESET, Fault(503, {"Retry-After": soon}))
    words = ("prices", "eth_usd", "--all", "--order=asc")
    with run_flaky_proxy(url, *faults) as proxy:
        with start_tracker(*words, "--url", proxy.url) as process:
            output, errors = process.communicate(timeout=TIMEOUT)
        times = proxy.requests

    assert process.returncode == 0
    assert len(json.loads(output)) == COUNT
    assert times[2] - times[1] >= 1
    assert [line.partition("; the next attempt")[0] for line in errors.splitlines()][::2] == [
        f"tracker: {proxy.url}: HTTP 429",
        f"tracker: {proxy.url}: HTTP 503",
    ]
    assert errors.count("\n") == 3


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "csv"])
def test_failed_read_leaves_whole_output(url: str, form: str) -> None:
    """A permanent error in the middle: valid JSON or whole lines of CSV, one line, status 1."""
    words = ("prices", "eth_usd", "--all", "--format", form)
    with (
        run_flaky_proxy(url, None, Fault(410)) as proxy,
        start_tracker(*words, "--url", proxy.url) as process,
    ):
        output, errors = process.communicate(timeout=TIMEOUT)

    rows = json.loads(output) if form == "json" else output.splitlines()[1:]
    assert (process.returncode, len(rows)) == (1, 1000)
    assert output.endswith("\n")
    assert errors.startswith(f"tracker: {proxy.url}: HTTP 410; ")
    assert errors.count("\n") == 1


@pytest.mark.slow
def test_unknown_index_leaves_whole_output(url: str) -> None:
    """The prices before it are printed, the status is that of an invalid argument."""
    with start_tracker("last", "eth_usd", "nope_usd", "btc_usd", "--url", url) as process:
        output, errors = process.communicate(timeout=TIMEOUT)

    assert process.returncode == 2
    assert [row["ticker"] for row in json.loads(output)] == ["eth_usd"]
    assert errors.startswith("tracker: ticker: 'nope_usd' is not tracked")
    assert errors.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_leaves_whole_output(url: str, tmp_path: Path, number: signal.Signals) -> None:
    """While it waits for the next page."""
    file = tmp_path / "prices.json"
    with (
        file.open("w") as stream,
        run_flaky_proxy(url, None, Fault(429, {"Retry-After": "60"})) as proxy,
        start_tracker(
            *("prices", "eth_usd", "--all", "--url", proxy.url), stdout=stream.fileno()
        ) as process,
    ):
        assert "the next attempt is in 60 s" in read_line(process.stderr)
        process.send_signal(number)
        errors = process.communicate(timeout=TIMEOUT)[1]

    assert (process.returncode, errors) == (130 if number == signal.SIGINT else -number, "")
    assert len(json.loads(file.read_text())) == 1000


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "csv"])
def test_signal_during_a_write_leaves_whole_output(url: str, form: str) -> None:
    """The reader pauses, and reads on after the signal; a second signal does not wait for it."""
    words = ("prices", "eth_usd", "--all", "--format", form, "--url", url)
    with start_tracker(*words) as process, start_tracker(*words) as other:
        for each in (process, other):
            wait_until_full(each.stdout)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=TIMEOUT)
        wait_until(lambda: other.send_signal(signal.SIGTERM) or other.poll() is not None)

    rows = json.loads(output) if form == "json" else list(csv.DictReader(output.splitlines()))
    assert (process.returncode, errors) == (-signal.SIGTERM, "")
    assert other.returncode == -signal.SIGTERM
    assert 0 < len(rows) < COUNT
    assert output.endswith("\n")
    assert {len(row["created_at"]) for row in rows} == {len("2024-01-15T12:00:00Z")}


@pytest.mark.slow
def test_refused_connection_is_reported_at_once() -> None:
    """Nothing was read yet: the address may be wrong."""
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    with start_tracker("prices", "eth_usd", "--all", "--url", address) as process:
        output, errors = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith(f"tracker: {address} is unavailable: ")
    assert errors.count("\n") == 1
