"""A dump, restored beside the database and put into its place when it has been compared.

Whatever goes wrong before that, and be it a power cut, leaves the database as it was; what was
half restored beside it is dropped, at the latest by the next restore.
"""

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import Identifier

from tracker import migrations, queries
from tracker.backups import drafts, programs, target
from tracker.backups.archive import DUMP, Reader
from tracker.backups.connection import connection
from tracker.backups.manifest import Manifest, differences, summed
from tracker.backups.statements import statement
from tracker.errors import BackupError
from tracker.queries.read import read
from tracker.settings import ROLES, Settings

_MAY_RESTORE = read("backups/may_restore")
_PRE_RESTORE = read("backups/pre_restore")
_POST_RESTORE = read("backups/post_restore")


def restore(settings: Settings, source: Reader) -> list[str]:
    """Restore *source* as the database: what was done besides, in words.

    Raises BackupError, DatabaseDown.
    """
    manifest = source.manifest
    with drafts.alone(settings) as admin:
        _demand_able(admin, manifest)
        _demand_free(admin, settings)
        done = _make_roles(admin, settings, manifest)
        with drafts.made(admin, settings) as draft:
            _fill(draft, source)
            return [*done, *drafts.take_place(admin, settings, draft)]


def _demand_able(admin: psycopg.Connection, manifest: Manifest) -> None:
    """Raise BackupError unless the server has that TimescaleDB, and lets us restore."""
    with admin.cursor(row_factory=dict_row) as cursor:
        facts = cursor.execute(_MAY_RESTORE).fetchone()
    assert facts  # it is one row
    if not facts["allowed"]:
        raise BackupError("only a superuser may restore a dump; `backup --csv` needs none")
    if manifest.timescaledb not in facts["versions"]:
        raise BackupError(
            f"this is a dump of TimescaleDB {manifest.timescaledb}, and the server has"
            f" {', '.join(facts['versions']) or 'none'}: `backup --csv` fits every version"
        )


def _demand_free(admin: psycopg.Connection, settings: Settings) -> None:
    if drafts.is_there(admin, settings):
        target.demand_unused(admin, settings.postgres_db)
        with connection(settings.direct_dsn) as conn:
            target.demand_empty(conn, settings.postgres_db)


def _make_roles(admin: psycopg.Connection, settings: Settings, manifest: Manifest) -> list[str]:
    """Make the roles that the dump gives rights to: ours as migrations do, others without login."""
    lacking = queries.missing_roles(admin, manifest.roles)
    if set(lacking) & set(ROLES):
        with drafts.made(admin, settings) as draft:
            migrations.apply(draft.direct_dsn)
    others = [role for role in lacking if role not in ROLES]
    for role in others:
        admin.execute(statement("create_role", role=Identifier(role)))
    return [f"made role {role}, which cannot log in yet" for role in others]


def _fill(draft: Settings, source: Reader) -> None:
    """Restore *source* there, and compare. Raises BackupError."""
    manifest = source.manifest
    with connection(draft.direct_dsn, autocommit=True) as conn:
        version = Identifier(manifest.timescaledb)
        conn.execute(statement("create_extension", version=version))
        conn.execute(_PRE_RESTORE)
    with source.member(DUMP) as stream:
        programs.fill(draft, manifest.postgresql, stream)
    with connection(draft.direct_dsn, autocommit=True) as conn:
        conn.execute(_POST_RESTORE)
        if told := differences(manifest.sums, summed(conn)):
            raise BackupError(f"what was restored is not what was backed up: {told}")
