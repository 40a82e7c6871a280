"""Each file of sql/examples, asked by an analyst, answers as plain Python does."""

import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import correlation, fmean, stdev
from typing import Any

import psycopg
import pytest

from tests.support.database import insert_misses, insert_prices, login
from tests.support.reference import (
    bucket_returns,
    bucket_start,
    find_gaps,
    group_prices,
    next_bucket,
    random_walk,
)
from tracker.embedded.home import psql_command, psql_environment
from tracker.settings import CHECKOUT, Settings
from tracker.times import MINUTE, minute_of

FILES = sorted((CHECKOUT / "sql/examples").glob("*.sql"))
FIVE, HOUR, DAY = 5 * MINUTE, timedelta(hours=1), timedelta(days=1)
NOW = minute_of(datetime.now(UTC))
START = NOW - 80 * HOUR
SERIES = {
    "btc_usd": random_walk(3, START, 4560, 65_000),
    "eth_usd": random_walk(4, START, 4560, 3_500),
}
BTC, ETH = SERIES.values()
FAILED = [START + n * MINUTE for n in range(4800) if START + n * MINUTE not in BTC][40:90]

Row = tuple[Any, ...]


def percent(part: Decimal) -> float:
    return 100 * float(part)


def volatility_by_hour(_: datetime) -> list[Row]:
    found = bucket_returns(BTC, FIVE)
    hours = {hour: [part for start, part in found.items() if start.hour == hour]
             for hour in range(24)}  # fmt: skip
    return [(hour, 100 * stdev(parts), len(parts)) for hour, parts in hours.items()]


def correlation_of_both(_: datetime) -> list[Row]:
    one, other = bucket_returns(BTC, HOUR), bucket_returns(ETH, HOUR)
    both = sorted(one.keys() & other.keys())
    return [(correlation([one[at] for at in both], [other[at] for at in both]), len(both))]


def largest_move(_: datetime) -> list[Row]:
    steps = [(at, BTC[at - FIVE], price) for at, price in BTC.items() if at - FIVE in BTC]
    steps.sort(key=lambda step: (-abs(step[2] / step[1] - 1), step[0]))
    return [(*step, percent(step[2] / step[1] - 1)) for step in steps[:5]]


def coverage_by_month(now: datetime) -> list[Row]:
    rows: list[Row] = []
    for ticker, series in SERIES.items():
        month = bucket_start(START, None)
        while month <= now:
            first, last = max(month, min(series)), min(next_bucket(month, None), minute_of(now))
            expected = (last - first) // MINUTE
            stored = sum(first <= minute < last for minute in series)
            share = 100 * stored / expected if expected else None
            rows.append((ticker, f"{month:%Y-%m}", expected, stored, share))
            month = next_bucket(month, None)
    return rows


def longest_gaps(now: datetime) -> list[Row]:
    reasons = {"btc_usd": dict.fromkeys(FAILED, "refused"), "eth_usd": {}}
    rows = [
        (ticker, *gap)
        for ticker, series in SERIES.items()
        for gap in find_gaps(series, reasons[ticker], min(series), minute_of(now))
    ]
    return sorted(rows, key=lambda row: (-row[3], row[0], row[1]))[:10]


def drawdown(_: datetime) -> list[Row]:
    peak, falls = Decimal(0), []
    for at, price in BTC.items():
        peak = max(peak, price)
        falls.append((price / peak, at, peak, price))
    part, at, peak, price = min(falls)
    return [(at, peak, price, percent(part - 1))]


def ratio(_: datetime) -> list[Row]:
    btc, eth = group_prices(BTC, HOUR), group_prices(ETH, HOUR)
    return [(at, float(eth[at][-1] / btc[at][-1])) for at in sorted(btc.keys() & eth.keys())]


def range_by_weekday(_: datetime) -> list[Row]:
    days: dict[int, list[float]] = {}
    for start, prices in group_prices(BTC, DAY).items():
        width = percent((max(prices) - min(prices)) / prices[0])
        days.setdefault(start.isoweekday(), []).append(width)
    return [(day, fmean(widths), len(widths)) for day, widths in sorted(days.items())]


ANSWERS: dict[str, Callable[[datetime], list[Row]]] = {
    "volatility_by_hour": volatility_by_hour,
    "correlation": correlation_of_both,
    "largest_move": largest_move,
    "coverage_by_month": coverage_by_month,
    "longest_gaps": longest_gaps,
    "drawdown": drawdown,
    "ratio": ratio,
    "range_by_weekday": range_by_weekday,
}


