"""The notifications of a commit."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg

from tracker.settings import Settings

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
INSERT = "INSERT INTO prices (ticker, price, created_at) VALUES "


def read_notifications(listener: psycopg.Connection) -> Iterator[tuple[str, int]]:
    """The notifications up to the empty one."""
    for notification in listener.notifies(timeout=30):
        payload: dict[str, Any] = json.loads(notification.payload)
        if not payload:
            return
        yield payload["ticker"], payload["revision"]


def test_commit_notifies_once_for_each_index(database: Settings, conn: psycopg.Connection) -> None:
    with psycopg.connect(database.database_dsn, autocommit=True) as listener:
        listener.execute("LISTEN prices")
        with conn.transaction():
            conn.execute(f"{INSERT} ('btc_usd', 1.00, %s), ('eth_usd', 1.00, %s)", [NOON, NOON])
            conn.execute("UPDATE prices SET price = 2.00 WHERE ticker = 'btc_usd'")
            conn.execute("UPDATE prices SET price = 3.00 WHERE ticker = 'btc_usd'")
        conn.execute("DELETE FROM prices WHERE ticker = 'eth_usd'")
        conn.execute("TRUNCATE prices")
        conn.execute("NOTIFY prices, '{}'")

        first, second, *rest = read_notifications(listener)

    stored: dict[str, int] = dict(conn.execute("SELECT ticker, revision FROM tickers").fetchall())
    assert {first, second} == {("btc_usd", stored["btc_usd"] - 1), ("eth_usd", 1)}
    assert sorted(rest) == [("btc_usd", stored["btc_usd"]), ("eth_usd", 2), ("eth_usd", 3)]


def test_unchanged_prices_send_no_notification(
    database: Settings, conn: psycopg.Connection
) -> None:
    insert = f"{INSERT} ('btc_usd', 1.00, %s) ON CONFLICT DO NOTHING"
    conn.execute(insert, [NOON])
    with psycopg.connect(database.database_dsn, autocommit=True) as listener:
        listener.execute("LISTEN prices")
        conn.execute(insert, [NOON])
        conn.execute("UPDATE prices SET price = 9.00 WHERE ticker = 'eth_usd'")
        conn.execute("INSERT INTO tickers VALUES ('eth_usd', %s)", [NOON])
        with conn.transaction(force_rollback=True):
            conn.execute("DELETE FROM prices")
        conn.execute("NOTIFY prices, '{}'")

        assert list(read_notifications(listener)) == []
    assert conn.execute("SELECT revision FROM tickers ORDER BY 1").fetchall() == [(0,), (1,)]
