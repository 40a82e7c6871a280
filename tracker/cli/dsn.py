"""The database's address in the format of each client, and passwords for analysts."""

import argparse
import secrets
import sys
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

from tracker.embedded.home import running_settings
from tracker.embedded.servers import Postgres
from tracker.errors import SettingsError
from tracker.migrations import set_analyst_password
from tracker.settings import ROLES, Settings

_TCP_IS_OFF = (
    "TCP is off: set EMBEDDED_POSTGRES_PORT, such as 5433, and restart the embedded servers\n"
)
_JDBC_NAMES = {"target_session_attrs": "targetServerType"}  # other names are libpq's
_PASSWORD_BYTES = 18

Parameters = Mapping[str, str | int | None]


def print_dsn(settings: Settings, arguments: argparse.Namespace) -> None:
    """Print the connection string of the database that runs: libpq's, or a URL.

    The URL of an embedded server has its TCP address, if it has one. The role is analyst then,
    unless POSTGRES_USER has a password. Raises SettingsError for a JDBC URL without TCP.
    """
    chosen = running_settings(settings)
    if arguments.format is None:
        print(chosen.direct_dsn)
        return
    parameters = conninfo_to_dict(chosen.direct_dsn) | _find_tcp_address(chosen)
    if not chosen.postgres_host and not str(parameters["host"]).startswith("/"):
        parameters |= _find_login(chosen)
    print(_format(parameters, arguments.format))


def print_analyst_password(settings: Settings, arguments: argparse.Namespace) -> None:
    """Set the password of an analyst's role, which is created if missing, and print the URL.

    The password is new, unless a file has it for `tracker migrate`, which would set that one again.
    Raises BadRequest for a role with other privileges, and SettingsError for a POSTGRES_USER who
    may not alter roles, or for a JDBC URL without TCP.
    """
    owner = chosen = running_settings(settings)
    if not chosen.postgres_host and chosen.postgres_user in ROLES:
        owner = chosen.changed(postgres_user="postgres")
    parameters = conninfo_to_dict(chosen.direct_dsn) | _find_tcp_address(chosen)
    stored = settings.role_passwords.get(arguments.role)
    password = stored or secrets.token_urlsafe(_PASSWORD_BYTES)
    parameters |= {"user": arguments.role, "password": password}
    url = _format(parameters, arguments.format or "url")
    set_analyst_password(owner.direct_dsn, arguments.role, password)
    if stored:
        sys.stderr.write("this is the password of ANALYST_PASSWORD_FILE, not a new one\n")
    print(url)


def _find_tcp_address(settings: Settings) -> dict[str, str | int]:
    """The running embedded server's TCP address; without one nothing, with a notice."""
    if settings.postgres_host:
        return {}
    address = Postgres(settings).tcp_address()
    if address is None:
        sys.stderr.write(_TCP_IS_OFF)
        return {}
    return {"host": address[0], "port": address[1]}


def _find_login(settings: Settings) -> dict[str, str | None]:
    """A role that the embedded server admits over TCP, and its password, if it is known here."""
    user, password = settings.postgres_user, settings.postgres_password.get_secret_value()
    if not Postgres(settings).has_password(user):
        user, password = "analyst", ""
    password = password or settings.role_passwords.get(user, "")
    if not password:
        sys.stderr.write(
            f"the password of {user} is not known here: `ops/just analyst-password` sets a new one,"
            " and prints the URL with it\n"
        )
    return {"user": user, "password": password or None}


def _format(parameters: Parameters, name: str) -> str:
    return format_url(parameters) if name == "url" else format_jdbc_url(parameters)


def format_url(parameters: Parameters) -> str:
    """The URL of libpq's *parameters*; a socket's folder is in the query string.

    Source: PostgreSQL's manual, 34.1.1.2, Connection URIs
    """
    rest = {name: str(value) for name, value in parameters.items() if value is not None}
    login = quote(rest.pop("user", ""), safe="")
    if password := rest.pop("password", ""):
        login = f"{login}:{quote(password, safe='')}"
    database = quote(rest.pop("dbname", ""), safe="")
    addresses = "" if rest.get("host", "").startswith("/") else _pop_addresses(rest)
    query = f"?{urlencode(rest, safe='/', quote_via=quote)}" if rest else ""
    return f"postgresql://{login}@{addresses}/{database}{query}"


def format_jdbc_url(parameters: Parameters) -> str:
    """The URL of libpq's *parameters* for PostgreSQL's JDBC driver.

    Raises SettingsError for a socket, which the driver does not support.
    Source: https://jdbc.postgresql.org/documentation/use/
    """
    rest = {name: str(value) for name, value in parameters.items() if value is not None}
    if rest.get("host", "/").startswith("/"):
        raise SettingsError("JDBC requires TCP, not a socket")
    database = quote(rest.pop("dbname", ""), safe="")
    addresses = _pop_addresses(rest)
    query = {_JDBC_NAMES.get(name, name): value for name, value in rest.items()}
    return f"jdbc:postgresql://{addresses}/{database}?{urlencode(query, quote_via=quote)}"


def _pop_addresses(parameters: dict[str, str]) -> str:
    """Remove host and port, or lists of them, and return them as in a URL."""
    hosts = parameters.pop("host").split(",")
    ports = parameters.pop("port", "5432").split(",")
    ports *= len(hosts) if len(ports) == 1 else 1
    names = (f"[{host}]" if ":" in host else quote(host, safe="") for host in hosts)
    return ",".join(f"{name}:{port}" for name, port in zip(names, ports, strict=True))
