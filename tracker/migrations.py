"""The schema, which yoyo applies from sql/migrations; its roles; the version of TimescaleDB."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import stamina
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import (
    InsufficientPrivilege,
    InternalError_,
    NoDataFound,
    UndefinedFunction,
    UndefinedObject,
    UndefinedTable,
)
from psycopg.rows import scalar_row
from yoyo import get_backend, read_migrations
from yoyo.backends import DatabaseBackend
from yoyo.migrations import Migration, MigrationList

from tracker.database import SESSION
from tracker.errors import (
    BadRequest,
    DatabaseDown,
    MigrationFailed,
    MigrationsPending,
    NotFound,
    SettingsError,
    TrackerError,
    UnknownSchema,
    describe,
)
from tracker.queries.statements import load_sql
from tracker.settings import INSTALLED, ROLES, SQL_FOLDER

FOLDER = SQL_FOLDER / "migrations"

OF_VERSION_0_1 = "0001.create-extension"  # its first migration

_LOCK_ID = 0x7472616B  # of the advisory lock of migrations
_COMMON_GRANTS = ("grant_usage", "grant_select")
_PROCESS_GRANTS = ("grant_migrations",)
_WORKER_GRANTS = (
    "grant_insert",
    "grant_update_price",
    "grant_update_heartbeat",
    "grant_drop_prices",
    "grant_discard_misses",
)
_ALTER_ROLE = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
_COUNT_ROWS = sql.SQL("SELECT count(*) FROM {}")
_DROPPED_TABLE = re.compile(r"^DROP TABLE (?:IF EXISTS )?([a-z0-9_.]+)", re.MULTILINE)

_CONNECT_TIMEOUT = 5  # seconds
_OPTIONS = f"{SESSION} -c statement_timeout=0"
_WITHOUT_LIBRARY = (
    f"{_OPTIONS} -c timescaledb.disable_load=on"  # a package upgrade may remove the old library
)


def names() -> list[str]:
    """The migrations of this version, oldest first."""
    return sorted(path.stem for path in FOLDER.glob("*.sql") if not path.stem.endswith(".rollback"))


def find_pending(applied: Collection[str]) -> list[str]:
    """The migrations that are not in *applied*, oldest first."""
    return [name for name in names() if name not in applied]


def find_unknown(applied: Collection[str]) -> list[str]:
    """Those *applied* by another version: a newer one, or 0.1."""
    return sorted(set(applied) - set(names()))


def require_known(conn: psycopg.Connection) -> list[str]:
    """The applied migrations. Raises UnknownSchema if another version has migrated the database.

    Before any migration this raises UndefinedTable.
    """
    applied = [name for (name,) in conn.execute(load_sql("queries/applied_migrations"))]
    unknown = find_unknown(applied)
    database = conn.info.dbname
    if OF_VERSION_0_1 in unknown:
        raise UnknownSchema(
            f"database {database} has the schema of version 0.1, which cannot be migrated: save its"
            " prices with `tracker export FILE`, name a new database in POSTGRES_DB, migrate that,"
            " and load them with `tracker import FILE`"
        )
    if unknown:
        raise UnknownSchema(
            f"database {database} has migrations of a newer version: {', '.join(unknown)};"
            " use that version, or roll them back with it"
        )
    return applied


def require_all(conn: psycopg.Connection) -> None:
    """Raise MigrationsPending if the database lacks migrations, or UnknownSchema for others."""
    try:
        applied = require_known(conn)
    except UndefinedTable:
        raise MigrationsPending("the schema is missing: run `tracker migrate`") from None
    if pending := find_pending(applied):
        raise MigrationsPending(f"run `tracker migrate` first: {', '.join(pending)} pending")


def apply(dsn: str, newest: str | None = None) -> list[str]:
    """Migrate the database at *dsn*, up to *newest* if given. Returns the applied migrations.

    Afterwards the roles exist and have their privileges, unless *newest* is an older migration. Of
    concurrent calls one migrates, and the others wait. Raises DatabaseDown, and UnknownSchema for a
    database that another version has migrated.
    """
    last = newest or names()[-1]
    with _locked_connection(dsn) as conn, _open_backend(dsn) as backend:
        backend.ensure_internal_schema_updated()
        require_known(conn)
        pending = backend.to_apply(_read_all()).filter(lambda migration: migration.id <= last)
        for migration in pending:
            _run_migration(backend, migration, "apply", type(backend).mark_one)
        if last == names()[-1]:
            ensure_roles(conn)
        return [migration.id for migration in pending]


def rollback(dsn: str, revision: str, *, drop_rows: bool = False) -> list[str]:
    """Roll back every migration after *revision* (number or name; 0: all), newest first.

    Returns their names. Raises NotFound for an unknown revision, BadRequest if that drops tables
    with rows, unless *drop_rows*, DatabaseDown, MigrationFailed, UnknownSchema.
    """
    target = "" if re.fullmatch("0+", revision) else _find_migration(revision)
    with _locked_connection(dsn) as conn, _open_backend(dsn) as backend:
        backend.ensure_internal_schema_updated()
        require_known(conn)
        undone = backend.to_rollback(_read_all()).filter(lambda migration: migration.id > target)
        if not drop_rows:
            _require_no_rows(conn, undone, revision)
        for migration in undone:
            _run_migration(backend, migration, "rollback", type(backend).unmark_one)
        if not target:
            _grant(conn, ("revoke_migrations",), _existing_roles(conn))
        return [migration.id for migration in undone]


def create(message: str) -> list[Path]:
    """Create an empty migration and its rollback, numbered after the newest.

    Raises BadRequest, and TrackerError if a file cannot be created.
    """
    if INSTALLED:
        raise BadRequest({"new-migration": "needs a checkout of the project"})
    slug = re.sub(r"[^a-z0-9]+", "-", message.lower()).strip("-")
    if not slug:
        raise BadRequest({"msg": "must describe the migration in a few words"})
    newest = names()[-1]
    name = f"{int(newest.partition('.')[0]) + 1:04}.{slug}"
    migration, rollback = FOLDER / f"{name}.sql", FOLDER / f"{name}.rollback.sql"
    try:
        for path in (migration, rollback):
            path.touch(exist_ok=False)
        migration.write_text(f"-- Why: {' '.join(message.split())}\n-- depends: {newest}\n")
    except OSError as error:
        raise TrackerError(f"{path}: {error.strerror}") from error
    return [migration, rollback]


def _find_migration(revision: str) -> str:
    for name in names():
        if revision in {name, name.partition(".")[0], str(int(name.partition(".")[0]))}:
            return name
    raise NotFound({"rev": f"unknown migration {revision!r}; known are {', '.join(names())}"})


def _require_no_rows(conn: psycopg.Connection, undone: Sequence[Migration], revision: str) -> None:
    """Raise BadRequest with the number of rows in the tables that rollbacks drop.

    Heartbeats do not count: the worker writes them again.
    """
    files = [FOLDER / f"{migration.id}.rollback.sql" for migration in undone]
    tables = [name for file in files for name in _DROPPED_TABLE.findall(file.read_text())]
    counts = {}
    for table in reversed(tables):
        if table != "internal.heartbeats":
            name = sql.Identifier(*table.split("."))
            counts[table] = conn.execute(_COUNT_ROWS.format(name)).fetchall()[0][0]
    if total := sum(counts.values()):
        listed = ", ".join(f"{counts[table]:,} of {table}" for table in counts if counts[table])
        reason = f"a rollback to {revision} drops {total:,} rows, {listed}; --force drops them"
        raise BadRequest({"rev": f"{reason} (just downgrade: force=1)"})


def _read_all() -> MigrationList:
    return read_migrations(str(FOLDER))


def _run_migration(
    backend: DatabaseBackend,
    migration: Migration,
    direction: str,
    record: Callable[[DatabaseBackend, Migration], None],
) -> None:
    """Apply or roll back a migration and record it in one transaction, where yoyo uses two."""
    with backend.copy() as session, session.transaction():
        migration.process_steps(session, direction)
        record(session, migration)


def ensure_roles(conn: psycopg.Connection) -> None:
    """Create the roles if the server permits it, grant their privileges, and limit analysts."""
    conn.execute(load_sql("roles/create_roles"))
    conn.execute(load_sql("roles/revoke_large_objects"))
    existing = _existing_roles(conn)
    if "analyst" in existing:
        with suppress(InsufficientPrivilege):  # only the role's creator may set its limits
            _reset_limits(conn, "analyst")
    _grant(conn, _COMMON_GRANTS, existing)
    _grant(conn, _PROCESS_GRANTS, [role for role in existing if role != "analyst"])
    _grant(conn, _WORKER_GRANTS, [role for role in existing if role == "tracker_worker"])


def _existing_roles(conn: psycopg.Connection) -> list[str]:
    query = load_sql("roles/existing_roles")
    with conn.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query, {"roles": list(ROLES)}).fetchall()


def _grant(conn: psycopg.Connection, grants: Sequence[str], roles: Sequence[str]) -> None:
    """Execute the statements *grants* for *roles*; without roles nothing."""
    identifiers = sql.SQL(", ").join(map(sql.Identifier, roles))
    for grant in grants if roles else ():
        text = load_sql(f"roles/{grant}").decode()
        conn.execute(sql.SQL(text).format(roles=identifiers))


@contextmanager
def _locked_connection(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection that holds the lock of migrations.

    Raises DatabaseDown, and MigrationFailed for an error of a statement in the block.
    """
    try:
        with psycopg.connect(dsn, autocommit=True, options=_OPTIONS) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK_ID])
            yield connection
    except psycopg.OperationalError as error:
        raise DatabaseDown(describe(error)) from error
    except psycopg.Error as error:
        raise MigrationFailed(error.diag.message_primary or describe(error)) from error


