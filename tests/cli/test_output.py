"""The command line reads the API: what a program gets, and the exit statuses it can go by."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bench.processes import free_ports
from tests.support.api import serve_api
from tests.support.commands import TIMEOUT, start_tracker
from tests.support.database import insert_minutes, minutes_from
from tracker import rows
from tracker.cli import main
from tracker.client import values
from tracker.gaps import Coverage, Gap
from tracker.models import Candle, EmptyBucket, FilledPrice, SourcedPrice, exact_price
from tracker.settings import Settings
from tracker.times import DAY, MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
ROWS = (
    "INSERT INTO prices (ticker, created_at, price, source, observed_at) VALUES"
    " ('btc_usd', %(at)s, 68241.50, 'poll', %(at)s + INTERVAL '7.25 s'),"
    " ('btc_usd', %(at)s + INTERVAL '1 min', 0.100000000000000000000000000001, 'chart', NULL),"
    " ('btc_usd', %(at)s + INTERVAL '4 min', 68250.00, 'poll', %(at)s + INTERVAL '4 min')"
)
ORIGIN = "include=source,observed_at"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def url(base: Settings) -> Iterator[str]:
    """The API of a database with 3 prices of btc_usd, 1100 of eth_usd and none of sol_usd."""
    with psycopg.connect(base.database_dsn) as conn:
        conn.execute(ROWS, {"at": NOON})
        insert_minutes(conn, minutes_from(NOON + MINUTE, 1100), "eth_usd")
    tickers = ("btc_usd", "eth_usd", "sol_usd")
    with serve_api(base.changed(tickers=tickers)) as client:
        yield f"{client.base_url}/v1"


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `tracker` in this process: its exit status, output and errors."""

    def run_words(*words: str, at: str = url) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tracker", *words, "--url", at])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()  # type: ignore[return-value]  # no text

    return run_words


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("prices btc_usd", f"prices?ticker=btc_usd&{ORIGIN}"),
        (
            "prices btc_usd --order asc --start-date 2024-01-15 --end-date 1705320240 --limit 2",
            f"prices?ticker=btc_usd&order=asc&start_date=2024-01-15&end_date=1705320240&{ORIGIN}",
        ),
        ("prices eth_usd --limit 1000", f"prices?ticker=eth_usd&limit=1000&{ORIGIN}"),
        (
            "candles btc_usd --interval 1d --tz Europe/Berlin --order asc",
            "candles?ticker=btc_usd&interval=1d&tz=Europe/Berlin&order=asc",
        ),
        *(
            (
                f"{words} --fill {fill} --start-date 1705319880 --end-date 1705320360",
                f"{path}&fill={fill}&start_date=1705319880&end_date=1705320360",
            )
            for fill in ("null", "previous")
            for words, path in (
                ("prices btc_usd --order asc", f"prices?ticker=btc_usd&order=asc&{ORIGIN}"),
                ("candles btc_usd --interval 1m", "candles?ticker=btc_usd&interval=1m"),
            )
        ),
        ("gaps btc_usd --end-date 2024-01-15T12:05Z", "gaps?ticker=btc_usd&end_date=1705320300"),
        (
            "coverage btc_usd --interval 1d --end-date 2024-01-15T12:05Z",
            "coverage?ticker=btc_usd&interval=1d&end_date=1705320300",
        ),
    ],
)
def test_pipe_gets_api_rows(run: Run, url: str, words: str, path: str) -> None:
    """JSON by default, CSV with --format=csv: the API's names, values and order."""
    address = f"{url}/{path}" if path.startswith("prices") else f"{url}/prices/{path}"
    expected = httpx.get(address, headers={"Accept": "application/json"}).json()
    table = httpx.get(address, headers={"Accept": "text/csv"}).text

    found = run(*words.split())
    as_csv = run(*words.split(), "--format=csv")

    assert (found[0], found[2]) == (as_csv[0], as_csv[2]) == (0, "")
    assert json.loads(found[1]) == expected
    assert expected
    assert as_csv[1] == table.replace("\r\n", "\n")
    assert len(found[1].splitlines()) == len(expected) + 2


def test_stats_prints_the_api_object(run: Run, url: str) -> None:
    """A list of one; an empty range is status 3."""
    words = ("stats", "btc_usd", "--start-date=2024-01-15", "--end-date=2024-01-16")
    query = "ticker=btc_usd&start_date=2024-01-15&end_date=2024-01-16"
    assert json.loads(run(*words)[1]) == [httpx.get(f"{url}/prices/stats?{query}").json()]
    table = httpx.get(f"{url}/prices/stats?{query}&format=csv").text
    assert run(*words, "--format=csv")[1] == table.replace("\r\n", "\n")
    status, _, error = run("stats", "btc_usd", "--end-date=2024-01-15")
    assert (status, error) == (3, "tracker: btc_usd: no rows found\n")


@pytest.mark.parametrize("name", ["prices", "candles"])
def test_fill_needs_both_dates(run: Run, name: str) -> None:
    """As the API says; a range without rows is status 3, as elsewhere."""
    error = "tracker: fill: needs start_date and end_date\n"
    assert run(name, "btc_usd", "--fill=null", "--end-date=2024-01-16") == (2, "", error)
    empty = ("--start-date=2024-01-15", "--end-date=2024-01-15")
    assert run(name, "btc_usd", "--fill=previous", *empty) == (
        *(3, "[]\n"),
        "tracker: btc_usd: no rows found\n",
    )


