"""The schema: sql/migrations, applied by yoyo, and the roles that use it: sql/roles."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import scalar_row
from yoyo import get_backend, read_migrations
from yoyo.backends import DatabaseBackend
from yoyo.migrations import Migration, MigrationList

from tracker.errors import BadRequest, DatabaseDown, NotFound, UnknownSchema, describe
from tracker.settings import ROLES

SQL = Path(__file__).resolve().parent.parent / "sql"
FOLDER = SQL / "migrations"

OF_VERSION_0_1 = "0001.create-extension"  # the first migration of that version

_LOCK = 0x7472616B  # any number, but the same for all who migrate
_GRANTS_OF_ALL = ("grant_usage", "grant_select")
_GRANTS_OF_PROCESSES = ("grant_migrations",)
_GRANTS_OF_WORKER = (
    "grant_insert",
    "grant_update_price",
    "grant_update_heartbeat",
    "grant_drop_prices",
)


def names() -> list[str]:
    """Every migration of this version, oldest first."""
    return sorted(path.stem for path in FOLDER.glob("*.sql") if not path.stem.endswith(".rollback"))


def find_pending(applied: Collection[str]) -> list[str]:
    """Those that a database lacks which has the migrations *applied*, oldest first."""
    return [name for name in names() if name not in applied]


def apply(dsn: str, newest: str | None = None) -> list[str]:
    """Bring the database at *dsn* up to date, or up to *newest*; the names of what was applied.

    An up-to-date database gets the roles and their rights, also those that somebody has dropped
    since. Several may call this at once: one works, the others wait and find nothing to do.
    Raises DatabaseDown, and UnknownSchema for a database that another version has migrated.
    """
    last = newest or names()[-1]
    with _only_one(dsn) as conn, _backend(dsn) as backend:
        _require_known(backend, conn.info.dbname)
        pending = backend.to_apply(_all()).filter(lambda migration: migration.id <= last)
        for migration in pending:
            _step(backend, migration, "apply", type(backend).mark_one)
        if last == names()[-1]:
            ensure_roles(conn)
        return [migration.id for migration in pending]


def rollback(dsn: str, revision: str) -> list[str]:
    """Undo every migration after *revision* (its number or name; 0: all), newest first.

    Raises NotFound if there is no such migration, DatabaseDown, UnknownSchema.
    """
    kept = "" if re.fullmatch("0+", revision) else _find(revision)
    with _only_one(dsn) as conn, _backend(dsn) as backend:
        _require_known(backend, conn.info.dbname)
        undone = backend.to_rollback(_all()).filter(lambda migration: migration.id > kept)
        for migration in undone:
            _step(backend, migration, "rollback", type(backend).unmark_one)
        if not kept:
            _grant(conn, ("revoke_migrations",), _existing_roles(conn))
        return [migration.id for migration in undone]


def create(message: str) -> list[Path]:
    """An empty migration and its rollback, numbered after the newest. Raises BadRequest."""
    slug = re.sub(r"[^a-z0-9]+", "-", message.lower()).strip("-")
    if not slug:
        raise BadRequest({"msg": "say in a few words what the migration does"})
    newest = names()[-1]
    name = f"{int(newest.partition('.')[0]) + 1:04}.{slug}"
    step, back = FOLDER / f"{name}.sql", FOLDER / f"{name}.rollback.sql"
    step.write_text(f"-- Why: {' '.join(message.split())}\n-- depends: {newest}\n")
    back.write_text("")
    return [step, back]


def _find(revision: str) -> str:
    for name in names():
        if revision in {name, name.partition(".")[0], str(int(name.partition(".")[0]))}:
            return name
    raise NotFound({"rev": f"no migration {revision!r}; there are {', '.join(names())}"})


def _all() -> MigrationList:
    return read_migrations(str(FOLDER))


def _step(
    backend: DatabaseBackend,
    migration: Migration,
    direction: str,
    note: Callable[[DatabaseBackend, Migration], None],
) -> None:
    """Apply a migration and record it in one transaction, where yoyo would use two.

    A process that is killed leaves both or neither.
    """
    with backend.copy() as session, session.transaction():
        migration.process_steps(session, direction)
        note(session, migration)


def _require_known(backend: DatabaseBackend, database: str) -> None:
    """Raise UnknownSchema if the database has a migration that is not in `names()`."""
    backend.ensure_internal_schema_updated()
    query = SQL / "queries" / "applied_migrations.sql"
    applied = {name for (name,) in backend.execute(query.read_text()).fetchall()}
    if OF_VERSION_0_1 in applied:
        raise UnknownSchema(
            f"database {database} has the schema of version 0.1, which cannot be migrated: save its"
            " prices with `tracker export FILE`, name a new database in POSTGRES_DB, migrate that,"
            " and load them with `tracker import FILE`"
        )
    if unknown := sorted(applied - set(names())):
        raise UnknownSchema(
            f"database {database} has migrations of a newer version: {', '.join(unknown)};"
            " use that version, or roll them back with it"
        )


def ensure_roles(conn: psycopg.Connection) -> None:
    """Create the roles where the server allows it, and grant them their rights."""
    conn.execute((SQL / "roles" / "create_roles.sql").read_bytes())
    existing = _existing_roles(conn)
    _grant(conn, _GRANTS_OF_ALL, existing)
    _grant(conn, _GRANTS_OF_PROCESSES, [role for role in existing if role != "analyst"])
    _grant(conn, _GRANTS_OF_WORKER, [role for role in existing if role == "tracker_worker"])


def _existing_roles(conn: psycopg.Connection) -> list[str]:
    query = (SQL / "roles" / "existing_roles.sql").read_bytes()
    with conn.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query, {"roles": list(ROLES)}).fetchall()


def _grant(conn: psycopg.Connection, grants: Sequence[str], roles: Sequence[str]) -> None:
    """Execute the statements named *grants* for *roles*, if there are any."""
    listed = sql.SQL(", ").join(map(sql.Identifier, roles))
    for grant in grants if roles else ():
        text = (SQL / "roles" / f"{grant}.sql").read_text()
        conn.execute(sql.SQL(text).format(roles=listed))


@contextmanager
def _only_one(dsn: str) -> Iterator[psycopg.Connection]:
    """Hold the lock that one migrating process at a time may have; it ends with its connection."""
    try:
        connection = psycopg.connect(dsn, autocommit=True)
    except psycopg.OperationalError as error:
        raise DatabaseDown(describe(error)) from error
    with connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        yield connection


@contextmanager
def _backend(dsn: str) -> Iterator[DatabaseBackend]:
    """yoyo on *dsn*; a lock row that a killed run left behind is broken: we hold the real lock."""
    backend = get_backend(_yoyo_url(dsn))
    with closing(backend.connection):
        backend.break_lock()
        with backend.lock():
            yield backend


def _yoyo_url(dsn: str) -> str:
    """*dsn* as the URL that yoyo wants for psycopg 3, every part in the query."""
    return f"postgresql+psycopg:///?{urlencode(conninfo_to_dict(dsn))}"
