"""The roles of the database that the migrations make: which there are, and their passwords."""

from collections.abc import Mapping

import psycopg
import stamina
from psycopg import sql
from psycopg.errors import InsufficientPrivilege, InternalError_, UndefinedObject

from tracker import queries
from tracker.database import connect
from tracker.errors import DatabaseDown, SettingsError, describe
from tracker.settings import ROLES

_ALTER = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")


def missing(dsn: str) -> list[str]:
    """Those that the server lacks: whoever migrated may make none. Raises DatabaseDown."""
    with connect(dsn) as conn:
        return queries.missing_roles(conn, ROLES)


def set_passwords(dsn: str, passwords: Mapping[str, str]) -> None:
    """Give each role its password; whoever calls must be allowed to alter roles.

    Only a hash leaves this process, so that no log of the server can hold a password.
    Raises DatabaseDown, and SettingsError naming the variable of a role that cannot have one.
    """
    for role, password in passwords.items():
        try:
            _set_password(dsn, role, password)
        except (UndefinedObject, InsufficientPrivilege) as error:
            why = error.diag.message_primary
            raise SettingsError(f"{role.upper()}_PASSWORD_FILE: {why}") from None
        except psycopg.OperationalError as error:
            raise DatabaseDown(describe(error)) from error


@stamina.retry(on=InternalError_, attempts=5)  # roles are the server's: two databases may collide
def _set_password(dsn: str, role: str, password: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        hashed = conn.pgconn.encrypt_password(password.encode(), role.encode())
        conn.execute(_ALTER.format(sql.Identifier(role), hashed.decode()))
