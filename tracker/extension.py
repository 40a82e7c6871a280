"""Update of the TimescaleDB extension to the version of the server's files."""

import psycopg
from psycopg.errors import InsufficientPrivilege

from tracker.errors import DatabaseDown, SettingsError, describe
from tracker.queries.read import read

_VERSIONS = read("extension/versions")
_UPGRADE = read("extension/upgrade")
_CONNECT_TIMEOUT = 5  # seconds
_WITHOUT_LIBRARY = "-c timescaledb.disable_load=on"  # a package upgrade may remove the old library


def upgrade(dsn: str) -> tuple[str, str]:
    """Update the extension to the version of the server's files. Returns the old and new version.

    Both are equal if it was up to date. Open connections use the old version until they reconnect.
    Raises DatabaseDown, and SettingsError for a POSTGRES_USER without the privilege.
    """
    try:
        before, newest = _read_versions(dsn)
        if before == newest:
            return before, newest
        with _connect(dsn, "") as conn:
            conn.execute(_UPGRADE)  # fails in a session that has used the extension
        return before, _read_versions(dsn)[0]
    except InsufficientPrivilege as error:
        why = error.diag.message_primary
        raise SettingsError(f"POSTGRES_USER: {why}: only its owner can update it") from None
    except psycopg.Error as error:
        raise DatabaseDown(describe(error)) from error


def _read_versions(dsn: str) -> tuple[str, str]:
    with _connect(dsn, _WITHOUT_LIBRARY) as conn:
        versions = conn.execute(_VERSIONS).fetchone()
    if versions is None:
        raise DatabaseDown("TimescaleDB is not installed in the database: run `tracker migrate`")
    before, newest = versions
    return before, newest


def _connect(dsn: str, options: str) -> psycopg.Connection:
    return psycopg.connect(dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT, options=options)
