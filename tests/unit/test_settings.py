"""Settings: valid values, and the files that list the variables."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from tracker.embedded.lock import demo_settings
from tracker.errors import SettingsError
from tracker.settings import CHECKOUT, ENVIRONMENT_ONLY, Settings

VARIABLES = {name.upper() for name in Settings.model_fields}
ALIASES = {"REDIS_BROKER_DB"}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the tracker is set, and no `.env` is read."""
    for name in VARIABLES | ALIASES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


def example_variables() -> dict[str, str]:
    lines = (CHECKOUT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_example_lists_every_variable() -> None:
    assert set(example_variables()) == VARIABLES


def test_example_has_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged copy has no effect."""
    defaults = Settings.load()
    for name, value in example_variables().items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == defaults


def test_compose_sets_known_variables_only() -> None:
    """The image's services set every variable that applies to a container."""
    compose = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
    without_container = {
        *("TRACKER_HOME", "TRACKER_CACHE", "DEBIAN_MIRROR", "SIMULATOR_PORT"),
        "EMBEDDED_POSTGRES_PORT",
        *("POSTGRES_PASSWORD", "REDIS_PASSWORD"),  # files there
    }
    services = [compose["services"][name] for name in ("migrate", "web", "worker", "scheduler")]
    variables = {name for service in services for name in service["environment"]}
    assert variables == VARIABLES - without_container


def test_compose_has_the_defaults() -> None:
    """Except where a container differs."""
    compose = (CHECKOUT / "compose.yaml").read_text()
    fallbacks = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", compose))
    different = {"LOG_FORMAT"}  # a container has no terminal
    assert {
        k: v for k, v in fallbacks.items() if k not in different
    }.items() <= example_variables().items()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEB_PORT", "0"),
        ("WEB_PORT", "http"),
        ("SIMULATOR_PORT", "65536"),
        ("STREAM_CLIENTS", "0"),
        ("WEB_ROOT_PATH", "tracker"),
        ("WEB_ROOT_PATH", "/tracker/"),
        ("WEB_ROOT_PATH", "/../tracker"),
        ("WEB_ROOT_PATH", "/a b"),
        ("WEB_KEEP_ALIVE", "0"),
        ("WEB_KEEP_ALIVE", "3601"),
        ("WEB_KEEP_ALIVE", "1m"),
        ("RETENTION", "2d"),
        ("RETENTION", "90"),
        ("RETENTION", "90 d"),
        ("RETENTION", "1.5y"),
        ("RETENTION", "-9d"),
        ("RETENTION", "²d"),
        ("RETENTION", "101y"),
        ("RETENTION", "99999999999y"),
        ("REDIS_DB", "16"),
        ("REDIS_HOST", "queue:6379"),
        ("REDIS_HOST", "redis://queue"),
        ("REDIS_TLS", "perhaps"),
        ("REDIS_TLS_CA_FILE", "/dev/null"),
        ("REDIS_PASSWORD_FILE", "/dev/null"),
        ("POSTGRES_HOST", "db:5432"),
        ("POSTGRES_HOST", "one,,two"),
        ("POSTGRES_PORT", "5432,none"),
        ("POSTGRES_SSLMODE", "full"),
        ("POSTGRES_SSLROOTCERT", "/nowhere"),
        ("REDIS_SENTINELS", "sentinel.example.org"),
        ("REDIS_SENTINELS", "one:26379,:26379"),
        ("REDIS_SENTINELS", "one:70000"),
        ("READ_POSTGRES_PORT", "none"),
        ("REDIS_CELERY_BROKER_DB", "-1"),
        ("POSTGRES_PORT", "5432.5"),
        ("API_VERSION", "v1/x"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("DEBUG", "perhaps"),
        ("TICKERS", "btc_usd,BTC"),
        ("TICKERS", " , "),
        ("CLIENT_BASE_URL", "deribit.com"),
        ("CLIENT_BASE_URL", "ftp://www.deribit.com"),
        ("DEBIAN_MIRROR", "nowhere"),
        ("POSTGRES_PASSWORD_FILE", "/nowhere/at all"),
        ("ANALYST_PASSWORD_FILE", "/nowhere/password"),
        ("ANALYST_PASSWORD_FILE", "/dev/null"),
        ("RATE_LIMIT", "many"),
        ("RATE_LIMIT", "120"),
        ("RATE_LIMIT", "0/minute"),
        ("RATE_LIMIT", "9999999999/minute"),
        ("RATE_LIMIT", "1 per 2 years"),
        ("RATE_LIMIT", "1/second;100/minute"),
        ("RATE_LIMIT", "10/fortnight"),
        ("TRUSTED_PROXIES", "proxy.example.org"),
        ("TRUSTED_PROXIES", "*"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "10.0.0.1,,10.0.0.2"),
        ("CORS_ORIGINS", "example.org"),
        ("CORS_ORIGINS", "https://example.org/"),
        ("CORS_ORIGINS", "https://example.org,*"),
    ],
)
def test_invalid_value_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The message contains variable and value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    line = str(caught.value)
    assert line.startswith(f"{name}: ")
    assert repr(value) in line
    assert "\n" not in line


