"""TimescaleDB's version in the database, and the step to the server's newest."""

import psycopg
from psycopg.errors import InsufficientPrivilege

from tracker.errors import DatabaseDown, SettingsError, describe
from tracker.queries.read import read

_VERSIONS = read("extension/versions")
_UPGRADE = read("extension/upgrade")
_CONNECTING = 5  # seconds
_UNLOADED = "-c timescaledb.disable_load=on"  # a package's upgrade may take the old library away


def upgrade(dsn: str) -> tuple[str, str]:
    """Bring the extension to the version that the server's files are of: from which, to which.

    They are the same if there was nothing to do. Running processes keep the version they began
    with until they connect anew.
    Raises DatabaseDown, SettingsError for a POSTGRES_USER who may not.
    """
    try:
        before, newest = _versions(dsn)
        if before == newest:
            return before, newest
        with _connected(dsn, "") as conn:
            conn.execute(_UPGRADE)  # a session that has used the extension already could not
        return before, _versions(dsn)[0]
    except InsufficientPrivilege as error:
        why = error.diag.message_primary
        raise SettingsError(f"POSTGRES_USER: {why}: the one who made it can do this") from None
    except psycopg.Error as error:
        raise DatabaseDown(describe(error)) from error


def _versions(dsn: str) -> tuple[str, str]:
    with _connected(dsn, _UNLOADED) as conn:
        found = conn.execute(_VERSIONS).fetchone()
    if found is None:
        raise DatabaseDown("the database has no TimescaleDB yet: run `tracker migrate`")
    before, newest = found
    return before, newest


def _connected(dsn: str, options: str) -> psycopg.Connection:
    return psycopg.connect(dsn, autocommit=True, connect_timeout=_CONNECTING, options=options)
