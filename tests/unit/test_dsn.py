"""The database's address as URLs for libpq's clients and for JDBC."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from tracker.cli.dsn import format_jdbc_url, format_url
from tracker.errors import SettingsError

LOGIN = {"user": "ann", "password": "secret", "dbname": "tracker"}
ODD = {"user": "o'neil @:/?#", "password": "100% \\2&=+\N{SNOWMAN}", "dbname": 'odd "name"/x'}

URLS = {
    "postgresql://ann:secret@db.example.org:5433/tracker": {
        **LOGIN, "host": "db.example.org", "port": 5433
    },
    "postgresql://ann@127.0.0.1:5432/tracker": {**LOGIN, "host": "127.0.0.1", "password": None},
    "postgresql://ann:secret@[2001:db8::1]:5432/tracker": {**LOGIN, "host": "2001:db8::1"},
    "postgresql://ann:secret@one:5432,[::1]:6432/tracker?target_session_attrs=primary": {
        **LOGIN, "host": "one,::1", "port": "5432,6432", "target_session_attrs": "primary"
    },
    "postgresql://ann:secret@one:6432,two:6432/tracker?sslmode=verify-full&sslrootcert=/a%20b/c": {
        **LOGIN, "host": "one,two", "port": "6432", "sslmode": "verify-full",
        "sslrootcert": "/a b/c",
    },
    "postgresql://ann:secret@/tracker?host=/srv/a%20b/run&port=5432": {
        **LOGIN, "host": "/srv/a b/run", "port": 5432
    },
}  # fmt: skip

JDBC_URLS = {
    "jdbc:postgresql://[::1]:5433/tracker?user=ann&password=secret": {
        **LOGIN, "host": "::1", "port": 5433
    },
    "jdbc:postgresql://db:5432/tracker?user=ann": {**LOGIN, "host": "db", "password": None},
    "jdbc:postgresql://db:5432/a%2Fb?user=a%20b&password=%2B%26%25": {
        "host": "db", "user": "a b", "password": "+&%", "dbname": "a/b"
    },
    "jdbc:postgresql://one:1,two:2/tracker?user=ann&password=secret&targetServerType=primary": {
        **LOGIN, "host": "one,two", "port": "1,2", "target_session_attrs": "primary"
    },
}  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_url_has_the_address(url: str) -> None:
    assert format_url(URLS[url]) == url


@pytest.mark.parametrize("url", JDBC_URLS)
def test_jdbc_url_has_the_address(url: str) -> None:
    assert format_jdbc_url(JDBC_URLS[url]) == url


@pytest.mark.parametrize("login", [LOGIN, ODD], ids=["plain", "odd"])
@pytest.mark.parametrize("host", ["db", "::1", "one,two", "/srv/tracker's run", "/a,b"])
def test_libpq_reads_the_same_parameters_from_the_url(host: str, login: dict[str, str]) -> None:
    parameters = {**login, "host": host, "port": "5433"}
    found = conninfo_to_dict(format_url(parameters))
    if "," in host and not host.startswith("/"):
        found["port"] = found["port"].partition(",")[0]
    assert found == parameters


@pytest.mark.parametrize("host", ["/srv/run", None])
def test_jdbc_url_of_a_socket_is_refused(host: str | None) -> None:
    with pytest.raises(SettingsError, match="JDBC requires TCP"):
        format_jdbc_url({**LOGIN, "host": host})
