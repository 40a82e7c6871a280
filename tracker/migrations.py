"""The schema's steps: sql/migrations, applied by yoyo."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo import get_backend, read_migrations
from yoyo.backends import DatabaseBackend
from yoyo.migrations import Migration, MigrationList

from tracker.errors import BadRequest, DatabaseDown, NotFound

FOLDER = Path(__file__).resolve().parent.parent / "sql" / "migrations"

_LOCK = 0x7472616B  # any number, but the same for all who migrate


def names() -> list[str]:
    """Every migration of this version, oldest first."""
    return sorted(path.stem for path in FOLDER.glob("*.sql") if not path.stem.endswith(".rollback"))


def apply(dsn: str, newest: str | None = None) -> list[str]:
    """Bring the database at *dsn* up to date, or up to *newest*; the names of what was applied.

    Several may call this at once: one works, the others wait and find nothing to do.
    Raises DatabaseDown.
    """
    last = newest or names()[-1]
    with _only_one(dsn), _backend(dsn) as backend:
        pending = backend.to_apply(_all()).filter(lambda migration: migration.id <= last)
        for migration in pending:
            _step(backend, migration, "apply", type(backend).mark_one)
        return [migration.id for migration in pending]


def rollback(dsn: str, revision: str) -> list[str]:
    """Undo every migration after *revision* (its number or name; 0: all), newest first.

    Raises NotFound if there is no such migration, DatabaseDown.
    """
    kept = "" if re.fullmatch("0+", revision) else _find(revision)
    with _only_one(dsn), _backend(dsn) as backend:
        undone = backend.to_rollback(_all()).filter(lambda migration: migration.id > kept)
        for migration in undone:
            _step(backend, migration, "rollback", type(backend).unmark_one)
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
    """Take a step and note it, in one transaction: whoever is killed leaves both or neither.

    yoyo would note it in another one. Each step has a session of its own, as with yoyo: the second
    grant_roles() of a session crashes TimescaleDB 2.19 where there are chunks.
    """
    with backend.copy() as session, session.transaction():
        migration.process_steps(session, direction)
        note(session, migration)


@contextmanager
def _only_one(dsn: str) -> Iterator[None]:
    """Hold the lock that one migrating process at a time may have; it ends with its connection."""
    try:
        connection = psycopg.connect(dsn, autocommit=True)
    except psycopg.OperationalError as error:
        raise DatabaseDown(" ".join(str(error).split())) from error
    with connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        yield


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
