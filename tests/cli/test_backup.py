"""Backup and restore: a restored database equals the one that was backed up, or is not there."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from zipfile import ZIP_DEFLATED, ZipFile

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from tests.support.community import apply_migrations, run_community_edition
from tests.support.database import (
    create_database,
    insert_misses,
    insert_prices,
    list_databases,
    login,
    start_over_tcp,
)
from tests.support.reference import random_walk
from tests.support.schema import read_schema
from tracker import migrations
from tracker.errors import BadRequest, MigrationsPending, TransferError
from tracker.settings import ROLES, Settings
from tracker.times import MINUTE
from tracker.transfer.backup import TABLES, Kind, backup, compute_sums
from tracker.transfer.restore import load_tables, open_backup, restore

pytestmark = pytest.mark.slow

OLD, NEW = datetime(2023, 3, 1, tzinfo=UTC), datetime(2025, 6, 1, 11, 30, tzinfo=UTC)
OURS = """
    SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relname !~ 'yoyo'
       AND relnamespace IN ('public'::regnamespace, to_regnamespace('internal')) ORDER BY 1
"""
PRICE = "INSERT INTO prices (ticker, price, created_at) VALUES ('btc_usd', 7.25, %s) RETURNING id"


@pytest.fixture(scope="module")
def source(servers: Settings) -> Iterator[Settings]:
    """Two indexes in two chunks, with holes, misses, changed prices, a hole in the ids, and candles
    of prices that are dropped."""
    with create_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            fill(conn)
        yield settings


def fill(conn: psycopg.Connection) -> None:
    insert_prices(conn, "eth_usd", random_walk(3, datetime(2021, 5, 1, tzinfo=UTC), 90, 2_000))
    conn.execute("SELECT drop_chunks('prices', older_than => '2022-12-01Z'::timestamptz)")
    insert_prices(conn, "btc_usd", random_walk(1, OLD, 400, 60_000))
    insert_prices(conn, "eth_usd", random_walk(2, NEW, 400, 3_000))
    insert_misses(conn, "btc_usd", [OLD - MINUTE, OLD - 3 * MINUTE], "refused")
    conn.execute("UPDATE prices SET price = price + 0.00001, source = 'chart' WHERE id % 7 = 0")
    conn.execute("UPDATE prices SET observed_at = created_at + INTERVAL '1.25 s' WHERE id % 5 = 0")
    conn.execute("DELETE FROM prices WHERE id % 31 = 0 OR id > 700")
    conn.execute("INSERT INTO internal.heartbeats (part, at) VALUES ('worker', now())")


def back_up(settings: Settings, file: str, kind: Kind, *, force: bool = False) -> None:
    """Back up a database, and forget when: it stays equal to its backup."""
    backup(settings, file, kind, force=force)
    with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
        conn.execute("DELETE FROM internal.heartbeats WHERE part = 'backup'")


@pytest.fixture(scope="module")
def elsewhere(open_tmp: Path) -> Iterator[Settings]:
    """Another server, without roles of ours; over TCP, for a password. It stands for Compose's."""
    with start_over_tcp(open_tmp / "elsewhere") as settings:
        yield settings


@pytest.fixture
def target(elsewhere: Settings) -> Iterator[Settings]:
    """An empty database there, on a server without roles of ours."""
    with create_database(elsewhere) as settings:
        yield settings
    with psycopg.connect(elsewhere.database_dsn, autocommit=True) as conn:
        for role in ROLES:
            conn.execute(f"DROP ROLE IF EXISTS {role}")


@pytest.fixture(scope="module")
def saved(source: Settings, open_tmp: Path) -> Path:
    """A dump of the source."""
    file = open_tmp / "saved.zip"
    back_up(source, str(file), "dump")
    return file


def content(settings: Settings) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    with psycopg.connect(settings.database_dsn) as conn:
        conn.execute("SET timezone = 'UTC'")
        names = [name for (name,) in conn.execute(OURS)]
        return {
            name: sorted(row for (row,) in conn.execute(f"SELECT each::text FROM {name} AS each"))
            for name in names
        }