@contextmanager
def _open_backend(dsn: str) -> Iterator[DatabaseBackend]:
    """yoyo's backend for *dsn*. Breaks yoyo's own lock, which a killed process leaves."""
    backend = get_backend(_yoyo_url(dsn))
    with closing(backend.connection):
        backend.break_lock()
        with backend.lock():
            yield backend


def _yoyo_url(dsn: str) -> str:
    """*dsn* as yoyo's URL for psycopg 3, with every parameter in the query string."""
    return f"postgresql+psycopg:///?{urlencode(conninfo_to_dict(dsn, options=_OPTIONS))}"


def set_role_passwords(dsn: str, passwords: Mapping[str, str]) -> None:
    """Set the password of each role; the user of *dsn* must have the right to alter roles.

    Only a hash leaves this process: no log of the server can contain a password.
    Raises DatabaseDown, and SettingsError with the variable of a role that cannot be altered.
    """
    for role, password in passwords.items():
        try:
            _set_role_password(dsn, role, password)
        except (UndefinedObject, InsufficientPrivilege) as error:
            why = error.diag.message_primary
            raise SettingsError(f"{role.upper()}_PASSWORD_FILE: {why}") from None
        except psycopg.OperationalError as error:
            raise DatabaseDown(describe(error)) from error


def set_analyst_password(dsn: str, name: str, password: str) -> None:
    """Set the password and the limits of an analyst's role; create a missing one.

    Raises BadRequest for a role with other privileges and for an invalid name, MigrationsPending,
    SettingsError for a user who may not alter roles, DatabaseDown.
    """
    try:
        with _connect(dsn) as conn:
            query = load_sql("roles/analyst_role")
            row = conn.execute(query, {"name": name}).fetchone()
            if row is None:
                conn.execute(load_sql("roles/create_analyst"), {"name": name})
            elif not row[0]:
                raise BadRequest({"name": f"role {name} has other privileges than analysts have"})
            else:
                _reset_limits(conn, name)
        _set_role_password(dsn, name, password)
    except (UndefinedFunction, NoDataFound) as error:
        raise MigrationsPending(f"run `tracker migrate` first: {describe(error)}") from None
    except InsufficientPrivilege as error:
        raise SettingsError(f"POSTGRES_USER: {error.diag.message_primary}") from None
    except psycopg.OperationalError as error:
        raise DatabaseDown(describe(error)) from error
    except psycopg.Error as error:
        raise BadRequest({"name": error.diag.message_primary or describe(error)}) from None


