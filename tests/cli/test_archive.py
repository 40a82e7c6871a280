"""The archive: one table to its readers, rewritten where prices changed, valid after a crash."""

import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import orjson
import polars as pl
import psycopg
import pytest

from tests.support.database import drop_prices, insert_prices, upsert_prices
from tests.support.reference import random_walk
from tracker.archive import Tally, update_archive
from tracker.errors import ArchiveError
from tracker.settings import CHECKOUT, Settings
from tracker.times import DAY, MINUTE

START = datetime(2024, 12, 30, 12, tzinfo=UTC)
SERIES = {  # every tenth price of five days
    ticker: dict(islice(random_walk(seed, START, 7_000, price).items(), 0, None, 10))
    for ticker, seed, price in (("btc_usd", 1, 65_000), ("eth_usd", 2, 3_500))
}
ROWS = sum(map(len, SERIES.values()))
MONTHS = ("month=2024-12", "month=2025-01")
FILES = [f"ticker={ticker}/{month}/prices.parquet" for ticker in SERIES for month in MONTHS]
QUERY = "SELECT ticker, created_at, price, source, observed_at FROM prices ORDER BY 1, 2"


class Crash(BaseException):
    """The end of the process, which leaves files as they are."""


@pytest.fixture
def conn(writer: psycopg.Connection) -> psycopg.Connection:
    """A connection to a database with two indexes over the turn of a year."""
    for ticker, series in SERIES.items():
        insert_prices(writer, ticker, series)
    writer.execute(
        "UPDATE prices SET observed_at = created_at + INTERVAL '1.234567 s' WHERE price > 30_000"
    )
    return writer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "data" / "archive"


def read_archive(folder: Path) -> list[tuple[Any, ...]]:
    """The rows as polars reads them, in the order of QUERY."""
    table = pl.scan_parquet(folder / "**/*.parquet", hive_partitioning=True)
    columns = ["ticker", "created_at", "price", "source", "observed_at"]
    return table.sort("ticker", "created_at").select(columns).collect().rows()