def assert_alive(settings: Settings) -> None:
    """What is stored now gets an id of its own, and all that follows from a price follows."""
    with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
        [(last, revision)] = conn.execute(
            "SELECT max(id), (SELECT revision FROM tickers WHERE ticker = 'btc_usd') FROM prices"
        ).fetchall()
        later = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
        [(number,)] = conn.execute(PRICE, [later]).fetchall()
        assert number > last
        made = """
            SELECT revision, last_minute, open, until
              FROM tickers
              JOIN internal.changes USING (ticker, revision)
              JOIN candles_1h USING (ticker)
              JOIN internal.price_islands AS island USING (ticker)
             WHERE ticker = 'btc_usd' AND bucket = '2026-02-03 04:00Z' AND island.since = %s
        """
        found = conn.execute(made, [later]).fetchall()
        assert [(row[0], row[1], str(row[2]), row[3]) for row in found] == [
            (revision + 1, later, "7.25", later + MINUTE)
        ]
    assert migrations.apply(settings.database_dsn) == []
    with login(settings, "tracker_web") as web:
        assert web.execute("SELECT FROM latest_prices").rowcount == 2
    with login(settings, "tracker_worker") as worker:
        worker.execute(PRICE.removesuffix(" RETURNING id"), [later + MINUTE])
        with pytest.raises(InsufficientPrivilege):
            worker.execute("DELETE FROM prices")


def by_socket(settings: Settings) -> Settings:
    """The same database, where roles need no password."""
    return settings.changed(postgres_host="", postgres_password="")


def test_backup_has_every_table(source: Settings) -> None:
    """The first two are those whose triggers fill the others."""
    assert set(TABLES) == set(content(source))
    assert [*TABLES][:2] == ["prices", "misses"]


def test_dump_is_restored_on_another_server(
    source: Settings, target: Settings, saved: Path
) -> None:
    """Rows, candles, islands, change log, ids, triggers, rights, roles, applied migrations."""
    assert sum(
        " 2021-05-01" in row or '"2021-05-01' in row for row in content(source)["candles_1h"]
    )
    before = list_databases(target)

    manifest, done = restore(target, str(saved))

    assert (manifest.rows("prices"), done) == (len(content(source)["prices"]), [])
    assert content(target) == content(source)
    assert read_schema(target) == read_schema(source)
    assert list_databases(target) == before
    assert_alive(by_socket(target))