stamina.instrumentation.set_on_retry_hooks([])  # their log line names neither role nor cause


_retry_alter_role = stamina.retry(on=InternalError_, attempts=5)  # databases share the roles


@_retry_alter_role
def _reset_limits(conn: psycopg.Connection, role: str) -> None:
    conn.execute(load_sql("roles/reset_limits"), {"name": role})


@_retry_alter_role
def _set_role_password(dsn: str, role: str, password: str) -> None:
    with psycopg.connect(dsn, autocommit=True, options=_OPTIONS) as conn:
        hashed = conn.pgconn.encrypt_password(password.encode(), role.encode())
        conn.execute(_ALTER_ROLE.format(sql.Identifier(role), hashed.decode()))


def upgrade_timescaledb(dsn: str) -> tuple[str, str]:
    """Update the extension to the version of the server's files. Returns the old and new version.

    Both are equal if it was up to date. Open connections use the old version until they reconnect.
    Raises DatabaseDown, and SettingsError for a POSTGRES_USER without the privilege.
    """
    try:
        before, newest = _read_versions(dsn)
        if before == newest:
            return before, newest
        with _connect(dsn) as conn:
            # It fails in a session that has used the extension.
            conn.execute(load_sql("extension/upgrade"))
        return before, _read_versions(dsn)[0]
    except InsufficientPrivilege as error:
        why = error.diag.message_primary
        raise SettingsError(f"POSTGRES_USER: {why}: only its owner can update it") from None
    except psycopg.Error as error:
        raise DatabaseDown(describe(error)) from error


def _read_versions(dsn: str) -> tuple[str, str]:
    """The version in the database, and the newest one that the server's files have."""
    with _connect(dsn, _WITHOUT_LIBRARY) as conn:
        query = load_sql("extension/versions")
        versions = conn.execute(query).fetchone()
    if versions is None:
        raise DatabaseDown("TimescaleDB is not installed in the database: run `tracker migrate`")
    before, newest = versions
    return before, newest


def _connect(dsn: str, options: str = _OPTIONS) -> psycopg.Connection:
    return psycopg.connect(dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT, options=options)