def fill(conn: psycopg.Connection) -> None:
    """Three days and four hours up to some hours ago, with holes and some reasons for them."""
    for ticker, series in SERIES.items():
        insert_prices(conn, ticker, series)
    insert_misses(conn, "btc_usd", FAILED, "refused")


def assert_same(found: list[Row], expected: list[Row]) -> None:
    """Row for row; a number that was rounded is as near as its last place."""
    assert len(found) == len(expected) > 0
    for row, model in zip(found, expected, strict=True):
        for value, wanted in zip(row, model, strict=True):
            if isinstance(wanted, float):
                places = -value.as_tuple().exponent
                assert float(value) == pytest.approx(wanted, abs=0.51 * 10**-places)
            else:
                assert value == wanted


@pytest.fixture(scope="module")
def filled(base: Settings) -> Settings:
    """Known prices of two indexes."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        fill(conn)
        conn.execute("VACUUM ANALYZE")
    return base


@pytest.fixture
def analyst(filled: Settings) -> Iterator[psycopg.Connection]:
    with login(filled, "analyst") as conn:
        yield conn


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_answers_as_python_does(analyst: psycopg.Connection, file: Path) -> None:
    """To the last row; rounded as the query rounds."""
    with analyst.transaction():
        [(now,)] = analyst.execute("SELECT now()").fetchall()
        found = analyst.execute(file.read_bytes()).fetchall()

    assert_same(found, ANSWERS[file.stem](now))


def test_every_example_has_its_answer() -> None:
    """Neither a file without a model, nor a model without a file."""
    assert {file.stem for file in FILES} == ANSWERS.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_example_is_one_statement_below_its_question(
    analyst: psycopg.Connection, file: Path
) -> None:
    """The protocol of prepared statements takes no second one."""
    text = file.read_text()
    question = text.partition("?")[0].splitlines()
    analyst.execute(text, prepare=True)

    assert text.startswith("-- ")
    assert all(line.startswith("-- ") for line in question)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_example_reads_no_chunk_outside_its_time(ages: psycopg.Connection, file: Path) -> None:
    """Prices are bounded on both sides: the chunks of other years are excluded."""
    found = ages.execute(b"EXPLAIN " + file.read_bytes()).fetchall()
    chunks = set(re.findall(r"_hyper_\w+?_chunk", "\n".join(line for (line,) in found)))
    assert chunks <= chunks_around(ages)


@pytest.fixture(scope="module")
def ages(filled: Settings) -> Iterator[psycopg.Connection]:
    """A connection that also sees prices of ten years ago and in ten years."""
    with psycopg.connect(filled.database_dsn) as conn:
        conn.execute("SET session_replication_role = replica")
        for years in (-10, 10):
            insert = "INSERT INTO prices (ticker, price, created_at) VALUES ('btc_usd', 1.50, %s)"
            conn.execute(insert, [NOW + years * 365 * DAY])
        yield conn
        conn.rollback()


def chunks_around(conn: psycopg.Connection) -> set[str]:
    """The chunks of the last 30 days."""
    query = (
        "SELECT chunk_name FROM timescaledb_information.chunks"
        " WHERE range_start <= now() AND range_end >= now() - INTERVAL '30 days'"
    )
    return {name for (name,) in conn.execute(query)}


def test_psql_runs_them(filled: Settings) -> None:
    """As the README says, logged in as analyst."""
    settings = filled.changed(postgres_user="analyst")
    words = ["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1"]
    words += [word for file in FILES for word in ("-f", str(file))]
    done = subprocess.run(
        psql_command(settings, words),
        env=psql_environment(settings),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(" row") == len(FILES)


README = (CHECKOUT / "README.md").read_text()


def test_the_readme_is_true(analyst: psycopg.Connection) -> None:
    """Its statements run, its commands ask what there is, and its table names every example."""
    statements = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    asked = re.findall(r'POSTGRES_USER=analyst ops/just psql -c "(.*)"', README)
    frames = re.findall(r'^HOURS = "(.*)"$', README, re.MULTILINE)
    assert (len(statements), len(asked), len(frames)) == (1, 1, 1)
    for statement in [*statements[0].splitlines(), *asked, *frames]:
        analyst.execute(statement)
    named = re.findall(r"^\| `(\w+)\.sql` \|", README, re.MULTILINE)
    assert sorted(named) == [file.stem for file in FILES]
    assert set(re.findall(r"sql/examples/(\w+)\.sql", README)) <= set(named)