def test_invalid_value_ends_the_process() -> None:
    """With one line, without a traceback, and exit status 1."""
    completed = subprocess.run(
        [sys.executable, "-m", "tracker", "web"],
        env={**os.environ, "WEB_PORT": "eighty"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert completed.returncode == 1
    assert completed.stdout == ""
    assert re.fullmatch(r"tracker: WEB_PORT: .*\(got 'eighty'\)\n", completed.stderr)


def test_repr_hides_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "hunter2")
    assert "hunter2" not in repr(Settings.load())
    assert "hunter2" in Settings.load().database_dsn


def test_password_file_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without its line end; POSTGRES_PASSWORD overrides it."""
    file = tmp_path / "password"
    file.write_text("from a file\n")
    monkeypatch.setenv("POSTGRES_PASSWORD_FILE", str(file))
    settings = Settings.load()
    assert settings.postgres_password.get_secret_value() == "from a file"
    assert settings.changed(web_port=1).database_dsn == settings.database_dsn
    assert "from a file" not in repr(settings)
    monkeypatch.setenv("POSTGRES_PASSWORD", "variable")
    assert Settings.load().postgres_password.get_secret_value() == "variable"


@pytest.mark.parametrize(
    ("variable", "text", "attribute", "value"),
    [
        # Without blanks and duplicates, in their order.
        ("TICKERS", "eth_usd, btc_usd,eth_usd,,drbfix-btc_usdc", "tickers",
         ("eth_usd", "btc_usd", "drbfix-btc_usdc")),
        ("TICKERS", "all", "tickers", ("*",)),
        ("TICKERS", "*_usd, btc_*,sol_usdc", "tickers", ("*_usd", "btc_*", "sol_usdc")),
        ("CORS_ORIGINS", "*", "allowed_origins", ("*",)),
        ("CORS_ORIGINS", "none", "allowed_origins", ()),
        ("CORS_ORIGINS", "", "allowed_origins", ("*",)),
        ("CORS_ORIGINS", "https://a.example, http://[::1]:8080", "allowed_origins",
         ("https://a.example", "http://[::1]:8080")),
        ("TRUSTED_PROXIES", "", "trusted_proxies", ("127.0.0.1", "::1")),
        ("TRUSTED_PROXIES", "none", "trusted_proxies", ()),
        ("TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::/32", "trusted_proxies",
         ("10.0.0.0/8", "2001:db8::/32")),
        ("RATE_LIMIT", "", "rate_limit", None),
        ("RATE_LIMIT", "120/minute", "rate_limit", "120/minute"),
        ("RATE_LIMIT", "10 per 2 seconds", "rate_limit", "10 per 2 seconds"),
        ("RATE_LIMIT", "1/day", "rate_limit", "1/day"),
        ("CLIENT_BASE_URL", "https://www.deribit.com/api/v2", "testnet", False),
        ("CLIENT_BASE_URL", "https://test.deribit.com/api/v2/", "testnet", True),
        ("CLIENT_BASE_URL", "https://test.deribit.com/api/v2/", "client_base_url",
         "https://test.deribit.com/api/v2"),
        ("RETENTION", "2y", "retention", timedelta(days=730)),
        ("RETENTION", "26w", "retention", timedelta(days=182)),
        ("RETENTION", "90d", "retention", timedelta(days=90)),
        ("REDIS_SENTINELS", "", "redis_sentinels", ()),
        ("REDIS_SENTINELS", "none", "redis_sentinels", ()),
        ("REDIS_SENTINELS", "one:26379, [::1]:5000", "redis_sentinels",
         ("one:26379", "[::1]:5000")),
        ("REDIS_BROKER_DB", "7", "redis_celery_broker_db", 7),
    ],
)  # fmt: skip
def test_text_is_parsed(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, attribute: str, value: object
) -> None:
    """Child processes have the same."""
    monkeypatch.setenv(variable, text)
    settings = Settings.load()
    assert getattr(settings, attribute) == value
    for name, exported in settings.environment().items():
        monkeypatch.setenv(name, exported)
    assert Settings.load() == settings


def test_redis_celery_broker_db_overrides_its_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_BROKER_DB", "7")
    monkeypatch.setenv("REDIS_CELERY_BROKER_DB", "3")
    assert Settings.load().redis_celery_broker_db == 3


def test_configured_hosts_replace_embedded_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "db.example.org")
    monkeypatch.setenv("POSTGRES_PASSWORD", "p w'")
    monkeypatch.setenv("REDIS_HOST", "queue.example.org")
    settings = Settings.load()
    expected = r"host=db.example.org port=5432 dbname=tracker user=postgres password='p w\''"
    assert settings.database_dsn == expected
    assert settings.broker_url == "redis://queue.example.org:6379/1"


def test_several_hosts_have_one_port_or_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "one.example.org, [::1]")
    monkeypatch.setenv("READ_POSTGRES_HOST", "a,b")
    monkeypatch.setenv("POSTGRES_PORT", "5432,5433")
    settings = Settings.load()
    rest = "dbname=tracker user=postgres"
    primary = "target_session_attrs=primary"
    assert settings.database_dsn == f"host=one.example.org,::1 port=5432,5433 {rest} {primary}"
    assert settings.read_dsn == f"host=a,b port=5432 {rest}"
    monkeypatch.setenv("POSTGRES_PORT", "1,2,3")
    with pytest.raises(SettingsError, match="POSTGRES_PORT: has 3 ports, but POSTGRES_HOST has 2"):
        Settings.load()
    monkeypatch.delenv("POSTGRES_HOST")
    assert "port=5432 " in Settings.load().database_dsn  # that of the embedded server


def test_certificates_of_the_system_are_trusted_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq itself reads a file in the home of the user."""
    monkeypatch.setenv("POSTGRES_HOST", "db.example.org")
    for name, value in (("POSTGRES_SSLMODE", "verify-ca"), ("POSTGRES_SSLROOTCERT", "system")):
        monkeypatch.setenv(name, value)
        found = conninfo_to_dict(Settings.load().database_dsn)["sslrootcert"]
        assert Path(str(found)).read_text().count("BEGIN CERTIFICATE") > 1
    monkeypatch.setenv("REDIS_TLS", "true")
    assert Path(Settings.load().redis_tls_options["ssl_ca_certs"]) == Path(str(found))


@pytest.mark.parametrize(
    ("host", "location"),
    [
        ("queue.example.org", "//queue.example.org:6379/1"),
        ("::1", "//[::1]:6379/1"),
        ("[fd00::1]", "//[fd00::1]:6379/1"),
        ("/run/redis.sock", "///run/redis.sock?db=1"),
    ],
)
def test_redis_host_is_a_name_an_address_or_a_socket(
    monkeypatch: pytest.MonkeyPatch, host: str, location: str
) -> None:
    monkeypatch.setenv("REDIS_HOST", host)
    assert Settings.load().broker_url.partition(":")[2] == location


def test_variables_for_other_programs_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of libpq, and Kubernetes' addresses of services."""
    foreign = {
        **dict.fromkeys(
            ("PGHOST", "PGSERVICE", "PGOPTIONS", "PGSSLMODE", "PGCONNECT_TIMEOUT"), "x"
        ),
        **dict.fromkeys(("REDIS_PORT", "POSTGRES_PORT", "WEB_PORT"), "tcp://10.0.0.7:6379"),
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert (settings.redis_port, settings.postgres_port, settings.web_port) == (6379, "5432", 8000)
    assert not foreign.keys() & {
        name
        for name, value in settings.environment().items()
        if value in {"x", "tcp://10.0.0.7:6379"}
    }


def test_login_in_a_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "postgresql://me:secret@db")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert "secret" not in str(caught.value)


def test_replica_and_direct_server_default_to_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each has a host and a port; the rest is the same for all."""
    monkeypatch.setenv("POSTGRES_HOST", "bouncer.example.org")
    monkeypatch.setenv("POSTGRES_PORT", "6432")
    plain = Settings.load()
    assert plain.read_dsn == plain.direct_dsn == plain.database_dsn
    monkeypatch.setenv("READ_POSTGRES_HOST", "replica.example.org")
    monkeypatch.setenv("READ_POSTGRES_PORT", "5433")
    monkeypatch.setenv("DIRECT_POSTGRES_HOST", "db.example.org")
    settings = Settings.load()
    rest = "dbname=tracker user=postgres"
    assert settings.database_dsn == f"host=bouncer.example.org port=6432 {rest}"
    assert settings.read_dsn == f"host=replica.example.org port=5433 {rest}"
    assert settings.direct_dsn == f"host=db.example.org port=5432 {rest}"


def test_long_home_has_short_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The path of a socket has at most 107 bytes."""
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path / ("deep/" * 30)))
    socket = Settings.load().sockets / ".s.PGSQL.5432.lock"
    assert len(str(socket)) < 107


