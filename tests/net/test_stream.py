"""Transcripts of the stream, line by line: changes, several indexes, resume, reset, the end.

Every script has an index of its own, which no other script changes, and sets the sequences of ids
and of positions: each one sees the same, alone or after others.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

import psycopg
import pytest

from tests.net.product import Product, Web
from tests.net.recordings import check, shortened
from tests.net.requests import get, observe_all
from tests.net.streams import Stream, following, id_of

pytestmark = pytest.mark.slow

INDEXES = "btc_usd,eth_usd,one_usd,rows_usd,reset_usd,resume_usd,left_usd,right_usd,end_usd,ids_usd"
MINUTES = "generate_series(timestamptz '2026-01-05T00:00Z', '2026-01-31', '1 minute') AS minute"
SETTLE_TIMEOUT = 90.0  # seconds
KEPT_REVISIONS = 20_000  # of an index

FIRST = "first_usd"
FIRST_PRICE = (
    f"INSERT INTO prices (ticker, created_at, price) VALUES ('{FIRST}',"
    " timestamptz '2026-01-01Z' + %s * interval '1 minute', 1.50)"
)

MANY_REVISIONS = f"""
DO $$
BEGIN
    FOR n IN 1..{KEPT_REVISIONS} LOOP
        INSERT INTO prices (ticker, created_at, price)
        VALUES ('one_usd', timestamptz '2000-01-01Z' + n * interval '61 minutes', 1.50);
        IF n % 100 = 0 THEN COMMIT; END IF;
    END LOOP;