def test_csv_is_restored_on_another_server(
    source: Settings, target: Settings, tmp_path: Path
) -> None:
    """By an owner who is no superuser, and may therefore not restore a dump."""
    file = str(tmp_path / "all.zip")
    back_up(source, file, "csv")
    with psycopg.connect(target.database_dsn, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION timescaledb")
        conn.execute("CREATE ROLE plain LOGIN CREATEROLE PASSWORD 'x'")
        conn.execute(f"ALTER DATABASE {target.postgres_db} OWNER TO plain")
        conn.execute("GRANT CONNECT ON DATABASE postgres TO plain")  # as on a managed server
    plain = target.changed(postgres_user="plain", postgres_password="x")
    try:
        restore(plain, file)

        assert content(target) == content(source)
        assert read_schema(target) == read_schema(source)
        assert_alive(by_socket(target))
        back_up(source, file, "dump", force=True)
        with pytest.raises(TransferError, match="only a superuser may restore a dump"):
            restore(plain.changed(postgres_db="third"), file)
    finally:
        with psycopg.connect(target.database_dsn, autocommit=True) as conn:
            conn.execute("REASSIGN OWNED BY plain TO postgres")
            conn.execute("DROP OWNED BY plain")
            for role in (*ROLES, "plain"):
                conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_csv_is_restored_in_the_other_edition(source: Settings, tmp_path: Path) -> None:
    """From Apache 2.19 to Community 2.23: equal checksums, and new prices are stored."""
    file = str(tmp_path / "all.zip")
    back_up(source, file, "csv")
    with run_community_edition() as dsn, psycopg.connect(dsn, prepare_threshold=None) as conn:
        conn.execute("SET timezone = 'UTC'")
        apply_migrations(conn)
        conn.commit()
        assert conn.execute("SHOW timescaledb.license").fetchone() == ("timescale",)
        with open_backup(file) as (archive, manifest):
            load_tables(conn, archive, manifest)
        conn.commit()
        with psycopg.connect(source.database_dsn, options="-c timezone=UTC") as other:
            assert compute_sums(conn, TABLES) == compute_sums(other, TABLES)
        [(newest,)] = conn.execute("SELECT max(id) FROM prices").fetchall()
        assert conn.execute(PRICE, [datetime(2026, 2, 3, tzinfo=UTC)]).fetchone() == (newest + 1,)


def test_backup_under_writes_is_one_snapshot(
    source: Settings, target: Settings, tmp_path: Path
) -> None:
    """Manifest and rows agree, whatever is stored during the dump."""
    done = threading.Event()
    stored = [0]

    def write() -> None:
        with psycopg.connect(source.database_dsn, autocommit=True) as conn:
            while not done.is_set():
                conn.execute(PRICE, [NEW + (1000 + stored[0]) * MINUTE])
                stored[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        manifests = [backup(source, str(tmp_path / kind), kind) for kind in ("dump", "csv")]
    finally:
        done.set()
        writer.join()
        with psycopg.connect(source.database_dsn, autocommit=True) as conn:
            conn.execute("DELETE FROM prices WHERE price = 7.25")
    assert manifests[0].rows("prices") < manifests[1].rows("prices") <= 10**6
    assert stored[0] > 10
    restore(target, str(tmp_path / "dump"))
    with psycopg.connect(target.database_dsn, autocommit=True) as conn:
        assert conn.execute("SELECT count(*) FROM prices").fetchone() == (
            manifests[0].rows("prices"),
        )


def test_backup_of_an_older_schema_is_restored(
    servers: Settings, elsewhere: Settings, target: Settings, tmp_path: Path
) -> None:
    """With its own schema, from before the roles; migrations continue from there."""
    names, file = migrations.names(), str(tmp_path / "old.zip")
    with create_database(servers) as older, create_database(elsewhere) as newer:
        migrations.apply(older.database_dsn, names[4])
        with psycopg.connect(older.database_dsn, autocommit=True) as conn:
            fill(conn)
        migrations.apply(newer.database_dsn)  # has more than the backup, and no rows
        places: dict[Kind, Settings] = {"dump": target, "csv": newer}
        for kind, place in places.items():
            backup(older, file, kind, force=True)
            _, done = restore(place, file)

            reached = f"its schema is that of {names[4]}: `ops/just upgrade` migrates it"
            assert done == [reached]
            assert (content(place), read_schema(place)) == (content(older), read_schema(older))
        assert migrations.apply(target.database_dsn) == names[5:]
    assert_alive(by_socket(target))


@pytest.mark.parametrize("kind", ["dump", "csv"])
def test_restore_refuses_a_database_with_rows(
    source: Settings, target: Settings, tmp_path: Path, kind: Kind
) -> None:
    """The error names the table, which may be anybody's; the rows stay."""
    file = str(tmp_path / "all.zip")
    backup(source, file, kind)
    with psycopg.connect(target.database_dsn, autocommit=True) as conn:
        conn.execute("CREATE SCHEMA own")
        conn.execute("CREATE TABLE own.notes AS SELECT 'mine' AS note")
    before = list_databases(target)

    with pytest.raises(
        TransferError, match=r"^database fresh_\w+ already has rows, in own.notes \(1\): "
    ):
        restore(target, file)

    assert list_databases(target) == before
    with psycopg.connect(target.database_dsn) as conn:
        assert conn.execute("SELECT note FROM own.notes").fetchall() == [("mine",)]


@pytest.mark.parametrize("kind", ["dump", "csv"])
def test_restore_refuses_a_database_in_use(
    source: Settings, target: Settings, tmp_path: Path, kind: Kind
) -> None:
    """The error names the clients."""
    file = str(tmp_path / "all.zip")
    backup(source, file, kind)
    with psycopg.connect(target.database_dsn, application_name="tracker-web") as conn:
        conn.execute("SELECT 1")
        with pytest.raises(TransferError, match=r"in use by tracker-web \(1\): stop them first"):
            restore(target, file)


def test_second_restore_is_refused(target: Settings, saved: Path) -> None:
    """It drops nothing of the first."""
    admin = target.changed(postgres_db="postgres")
    with psycopg.connect(admin.database_dsn, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(x'62616b'::integer)")
        with pytest.raises(TransferError, match="another restore is in progress on this server"):
            restore(target, str(saved))


def changed(saved: Path, file: Path, **changes: object) -> str:
    """A copy of *saved* whose manifest says otherwise."""
    with ZipFile(saved) as old, ZipFile(file, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            text = old.read(name)
            if name == "manifest.json":
                text = json.dumps(json.loads(text) | changes).encode()
            new.writestr(name, text)
    return str(file)


def test_unsuitable_backup_is_refused(target: Settings, saved: Path, tmp_path: Path) -> None:
    """In one line, before anything is created."""
    before = list_databases(target)
    names = migrations.names()
    for changes, complaint in [
        ({"timescaledb": "2.29.2"}, "dump of TimescaleDB 2.29.2, and the server has 2.19.3: "),
        ({"migrations": [*names, "9999.later"]}, "made by a newer version .*9999.later"),
        ({"migrations": names[1:]}, "between two migrations"),
        ({"migrations": []}, "between two migrations"),
        ({"migrations": 5}, "is not a backup of a price tracker"),
        ({"kind": "csv"}, "is damaged: candles_1d.csv"),
    ]:
        with pytest.raises(TransferError, match=complaint) as told:
            restore(target, changed(saved, tmp_path / "x.zip", **changes))
        assert "\n" not in str(told.value)
    assert list_databases(target) == before


def test_restore_that_differs_is_undone(
    source: Settings, target: Settings, saved: Path, tmp_path: Path
) -> None:
    """Every index of every table is compared; the database stays what it was."""
    before = list_databases(target)
    backup(source, str(tmp_path / "csv.zip"), "csv")
    told = (
        r"differs from the backup: misses of btc_usd: 2 rows, not 3;"
        r" prices of btc_usd: \d+ rows, but not the same$"
    )
    for file in (saved, tmp_path / "csv.zip"):
        with ZipFile(file) as old:
            sums = json.loads(old.read("manifest.json"))["sums"]
        sums["prices"]["btc_usd"]["checksum"] = "1"
        sums["misses"]["btc_usd"]["rows"] = 3
        with pytest.raises(TransferError, match=told):
            restore(target, changed(file, tmp_path / "x.zip", sums=sums))

    assert list_databases(target) == before
    assert not content(target)["prices"]


def test_damaged_backup_is_refused(target: Settings, saved: Path, tmp_path: Path) -> None:
    """Cut anywhere, with one bit changed, of another kind, or missing."""
    whole, file = saved.read_bytes(), tmp_path / "x.zip"
    middle = len(whole) // 2
    for wrong in [
        b"",
        b"PGDMP and so on",
        whole[:10],
        whole[:middle],
        whole[:-1],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        b"\x00" * 30 + whole[30:],
    ]:
        file.write_bytes(wrong)
        with pytest.raises(TransferError, match=r"^[^\n]*x\.zip: [^\n]+$"):
            restore(target, str(file))
    with ZipFile(file, "w") as other:
        other.writestr("readme.txt", "hello")
    with pytest.raises(TransferError, match=r"x\.zip: is not a backup of a price tracker"):
        restore(target, str(file))
    for name in ("nowhere.zip", "."):
        with pytest.raises(BadRequest, match=r": (No such file or directory|Is a directory)$"):
            restore(target, str(tmp_path / name))


def test_error_of_pg_restore_is_reported(target: Settings, saved: Path, tmp_path: Path) -> None:
    """Without a password; no other database is left."""
    before = list_databases(target)
    with ZipFile(tmp_path / "x.zip", "w") as new, ZipFile(saved) as old:
        new.writestr("manifest.json", old.read("manifest.json"))
        new.writestr("database.dump", b"PGDMP" + b"\x00" * 3_000_000)
    with pytest.raises(TransferError, match=r"^pg_restore: [^\n]+$") as told:
        restore(target, str(tmp_path / "x.zip"))
    assert "cret" not in str(told.value)
    assert list_databases(target) == before


def test_restore_creates_missing_roles(source: Settings, target: Settings, tmp_path: Path) -> None:
    """They have their rights, cannot log in, and are named."""
    role = f"reader_{uuid4().hex}"
    with psycopg.connect(source.database_dsn, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {role}")
        conn.execute(f"GRANT SELECT ON prices TO {role}")
        backup(source, str(tmp_path / "x.zip"), "dump")
        conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    _, done = restore(target, str(tmp_path / "x.zip"))

    assert done == [f"created role {role}, which cannot log in yet"]
    with psycopg.connect(target.database_dsn, autocommit=True) as conn:
        query = "SELECT has_table_privilege(%s, 'prices', 'SELECT')"
        assert conn.execute(query, [role]).fetchone() == (True,)
        conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_backup_without_schema_is_refused(target: Settings, tmp_path: Path) -> None:
    """The error tells what to run; no file is left."""
    with pytest.raises(MigrationsPending, match="run `tracker migrate`"):
        backup(target, str(tmp_path / "x.zip"), "dump")
    with pytest.raises(BadRequest, match=r"^/nowhere/x\.zip: No such file or directory$"):
        backup(target, "/nowhere/x.zip", "dump")
    assert list(tmp_path.iterdir()) == []


def test_time_of_backup_is_recorded(source: Settings, tmp_path: Path) -> None:
    """When it is complete, by the server's clock."""
    backup(source, str(tmp_path / "recorded.zip"), "csv")
    with psycopg.connect(source.database_dsn, autocommit=True) as conn:
        query = (
            "SELECT at > now() - INTERVAL '5 min' FROM internal.heartbeats WHERE part = 'backup'"
        )
        assert conn.execute(query).fetchall() == [(True,)]
        conn.execute("DELETE FROM internal.heartbeats WHERE part = 'backup'")
