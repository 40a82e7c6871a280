"""rebuild(): all derived rows, computed again from prices and misses without the triggers."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.errors import NoDataFound

from tests.support.database import insert_misses, insert_prices
from tests.support.derived import read_derived_rows
from tests.support.reference import random_walk
from tracker.times import DAY, HOUR, MINUTE

MIDNIGHT = datetime(2024, 3, 31, tzinfo=UTC)
OLD = MIDNIGHT - timedelta(days=900)  # in a chunk of its own


def test_rebuild_repairs_writes_without_triggers(writer: psycopg.Connection) -> None:
    series = random_walk(5, MIDNIGHT - 3 * HOUR, 600, 100)
    insert_prices(writer, "btc_usd", series)
    insert_misses(writer, "btc_usd", [MIDNIGHT + n * MINUTE for n in range(30)], "refused")
    expected = read_derived_rows(writer)
    with writer.transaction():
        writer.execute("SET LOCAL session_replication_role = replica")  # no trigger fires
        writer.execute("DELETE FROM prices")
        writer.execute("DELETE FROM misses")
        insert_prices(
            writer, "btc_usd", {at: price for at, price in series.items() if at.minute < 40}
        )
        for table in ("candles_1h", "candles_1d", "internal.miss_islands"):
            writer.execute(f"UPDATE {table} SET ticker = 'btc_usd'")
    assert read_derived_rows(writer) == expected

    writer.execute("SELECT rebuild('btc_usd')")

    repaired = read_derived_rows(writer)
    assert repaired["internal.miss_islands"] == []
    assert sum(row[6] for row in repaired["candles_1h"]) == writer.execute(
        "SELECT count(*) FROM prices").fetchone()[0]  # type: ignore[index]  # fmt: skip
    assert repaired["candles_1h"] != expected["candles_1h"]
    writer.execute("UPDATE prices SET source = source")  # every trigger runs again
    assert read_derived_rows(writer) == repaired


def test_rebuild_after_dropped_chunks_keeps_older_candles(writer: psycopg.Connection) -> None:
    insert_prices(writer, "btc_usd", random_walk(1, OLD, 3000, 100))
    insert_prices(writer, "btc_usd", random_walk(2, MIDNIGHT + 90 * MINUTE, 3000, 200))
    before = read_derived_rows(writer)

    writer.execute("SELECT drop_chunks('prices', older_than => %s)", [MIDNIGHT - DAY])
    writer.execute("SELECT rebuild('btc_usd')")

    after = read_derived_rows(writer)
    assert after["candles_1h"] == before["candles_1h"]
    assert after["candles_1d"] == before["candles_1d"]
    assert after["tickers"] == [("btc_usd", MIDNIGHT, MIDNIGHT)]
    islands = after["internal.price_islands"]
    assert islands == [row for row in before["internal.price_islands"] if row[1] > MIDNIGHT]
    found = writer.execute("SELECT min(start) FROM gaps('btc_usd', '-infinity', 'infinity')")
    assert found.fetchone() == (MIDNIGHT,)  # the dropped minutes are not missing


def test_rebuild_raises_the_revision_and_notifies(writer: psycopg.Connection) -> None:
    insert_prices(writer, "btc_usd", random_walk(1, MIDNIGHT, 10, 100))
    writer.execute("LISTEN prices")

    writer.execute("SELECT rebuild('btc_usd')")

    [notification] = writer.notifies(timeout=10, stop_after=1)
    assert notification.payload == '{"ticker" : "btc_usd", "revision" : 2}'
    log = "SELECT revision, first_minute, last_minute, minutes FROM internal.changes"
    assert writer.execute(f"{log} WHERE revision = 2").fetchall() == [(2, None, None, None)]
    month = "SELECT revision FROM internal.month_revisions"
    assert writer.execute(month).fetchall() == [(2,)]


@pytest.mark.parametrize("name", ["nope_usd", "", None])
def test_rebuild_of_an_unknown_index_is_refused(
    writer: psycopg.Connection, name: str | None
) -> None:
    with pytest.raises(NoDataFound, match="has been tracked"):
        writer.execute("SELECT rebuild(%s)", [name])