END
$$"""


class Script:
    """Statements on one index, each followed by a price that marks its end in the stream."""

    def __init__(
        self, conn: psycopg.Connection, ticker: str, first_id: int = 0, web: Web | None = None
    ) -> None:
        """Change *ticker*; rows and positions get ids from *first_id* on, and *web* knows."""
        self.ticker = ticker
        self._conn = conn
        self._minutes = (
            datetime(2026, 2, 1, tzinfo=UTC) + n * timedelta(minutes=1) for n in count()
        )
        if first_id:
            self.run("SELECT setval('internal.batch_position', %s, false)", first_id)
            self.run(FIRST_PRICE, first_id)
            self.run("SELECT setval(pg_get_serial_sequence('prices', 'id'), %s, false)", first_id)
        if web:
            wait_for_id(web, f"ticker={FIRST}", f"{first_id}")

    def run(self, statement: str, *values: object) -> None:
        """Run *statement*, one transaction."""
        self._conn.execute(statement.encode(), values)

    def mark(self) -> str:
        """Store a price of the next minute, and return what its event holds."""
        minute = next(self._minutes)
        self.run(
            "INSERT INTO prices (ticker, created_at, price) VALUES (%s, %s, 1.50)",
            self.ticker,
            minute,
        )
        return f"{minute:%Y-%m-%dT%H:%M:%SZ}"

    def fill(self, rows: int, price: str = "2.50") -> None:
        """Store *rows* prices from 2026-01-05 on in one statement."""
        self.run(
            "INSERT INTO prices (ticker, created_at, price)"
            f" SELECT %s, minute, %s FROM {MINUTES} LIMIT %s",
            *(self.ticker, price, rows),
        )

    def steps(self, stream: Stream, statements: Sequence[str]) -> dict[str, list[str]]:
        """What *stream* brings after each of *statements*."""
        found = {"00 start": stream.take(1)}
        for number, statement in enumerate(statements, 1):
            self.run(statement)
            found[f"{number:02} {statement}"] = stream.take_until(self.mark())
        return found


def wait_for_id(web: Web, query: str, last_id: str) -> None:
    """Wait until a stream of *query* begins at *last_id*: the server has heard of all changes."""
    deadline = time.monotonic() + SETTLE_TIMEOUT
    while True:
        with following(web, query) as stream:
            if id_of(stream.take(1)[0]) == last_id:
                return
        assert time.monotonic() < deadline, f"no stream begins at {last_id}"


@pytest.fixture(scope="module")
def changing(empty_product: Product) -> Iterator[Product]:
    """A database of this file alone."""
    with empty_product.database("net_stream") as product:
        yield product.changed(TICKERS=INDEXES)


@pytest.fixture(scope="module")
def web(changing: Product) -> Iterator[Web]:
    """The API on that database."""
    with changing.web() as web:
        yield web


@pytest.fixture(scope="module")
def conn(changing: Product) -> Iterator[psycopg.Connection]:
    """A connection of its owner, each statement committed."""
    with psycopg.connect(changing.dsn, autocommit=True) as conn:
        yield conn


def test_changes_are_as_recorded(web: Web, conn: psycopg.Connection) -> None:
    script = Script(conn, "one_usd", 1_000, web)
    insert = "INSERT INTO prices (ticker, created_at, price, source, observed_at) VALUES "
    day, where = "2026-01-01T", "WHERE ticker = 'one_usd' AND created_at ="
    replacing = "ON CONFLICT (ticker, created_at) DO UPDATE SET price = excluded.price"
    statements = [
        f"{insert}('one_usd', '{day}00:00Z', 68241.50, 'poll', '{day}00:00:02.25Z')",
        f"{insert}('one_usd', '{day}00:01Z', 68240.993333, 'chart', NULL)",
        f"{insert}('one_usd', '{day}00:02Z', 0.000000001, 'poll', NULL)",
        f"UPDATE prices SET price = 9.75 {where} '{day}00:01Z'",
        f"UPDATE prices SET price = 9.75 {where} '{day}00:01Z'",
        f"UPDATE prices SET source = 'poll', observed_at = created_at {where} '{day}00:01Z'",
        f"UPDATE prices SET created_at = '{day}01:00Z' {where} '{day}00:02Z'",
        f"UPDATE prices SET price = 1.25 {where} '2020-01-01'",
        f"DELETE FROM prices {where} '{day}00:00Z'",
        f"DELETE FROM prices {where} '2020-01-01'",
        f"{insert}('one_usd', '{day}00:00Z', 3.50, 'poll', NULL)",
        f"{insert}('two_usd', '{day}00:00Z', 3.50, 'poll', NULL)",
        f"{insert}('one_usd', '{day}00:00Z', 4.50, 'poll', NULL) ON CONFLICT DO NOTHING",
        f"{insert}('one_usd', '{day}00:00Z', 5.50, 'chart', NULL) {replacing}",
    ]
    with following(web, "ticker=one_usd") as stream:
        check("stream_changes", script.steps(stream, statements))


def test_statements_of_many_rows_are_as_recorded(web: Web, conn: psycopg.Connection) -> None:
    """Up to 1,000 minutes one by one, more as a reset."""
    script = Script(conn, "rows_usd", 2_000, web)
    found: dict[str, object] = {}
    with following(web, "ticker=rows_usd") as stream:
        found["start"] = stream.take(1)
        for rows in (3, 1_000):
            script.run("DELETE FROM prices WHERE ticker = 'rows_usd' AND created_at < '2026-01-31'")
            script.fill(rows)
            found[f"{rows} rows"] = shortened("\n\n".join(stream.take_until(script.mark())))
        script.run("UPDATE prices SET price = 3.75 WHERE ticker = 'rows_usd' AND price = 2.50")
        found["1000 rows changed"] = shortened("\n\n".join(stream.take_until(script.mark())))
        script.run("DELETE FROM prices WHERE ticker = 'rows_usd' AND price = 3.75")
        found["1000 rows deleted"] = stream.take_until(script.mark())
    check("stream_rows", found)


def test_resets_are_as_recorded(web: Web, conn: psycopg.Connection) -> None:
    """A statement of more than 1,000 minutes; a subscriber that resumes before it gets the same."""
    script = Script(conn, "reset_usd", 5_000, web)
    found: dict[str, list[str]] = {}
    with following(web, "ticker=reset_usd") as stream:
        found["start"] = stream.take(1)
        script.fill(1_001)
        found["1001 rows"] = stream.take_until(script.mark())
        script.run("UPDATE prices SET price = 4.50 WHERE ticker = 'reset_usd' AND price = 2.50")
        found["1001 rows changed"] = stream.take_until(script.mark())
        script.run("DELETE FROM prices WHERE ticker = 'reset_usd' AND price = 4.50")
        found["1001 rows deleted"] = stream.take_until(last := script.mark())
    for name, blocks in list(found.items())[:-1]:
        with following(web, "ticker=reset_usd", id_of(blocks[-1])) as stream:
            found[f"resumed after {name}"] = stream.take_until(last)
    check("stream_resets", found)


def test_resume_is_as_recorded(web: Web, conn: psycopg.Connection) -> None:
    """By header and by parameter, from the start, the middle of a statement, and the end."""
    script = Script(conn, "resume_usd", 8_000, web)
    where = "WHERE ticker = 'resume_usd' AND created_at ="
    with following(web, "ticker=resume_usd") as stream:
        blocks = stream.take(1) + stream.take_until(script.mark())
        script.fill(5)
        blocks += stream.take_until("2026-01-05T00:04:00Z")
        script.run(f"UPDATE prices SET price = 7.25 {where} '2026-01-05T00:02Z'")
        blocks += stream.take_until("2026-01-05T00:02:00Z")
        script.run(f"DELETE FROM prices {where} '2026-01-05T00:03Z'")
        blocks += stream.take_until(last := script.mark())
    found = {"all": blocks}
    ids = [id_of(block) for block in blocks]
    for place, known in enumerate(ids[:-1]):
        with following(web, "ticker=resume_usd", known) as stream:
            found[f"header, after block {place}"] = stream.take_until(last)
        with following(web, f"ticker=resume_usd&last_event_id={known}") as stream:
            found[f"parameter, after block {place}"] = stream.take_until(last)
    with following(web, f"ticker=resume_usd&last_event_id={ids[0]}", ids[-2]) as stream:
        found["header and parameter"] = stream.take_until(last)
    with following(web, "ticker=resume_usd", ids[-1]) as stream:
        found["after the end"] = stream.take(1) + stream.take_until(script.mark())
    check("stream_resume", found)


def test_several_indexes_are_as_recorded(web: Web, conn: psycopg.Connection) -> None:
    """An id is a position in all of them; changes of others are not sent."""
    left, right = Script(conn, "left_usd", 9_000, web), Script(conn, "right_usd")
    other = Script(conn, "eth_usd")
    found: dict[str, list[str]] = {}
    with following(web, "ticker=right_usd&ticker=left_usd") as stream:
        found["00 start"] = stream.take(1)
        for name, script, rows in (
            ("01 left", left, 2),
            ("02 right", right, 2),
            ("03 left", left, 0),
        ):
            other.mark()
            if rows:
                script.fill(rows)
            found[name] = stream.take_until(script.mark())
        left.run(
            "INSERT INTO prices (ticker, created_at, price) VALUES"
            " ('left_usd', '2026-03-01', 1.50), ('right_usd', '2026-03-01', 2.50)"
        )
        found["04 both"] = stream.take(2)
    for name in ("00 start", "01 left", "02 right", "03 left"):
        known = id_of(found[name][-1])
        for ticker in ("left_usd", "right_usd"):
            with following(web, f"ticker={ticker}", known) as stream:
                found[f"{ticker} after {name}"] = stream.take_until("2026-03-01T00:00:00Z")
        with following(web, "ticker=left_usd&ticker=right_usd", known) as stream:
            blocks = stream.take(1)
            for _ in range(2):
                blocks += stream.take_until("2026-03-01T00:00:00Z")
            found[f"both after {name}"] = blocks
    check("stream_indexes", found)


def test_parameters_and_ids_are_refused_as_recorded(web: Web, conn: psycopg.Connection) -> None:
    """All that does not begin a stream; HEAD of those that would."""
    Script(conn, "ids_usd", 10_000).mark()
    url = "/prices/stream"
    good = f"{url}?ticker=ids_usd"
    ids = (
        *("", "ids_usd", "ids_usd:", "ids_usd:1,", "-1", "1.", "1.0", "1.0.1", "1.1.1.1", "1,2"),
        *("1.x.1", "IDS_USD:1", "9" * 19, "%00", "a" * 100, "\xe9"),
    )
    queries = (
        *("ticker=", "ticker=IDS", "ticker=doge_usd", "ticker=ids_usd&ticker=ids_usd"),
        *("ticker=ids_usd&limit=1", "ticker=ids_usd,ids_usd", "ticker=ids_usd&format=json"),
        "ticker=ids_usd&last_event_id=1&last_event_id=1",
    )
    cases = [get(f"{url}?{query}", method) for query in queries for method in ("GET", "HEAD")]
    cases += [get(f"{good}&last_event_id={each}") for each in ids[:-1]]
    cases += [get(good, Last_Event_ID=each) for each in ids if each]
    heads = ("0", "10000", "10000.1.1", "ids_usd:1", "btc_usd:5,nothing_usd:1.5", "", "99999")
    cases += [get(good, "HEAD", Last_Event_ID=each) for each in heads]
    cases += [get(f"{good}&ticker=btc_usd", "HEAD"), get(f"/v1{good}", "HEAD")]
    cases += [get(f"{good},btc_usd", "HEAD"), get(f"{url}?", "HEAD"), get(url, "HEAD")]
    cases += [
        get(good, "HEAD", Accept="application/json"),
        get(good, "HEAD", Accept_Encoding="gzip"),
    ]
    check("stream_refusals", *observe_all(web, cases))


def test_one_client_too_many_is_refused_as_recorded(changing: Product) -> None:
    with (
        changing.changed(STREAM_CLIENTS="1").web() as web,
        following(web, "ticker=btc_usd") as stream,
    ):
        stream.take(1)
        cases = [get("/prices/stream?ticker=btc_usd", method) for method in ("GET", "HEAD")]
        check("stream_clients", *observe_all(web, cases))


def test_end_of_the_server_is_as_recorded(changing: Product, conn: psycopg.Connection) -> None:
    script = Script(conn, "end_usd", 11_000)
    with changing.web() as web, following(web, "ticker=end_usd") as stream:
        blocks = stream.take(1) + stream.take_until(script.mark())
        web.process.terminate()
        blocks += stream.rest()
        status = web.process.wait(20)
    check("stream_end", {"blocks": blocks, "exit status": status})


def test_lost_history_is_as_recorded(empty_product: Product) -> None:
    """Ids older than the log, ids of an index that began again, and all rows removed at once."""
    found: dict[str, list[str]] = {}
    query = "ticker=one_usd"
    with (
        empty_product.database("net_stream_lost") as product,
        psycopg.connect(product.dsn, autocommit=True) as conn,
    ):
        script = Script(conn, "one_usd", 1_000)
        with product.changed(TICKERS=INDEXES).web() as web, following(web, query) as stream:
            early = stream.take(1) + stream.take_until(script.mark())
        conn.execute("SET synchronous_commit = off")
        conn.execute(MANY_REVISIONS)
        with product.changed(TICKERS=INDEXES).web() as web:
            for name, known in zip(("start", "mark"), early, strict=True):
                with following(web, query, id_of(known)) as stream:
                    blocks = stream.take(2) + stream.take_until(script.mark())
                    found[f"1 too old, after {name}"] = blocks
            wait_for_id(web, query, id_of(blocks[-1]).partition(".")[0])
            with following(web, query) as stream:
                blocks = stream.take(1)
                conn.execute("TRUNCATE prices")
                found["2 truncated"] = blocks = blocks + stream.take_until(script.mark())
            conn.execute("DELETE FROM prices")
            conn.execute("DELETE FROM tickers")
            script.mark()
            wait_for_id(web, query, "21007")
            with following(web, query, id_of(blocks[-1])) as stream:
                blocks = stream.take(2) + stream.take_until(script.mark())
                found["3 of an index that began again"] = blocks
    check("stream_lost", found)