def read_lines(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of all manifests by the paths of their files."""
    return {
        f"{manifest.parent.name}/{line['file']}": line
        for manifest in sorted(folder.glob("*/_manifest.json"))
        for line in orjson.loads(manifest.read_bytes())
    }


def identify(folder: Path) -> dict[str, int]:
    """A number for each Parquet file, which changes when it is written again."""
    return {str(file.relative_to(folder)): file.stat().st_ino for file in folder.rglob("*.parquet")}


def test_archive_is_one_table_to_every_reader(
    conn: psycopg.Connection, base: Settings, folder: Path
) -> None:
    """Exact prices, nulls, microseconds; months are texts, and files are sorted."""
    assert update_archive(base.database_dsn, folder) == Tally(files=4, rows=ROWS)
    stored = conn.execute(QUERY).fetchall()

    assert read_archive(folder) == stored
    table = f"read_parquet('{folder}/*/*/*.parquet', hive_partitioning = true)"
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        assert duck.sql(QUERY.replace("prices", table)).fetchall() == stored
        months = duck.sql(f"SELECT DISTINCT month FROM {table} ORDER BY 1").fetchall()
    assert months == [("2024-12",), ("2025-01",)]
    for name in FILES:
        moments = pl.read_parquet(folder / name, hive_partitioning=False)["created_at"]
        assert moments.is_sorted()


def test_statements_of_the_readme_read_the_archive(
    conn: psycopg.Connection, base: Settings, folder: Path
) -> None:
    """A row for each index and day, and one for each file."""
    update_archive(base.database_dsn, folder)
    blocks = re.findall(r"```sql\n(.*?)```", (CHECKOUT / "sql/README.md").read_text(), re.DOTALL)
    [block] = [each for each in blocks if "'DIR/" in each]
    days, files = block.replace("DIR", str(folder)).replace("2026-10", "2024-01").split(";")[:2]
    count = "SELECT count(DISTINCT (ticker, created_at::date)) FROM prices"
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        found = duck.sql(days).fetchall()
        lines = duck.sql(files).fetchall()

    assert conn.execute(count).fetchall() == [(len(found),)]
    assert sum(row[-1] for row in found) == ROWS
    assert [f"ticker={ticker}/{file}" for ticker, file, *_ in sorted(lines)] == FILES


def test_manifest_tells_what_each_file_has(
    conn: psycopg.Connection, base: Settings, folder: Path
) -> None:
    update_archive(base.database_dsn, folder)
    revisions = {
        f"ticker={ticker}/month={month:%Y-%m}/prices.parquet": revision
        for ticker, month, revision in conn.execute(
            "SELECT ticker, month, revision FROM internal.month_revisions"
        )
    }
    ends = {
        ticker: {"2024-12": datetime(2025, 1, 1, tzinfo=UTC), "2025-01": max(series) + MINUTE}
        for ticker, series in SERIES.items()
    }

    lines = read_lines(folder)
    assert list(lines) == FILES
    for name, line in lines.items():
        content = (folder / name).read_bytes()
        frame = pl.read_parquet(folder / name, hive_partitioning=False)
        moments = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in frame["created_at"]]
        assert line == {
            "ticker": name.split("/")[0].removeprefix("ticker="),
            "file": name.partition("/")[2],
            "rows": len(moments),
            "first": moments[0],
            "last": moments[-1],
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "revision": revisions[name],
            "complete_until": f"{ends[line['ticker']][line['file'][6:13]]:%Y-%m-%dT%H:%M:%SZ}",
        }


def test_only_changed_months_are_written_again(
    conn: psycopg.Connection, base: Settings, folder: Path
) -> None:
    """A repair changes its month alone; without a change the manifest stays too."""
    update_archive(base.database_dsn, folder)
    before, manifests = identify(folder), [*folder.glob("*/_manifest.json")]
    written = [manifest.stat().st_ino for manifest in manifests]
    assert update_archive(base.database_dsn, folder) == Tally(unchanged=4)
    assert identify(folder) == before
    assert [manifest.stat().st_ino for manifest in manifests] == written

    december = [minute for minute in {*SERIES["eth_usd"], START} if minute.year == 2024]
    upsert_prices(conn, "eth_usd", {START: "7.123456789012345678"})
    assert update_archive(base.database_dsn, folder) == Tally(1, len(december), 3)
    after = identify(folder)
    assert [name for name in FILES if after[name] != before[name]] == [FILES[2]]
    assert read_archive(folder) == conn.execute(QUERY).fetchall()


def test_files_keep_what_retention_has_dropped(
    conn: psycopg.Connection, base: Settings, folder: Path
) -> None:
    """Also a month that is written again after a part of it was dropped."""
    stored = conn.execute(QUERY).fetchall()
    update_archive(base.database_dsn, folder)
    before = identify(folder)
    drop_prices(conn, 2 * DAY)
    [(kept_since,)] = conn.execute("SELECT DISTINCT kept_since FROM tickers")
    assert kept_since > datetime(2025, 1, 1, tzinfo=UTC)
    assert update_archive(base.database_dsn, folder) == Tally(unchanged=4)
    assert (identify(folder), read_archive(folder)) == (before, stored)

    repaired = min(minute for minute in SERIES["btc_usd"] if minute >= kept_since)
    upsert_prices(conn, "btc_usd", {repaired: "1.000000000000000001"}, "import")
    update_archive(base.database_dsn, folder)
    [price] = conn.execute(QUERY.replace("ORDER", "WHERE source = 'import' ORDER"))
    expected = [price if row[:2] == price[:2] else row for row in stored]
    assert read_archive(folder) == expected
    lines = read_lines(folder)
    assert sum(line["rows"] for line in lines.values()) == len(stored)
    assert lines[FILES[1]]["first"][:10] == "2025-01-01"


def test_archive_is_valid_after_a_crash_at_any_point(
    writer: psycopg.Connection, base: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is whole, at most one is newer than its line, and the next run completes it all."""
    insert_prices(writer, "btc_usd", {START: "1.50", START + 3 * DAY: "2.50"})
    sync, left = os.fsync, 0

    def sync_or_crash(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Crash
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync_or_crash)
    for steps in range(1, 100):
        place = folder / str(steps)
        left = steps
        try:
            update_archive(base.database_dsn, place)
        except Crash:
            lines, whole = read_lines(place), identify(place)
            assert all(pl.read_parquet(place / name).height == 1 for name in whole)
            assert lines.keys() <= whole.keys()
            assert len(whole) - len(lines) <= 1
            update_archive(base.database_dsn, place)
        else:
            break
        assert list(read_lines(place)) == FILES[:2]
        assert read_archive(place) == writer.execute(QUERY).fetchall()
        assert [*place.rglob("*.part")] == []
    assert steps == 4 * 3 + 1  # two files and their manifests, each with two folders


def test_two_archivers_do_not_harm_each_other(
    conn: psycopg.Connection, base: Settings, folder: Path
) -> None:
    """One works, the other one says so; a lock ends with its process."""

    def update(_: int) -> str:
        try:
            update_archive(base.database_dsn, folder)
        except ArchiveError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as threads:
        ends = set(threads.map(update, range(4)))
    assert "" in ends <= {"", f"another process writes to {folder}"}
    with (folder / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert update(0) == f"another process writes to {folder}"
    assert update(0) == ""
    assert read_archive(folder) == conn.execute(QUERY).fetchall()


def test_newer_file_is_overwritten_by_force_only(
    conn: psycopg.Connection, base: Settings, folder: Path
) -> None:
    """It is of another database, or of this one before an older backup was restored."""
    update_archive(base.database_dsn, folder)
    before = identify(folder)
    conn.execute("UPDATE internal.month_revisions SET revision = 0 WHERE ticker = 'btc_usd'")
    newer = ", ".join(str(folder / name) for name in FILES[:2])
    message = f"newer than the database: {newer}; --force overwrites them"
    with pytest.raises(ArchiveError, match=f"^{re.escape(message)}$"):
        update_archive(base.database_dsn, folder)
    assert identify(folder) == before
    assert update_archive(base.database_dsn, folder, force=True).files == 2


@pytest.mark.usefixtures("conn")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: folder.write_text(""), "File exists"),
        (lambda folder: manifest_of(folder).write_text("{"), "_manifest.json is no manifest"),
        (lambda folder: manifest_of(folder).write_text('[{"rows": 1}]'), "is no manifest"),
    ],
)
def test_unusable_folder_is_an_error(
    base: Settings,
    folder: Path,
    damage: Callable[[Path], object],
    message: str,
) -> None:
    folder.parent.mkdir()
    damage(folder)
    with pytest.raises(ArchiveError, match=message):
        update_archive(base.database_dsn, folder)


def manifest_of(folder: Path) -> Path:
    """That of btc_usd, whose folder exists then."""
    place = folder / "ticker=btc_usd"
    place.mkdir(parents=True)
    return place / "_manifest.json"


def test_lost_or_damaged_file_is_written_again(
    conn: psycopg.Connection, base: Settings, folder: Path
) -> None:
    update_archive(base.database_dsn, folder)
    (folder / FILES[0]).unlink()
    (folder / FILES[3]).write_bytes(b"PAR1")
    assert update_archive(base.database_dsn, folder).files == 2
    assert read_archive(folder) == conn.execute(QUERY).fetchall()


def test_archive_without_the_extra_is_refused(
    base: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "arro3", None)  # as if it were not installed
    with pytest.raises(ArchiveError, match="pip install"):
        update_archive(base.database_dsn, folder)
    assert not folder.exists()