def test_demo_has_an_archive_of_its_own(tmp_path: Path) -> None:
    """Simulated prices must not get into that of the exchange's."""
    settings = Settings(tracker_home=tmp_path / "home", archive_dir=tmp_path / "archive")
    assert demo_settings(settings).archive_dir == tmp_path / "home/demo/archive"
    assert demo_settings(settings.changed(archive_dir=None)).archive_dir is None


def test_child_process_loads_the_same_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`environment` overrides `.env`."""
    settings = Settings.load().changed(
        tickers=("sol_usdc",), web_port=8123, tracker_home=tmp_path, retention="2y"
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    env_file = tmp_path / ".env"
    env_file.write_text("WEB_PORT=9999\nTICKERS=btc_usd\n")
    monkeypatch.setitem(Settings.model_config, "env_file", env_file)
    assert Settings.load() == settings


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("127.0.0.2", "http://127.0.0.2:8000"),
        ("::1", "http://[::1]:8000"),
        ("::", "http://[::1]:8000"),
        ("tracker.example.org", "http://tracker.example.org:8000"),
    ],
)
def test_web_url_is_that_of_the_listener(host: str, url: str) -> None:
    """Of all addresses, it is the loopback of the same family."""
    assert Settings(web_host=host).web_url == url


def test_supervised_process_reads_no_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has all settings in its environment, and may not be allowed to read the file."""
    env_file = tmp_path / ".env"
    env_file.write_text("WEB_PORT=9999\nneither name nor value\n")
    monkeypatch.setitem(Settings.model_config, "env_file", env_file)
    monkeypatch.setenv(ENVIRONMENT_ONLY, "1")
    monkeypatch.setenv("WEB_PORT", "8123")
    assert Settings.load().web_port == 8123
