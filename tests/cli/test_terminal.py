"""The command line at a terminal: tables, colours, widths, signals."""

import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from tests.support.api import serve_api
from tests.support.commands import (
    STYLE,
    TIMEOUT,
    Terminal,
    open_terminal,
    run_at_terminal,
    start_tracker,
)
from tracker.settings import Settings

pytestmark = pytest.mark.slow

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
ROWS = (
    "INSERT INTO prices (ticker, created_at, price, source, observed_at) VALUES"
    " ('btc_usd', %(at)s, 68241.50, 'poll', %(at)s + INTERVAL '7.25 s'),"
    " ('btc_usd', %(at)s + INTERVAL '1 min', 68240.993333, 'chart', NULL),"
    " ('btc_usd', %(at)s + INTERVAL '4 min', 68250.00, 'poll', %(at)s + INTERVAL '4 min')"
)


@pytest.fixture(scope="module")
def url(base: Settings) -> Iterator[str]:
    """The API of a database with three prices."""
    with psycopg.connect(base.database_dsn) as conn:
        conn.execute(ROWS, {"at": NOON})
    with serve_api(base) as client:
        yield f"{client.base_url}/v1"


def words_of(screen: Terminal) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in screen.text.splitlines()]


def test_prices_are_printed_as_table(url: str) -> None:
    """Prices are exact; a repaired one is marked in words and in colour."""
    status, screen = run_at_terminal("prices", "btc_usd", "--url", url)

    assert status == 0
    assert words_of(screen) == [
        ["minute", "(UTC)", "price", "source", "observed"],
        ["2024-01-15", "12:04", "68250.00", "poll", "12:04:00.000000"],
        ["2024-01-15", "12:01", "68240.993333", "repaired"],
        ["2024-01-15", "12:00", "68241.50", "poll", "12:00:07.250000"],
    ]
    assert "\x1b[33mrepaired\x1b[0m" in screen.raw


def test_candles_have_local_time(url: str) -> None:
    """A day begins at midnight of --tz."""
    words = ("candles", "btc_usd", "--interval=1d", "--tz=Asia/Tokyo", "--url", url)
    status, screen = run_at_terminal(*words)

    assert status == 0
    assert words_of(screen) == [
        ["begins", "(Asia/Tokyo)", "open", "high", "low", "close", "samples"],
        ["2024-01-15", "00:00", "68241.50", "68250.00", "68240.993333", "68250.00", "3"],
    ]
    assert "\x1b[32m68250.00\x1b[0m" in screen.raw


def test_filled_rows_are_marked(url: str) -> None:
    """In words and in colour; without a price their cells are empty."""
    range_ = ("--start-date=2024-01-15T12:02Z", "--end-date=2024-01-15T12:05Z", "--url", url)
    nulls = run_at_terminal("prices", "btc_usd", "--fill=null", *range_)[1]
    words = ("candles", "btc_usd", "--fill=previous", "--interval=1m")
    status, candles = run_at_terminal(*words, *range_)

    assert status == 0
    assert words_of(nulls) == [
        ["minute", "(UTC)", "price", "filled", "source", "observed"],
        ["2024-01-15", "12:04", "68250.00", "poll", "12:04:00.000000"],
        ["2024-01-15", "12:03", "yes"],
        ["2024-01-15", "12:02", "yes"],
    ]
    lines = nulls.text.splitlines()
    assert lines[2].index("yes") == lines[0].index("filled")
    assert words_of(candles) == [
        ["begins", "(UTC)", "open", "high", "low", "close", "samples", "filled"],
        ["2024-01-15", "12:04", *["68250.00"] * 4, "1"],
        ["2024-01-15", "12:03", *["68240.993333"] * 4, "0", "yes"],
        ["2024-01-15", "12:02", *["68240.993333"] * 4, "0", "yes"],
    ]
    assert "\x1b[33myes" in candles.raw


def test_gaps_and_coverage_are_printed_as_tables(url: str) -> None:
    until = ("--end-date", "2024-01-15T12:05Z", "--url", url)
    gaps, coverage = (
        run_at_terminal("gaps", "btc_usd", *until),
        run_at_terminal("coverage", "btc_usd", *until),
    )

    assert (gaps[0], coverage[0]) == (0, 0)
    assert words_of(gaps[1])[1] == ["2024-01-15", "12:02", "2024-01-15", "12:03", "2", "not_polled"]
    assert words_of(coverage[1])[1] == ["2024-01-15", "12:00", "5", "2", "1", "0", "2", "60.00%"]


def test_statistics_are_a_table_of_figures(url: str) -> None:
    bounds = ("--start-date=2024-01-15", "--end-date=2024-01-15T12:05Z", "--url", url)
    status, screen = run_at_terminal("stats", "btc_usd", *bounds)

    assert status == 0
    assert words_of(screen)[:2] == [
        ["figure", "value", "minute", "(UTC)"],
        ["first", "68241.50", "2024-01-15", "12:00"],
    ]
    assert ["missing", "2"] in words_of(screen)


def test_last_prints_age(url: str) -> None:
    status, screen = run_at_terminal("last", "--url", url)
    days = (datetime.now(UTC) - NOON).days

    assert status == 3
    assert words_of(screen)[1] == f"btc_usd 68250.00 2024-01-15 12:04 {days} days poll".split()


def test_no_color_and_dumb_terminals_get_plain_text(url: str) -> None:
    words = ("prices", "btc_usd", "--url", url)
    plain, dumb = run_at_terminal(*words, NO_COLOR="1")[1], run_at_terminal(*words, TERM="dumb")[1]

    assert STYLE.search(run_at_terminal(*words)[1].raw)
    assert not STYLE.search(plain.raw)
    assert "\x1b" not in dumb.raw
    assert words_of(plain) == words_of(dumb)


@pytest.mark.parametrize(("columns", "heads"), [(61, 4), (59, 4), (45, 3), (33, 2), (20, 2)])
def test_narrow_terminal_keeps_digits(url: str, columns: int, heads: int) -> None:
    """Optional columns are left out; what is still too wide, the terminal wraps."""
    screen = run_at_terminal("prices", "btc_usd", "--url", url, columns=columns)[1]
    lines = screen.text.splitlines()
    names = ["minute (UTC)", "price", "source", "observed"]

    assert re.split("  +", lines[0].strip()) == names[:heads]
    assert lines[2].split()[:3] == ["2024-01-15", "12:01", "68240.993333"]
    assert columns == 20 or max(map(len, lines)) <= columns


def test_ctrl_c_is_status_130(url: str) -> None:
    """Without a message."""
    words = ("watch", "btc_usd", "--url", url)
    with open_terminal() as screen, start_tracker(*words, stdout=screen.theirs) as process:
        screen.read_until("68250.00")
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 130
        assert process.stderr
        assert process.stderr.read() == ""
