"""From nothing to a frame, a plot and a volatility in ten lines: by URL, by SQL, from the archive.

    pip install polars 'psycopg[binary]' duckdb
    python ops/notebook.py url 2026-11-01 http://127.0.0.1:8000/v1
    python ops/notebook.py sql 2026-11-01 postgresql://analyst:PASSWORD@127.0.0.1:5433/tracker
    python ops/notebook.py archive 2026-11-01 DIR

Each function is a cell of a notebook. All three give the realised volatility of btc_usd from a date
on, annualised: the root of the mean square of the log returns of adjacent minutes, times that of
525,600, the minutes of 365 days.
"""

import sys

import duckdb
import polars as pl
import psycopg


def from_url(since: str, api: str) -> float:
    """By HTTP: Arrow needs neither a driver nor a password."""
    export = f"{api}/prices/export?ticker=btc_usd&start_date={since}&format=arrow"
    frame = pl.read_ipc_stream(f"{export}&price_type=float64")
    print(frame)
    hours = frame.group_by_dynamic("created_at", every="1h").agg(pl.last("price"))
    plot(hours.rows())
    adjacent = pl.col("created_at").diff() == pl.duration(minutes=1)
    returns = pl.col("price").log().diff().filter(adjacent)
    return float(frame.select((returns.pow(2).mean() * 525_600).sqrt()).item())


def from_sql(since: str, dsn: str) -> float:
    """By SQL: PostgreSQL computes candles and volatility."""
    with psycopg.connect(dsn) as conn:
        hours = "SELECT start, close::float8 FROM candles('btc_usd', '1 hour', %s, now())"
        frame = pl.read_database(hours, conn, execute_options={"params": [since]})
        print(frame)
        plot(frame.rows())
        volatility = "SELECT realised_volatility('btc_usd', %s, now())"
        [(value,)] = conn.execute(volatility, [since])
        return float(value)


def from_archive(since: str, folder: str) -> float:
    """From open files: DuckDB needs no server."""
    files = duckdb.read_parquet(f"{folder}/ticker=btc_usd/*/*.parquet", hive_partitioning=True)
    recent = files.filter(f"created_at >= '{since} 00:00Z'")
    frame = recent.select("created_at, price::float8 AS price")
    print(frame)
    hours = "date_trunc('hour', created_at) AS hour, arg_max(price, created_at)"
    plot(frame.aggregate(hours).order("hour").fetchall())
    both = "(ORDER BY created_at RANGE BETWEEN INTERVAL '1 min' PRECEDING AND CURRENT ROW)"
    changes = f"ln(price / first(price) OVER {both}) AS change, count(*) OVER {both} AS prices"
    pairs = frame.select(changes).filter("prices = 2")
    [(mean,)] = pairs.aggregate("avg(change ^ 2)").fetchall()
    return float(mean * 525_600) ** 0.5


def plot(rows: list[tuple]) -> None:
    """Print a bar for each moment and price."""
    prices = [price for _, price in rows]
    low, high = min(prices), max(prices)
    for moment, price in rows:
        bar = "█" * round(60 * (price - low) / (high - low))
        print(f"{moment:%Y-%m-%d %H:%M} {price:12.2f} {bar}")


if __name__ == "__main__":
    part, since, place = sys.argv[1:]
    parts = {"url": from_url, "sql": from_sql, "archive": from_archive}
    print(f"volatility: {parts[part](since, place):.1%}")