def test_last_prints_each_ticker_in_order(run: Run, url: str) -> None:
    """The given tickers, by default every polled one; an index without a price is status 3."""
    one = httpx.get(f"{url}/prices/last?ticker=btc_usd&{ORIGIN}").json()
    other = httpx.get(f"{url}/prices/last?ticker=eth_usd&{ORIGIN}").json()

    assert json.loads(run("last", "eth_usd", "btc_usd")[1]) == [other, one]
    status, output, error = run("last")

    assert json.loads(output) == [one, other]
    assert (status, error) == (3, "tracker: ticker: no price of sol_usd yet\n")


def test_latest_prints_all_indexes_by_one_request(run: Run, url: str) -> None:
    """The given ones in their order; the statuses and texts of `last`."""
    rows = httpx.get(f"{url}/prices/latest?{ORIGIN}").json()
    named = run("latest", "eth_usd", "btc_usd", "eth_usd")
    table = run("latest", "btc_usd", "--format=table")[1].splitlines()
    unknown = run("latest", "btc_usd", "doge_usd")
    missing = "tracker: ticker: no price of sol_usd yet\n"

    assert [row["ticker"] for row in rows] == ["btc_usd", "eth_usd"]
    assert (named[0], json.loads(named[1]), named[2]) == (0, rows[::-1], "")
    assert table[0].split() == ["ticker", "price", "minute", "(UTC)", "age", "source"]
    assert table[1].startswith("btc_usd")
    status, output, error = run("latest")
    assert (status, json.loads(output), error) == (3, rows, missing)
    assert run("latest", "sol_usd") == (3, "[]\n", missing)
    assert (unknown[0], unknown[1]) == (2, "")


def test_loopback_bypasses_proxy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy for the internet cannot reach this machine's API."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)[0]}")
    assert run("last", "btc_usd")[0] == 0


def test_wrong_path_is_status_1(run: Run, url: str) -> None:
    """A missing endpoint is an error that names the address, unlike a missing price."""
    error = "the server has no such path; the API of a tracker is at / or /v1, for example"
    for words in ("last btc_usd", "latest", "prices btc_usd", "watch btc_usd"):
        status, output, errors = run(*words.split(), at=f"{url}9")
        assert (status, output, errors) == (1, "", f"tracker: {url}9: {error}\n")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_closed_pipe_ends_command_silently(url: str, form: str) -> None:
    """`| head` causes no error message."""
    words = ("prices", "eth_usd", "--all", "--format", form, "--url", url)
    with start_tracker(*words) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()

        assert process.stderr.read() == ""
        assert process.wait(TIMEOUT) == -13


def test_help_imports_no_heavy_modules() -> None:
    """It lists each command in its group."""
    code = "import sys\nfrom tracker.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", code, "--help"], text=True)
    text, modules = output.rsplit("\n", 2)[:2]

    assert re.search(r"read prices:\n  last +print the newest price of each index\n", text)
    assert "3 no rows found, or not all of them" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    heavy = {"httpx", "rich", "pydantic", "psycopg", "starlette", "loguru", "tracker.settings"}
    assert not heavy & set(modules.split())


moments = st.timedeltas(-10_000 * DAY, 10_000 * DAY).map(lambda far: NOON + far)
minutes = moments.map(lambda moment: moment.replace(second=0, microsecond=0))
amounts = st.builds(
    lambda digits, point: exact_price(Decimal(digits).scaleb(-point)),
    st.integers(10**12, 10**18),
    st.integers(0, 30),
)
counts = st.integers(0, 1440)


@given(
    st.builds(
        SourcedPrice, counts, st.just("a_b"), amounts, minutes, st.just("poll"), st.none() | moments
    ),
    st.builds(Candle, minutes, amounts, amounts, amounts, amounts, counts),
    st.builds(lambda at, n: Gap(at, at + (n + 1) * MINUTE, "refused"), minutes, counts),
    st.builds(
        lambda at, n, m, k: Coverage(at, n + m + k + 1, n, m, k), minutes, counts, counts, counts
    ),
)
def test_rows_round_trip(price: SourcedPrice, candle: Candle, gap: Gap, coverage: Coverage) -> None:
    """A rendered row parses to an equal value."""
    assert values.parse_price(rows.price_row(price)) == price
    assert values.parse_candle(rows.candle_row(candle)) == candle
    assert values.parse_gap(rows.gap_row(gap)) == gap
    assert values.parse_coverage(rows.coverage_row(coverage)) == coverage


@given(
    st.builds(
        FilledPrice,
        *(st.none() | counts, st.just("a_b"), st.none() | amounts, minutes, st.booleans()),
        *(st.none() | st.just("poll"), st.none() | moments),
    ),
    st.builds(EmptyBucket, minutes, st.none() | amounts)
    | st.builds(Candle, minutes, amounts, amounts, amounts, amounts, counts),
)
def test_filled_rows_round_trip(price: FilledPrice, bucket: Candle | EmptyBucket) -> None:
    assert values.parse_filled_price(rows.filled_price_row(price)) == price
    assert values.parse_filled_candle(rows.filled_candle_row(bucket)) == bucket
