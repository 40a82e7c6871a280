"""The command that opens psql on the database."""

import shutil
from collections.abc import Sequence

from tracker.embedded import programs
from tracker.settings import Settings


def command(settings: Settings, arguments: Sequence[str]) -> list[str]:
    """What to run to get psql on the database, *arguments* being psql's own.

    It names no password: run it in `environment`.
    Raises EmbeddedError if there is no psql and none can be fetched.
    """
    bare = settings.changed(postgres_password="", postgres_password_file=None)
    return [_psql(settings), "--dbname", bare.direct_dsn, *arguments]


def environment(settings: Settings) -> dict[str, str]:
    """The environment for `command`: the password, and a pager only where there is one."""
    variables = settings.environment()
    password = settings.postgres_password.get_secret_value()
    if password:
        variables["PGPASSWORD"] = password
    if not {"PSQL_PAGER", "PAGER"} & variables.keys():
        variables["PSQL_PAGER"] = "less -SFX" if shutil.which("less") else ""
    return variables


def _psql(settings: Settings) -> str:
    own = shutil.which("psql") if settings.postgres_host else None
    return own or str(programs.find(settings).postgres / "psql")
