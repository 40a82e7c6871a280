"""Settings: environment variables, which override those of `.env`.

`.env` and the state are those of the checkout; an installed package reads `.env` of the working
folder, and has its state in the user's data folder.
"""

import os
import re
import ssl
import tempfile
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlencode, urlsplit

from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tracker.errors import SettingsError
from tracker.models import INDEX_NAME

_PACKAGE = Path(__file__).resolve().parent
INSTALLED = (_PACKAGE / "sql").is_dir()  # a wheel has sql/ inside the package
CHECKOUT = _PACKAGE.parent  # if not installed
SQL_FOLDER = (_PACKAGE if INSTALLED else CHECKOUT) / "sql"
ROLES = ("tracker_worker", "tracker_web", "analyst")  # of the database, created by `migrate`
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
ENVIRONMENT_ONLY = "TRACKER_ENVIRONMENT_ONLY"  # set for child processes: `.env` is not read
_LOGIN = re.compile(r"//[^/@\s]*@")  # of a URL: it may contain a password
_HOST_NAME = re.compile(r"[^\s,:/?#@%\[\]]+")
_MAX_PORT = 65535
_MAX_REQUESTS = 1_000_000_000
_MAX_WINDOW = 31_536_000  # seconds
_UNIT_DAYS = {"d": 1, "w": 7, "y": 365}
_MIN_DAYS = 3  # repairs go back two days
_MAX_DAYS = 100 * 365
_MAX_SOCKET_FOLDER = 85  # bytes: sun_path has 107, "/.s.PGSQL.5432.lock" needs 19
_INDEX_PATTERN = r"all|[a-z0-9_-]*\*[a-z0-9_*-]*"
_LIBPQ_VARIABLE = re.compile("PG[A-Z]+(_[A-Z]+)?")
_NAME = "deribit-price-tracker"  # of folders

_UNPREFIXED_PATHS = {
    *("prices", "tickers", "udf", "problems"),
    *("health", "metrics", "openapi.json", "docs", "page"),
}

Port = Annotated[int, Field(ge=1, le=65535)]


def _parse_tickers(value: str | tuple[str, ...]) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    tickers = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not tickers:
        raise ValueError("names no index")
    for name in tickers:
        if not re.fullmatch(f"{INDEX_NAME}|{_INDEX_PATTERN}", name):
            raise ValueError(
                f"{name!r} is not an index name such as btc_usd, a pattern such as *_usd, or all"
            )
    return tuple("*" if name == "all" else name for name in tickers)


def _parse_days(value: str | timedelta) -> timedelta:
    if isinstance(value, timedelta):
        return value
    number, unit = value[:-1], value[-1:]
    if not (number.isascii() and number.isdecimal() and unit in _UNIT_DAYS):
        raise ValueError("is not a time such as 90d, 26w or 2y (of 365 days)")
    days = int(number) * _UNIT_DAYS[unit]
    if not _MIN_DAYS <= days <= _MAX_DAYS:
        raise ValueError(f"is not between {_MIN_DAYS}d and 100y")
    return timedelta(days=days)


def _check_host(value: str) -> str:
    """One host; an IPv6 address without its brackets. Raises ValueError."""
    host = value.strip()
    if not value or host.startswith("/") or _HOST_NAME.fullmatch(host):
        return host
    try:
        return str(ip_address(re.sub(r"^\[(.*)\]$", r"\1", host)))
    except ValueError:
        raise ValueError(
            f"{value!r} is not a host name, an address or the path of a socket;"
            " a port has a variable of its own"
        ) from None


def _check_hosts(value: str) -> str:
    """One host, or several separated by commas, as libpq has them."""
    hosts = [_check_host(host) for host in value.split(",")]
    if "" in hosts and value:
        raise ValueError("has an empty host")
    return ",".join(hosts)


def _check_ports(value: object, info: ValidationInfo) -> str:
    """One port for all hosts, or one for each."""
    ports = [port.strip() for port in str(value).split(",")]
    for port in ports:
        if not (port.isascii() and port.isdecimal() and 0 < int(port) <= _MAX_PORT):
            raise ValueError(f"{port!r} is not a port from 1 to {_MAX_PORT}")
    variable = str(info.field_name).replace("port", "host")
    hosts = str(info.data.get(variable) or "").count(",") + 1
    if len(ports) not in {1, hosts} and info.data.get(variable):
        raise ValueError(f"has {len(ports)} ports, but {variable.upper()} has {hosts} hosts")
    return ",".join(ports)


def _parse_sentinels(value: str | tuple[str, ...]) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if names in (["none"], [""]):
        return ()
    for name in names:
        host, _, port = name.strip().rpartition(":")
        try:
            _check_host(host)
            is_valid = bool(host) and port.isdecimal() and 0 < int(port) <= _MAX_PORT
        except ValueError:
            is_valid = False
        if not is_valid:
            raise ValueError(f"{name!r} is not a sentinel such as sentinel.example.org:26379")
    return tuple(name.strip() for name in names)


def _check_base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("is not an http or https URL")
    if parts.port == 0:  # the property raises ValueError for an invalid port
        raise ValueError("has port 0")
    return value.rstrip("/")


def _check_prefix(value: str) -> str:
    if value in _UNPREFIXED_PATHS:
        raise ValueError("is the name of a path without a prefix")
    return value


def _check_origins(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    for name in names if value not in {"*", "none"} else ():
        if not _ORIGIN.fullmatch(name):
            raise ValueError(f"{name!r} is not an origin such as https://example.org")
    return ",".join(names)


def _check_rate(value: str) -> str:
    from limits import parse_many  # noqa: PLC0415 -- takes 0.1 s, and most settings have no limit

    try:
        rates = parse_many(value)
    except ValueError:
        raise ValueError("is not a rate such as 120/minute") from None
    if len(rates) != 1 or not 0 < rates[0].amount <= _MAX_REQUESTS:
        raise ValueError(f"is not one rate of 1 to {_MAX_REQUESTS} requests, such as 120/minute")
    if not 0 < rates[0].get_expiry() <= _MAX_WINDOW:
        raise ValueError("is a rate of more than a year")
    return value.strip()


def _parse_proxies(value: str | tuple[str, ...]) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    proxies = tuple(name.strip() for name in names)
    if proxies in (("none",), ()):
        return ()
    for name in proxies:
        try:
            ip_network(name)
        except ValueError as error:
            raise ValueError(f"is not a list of addresses and networks: {error}") from None
    return proxies


def _check_root_path(value: str) -> str:
    if {".", ".."} & set(value.split("/")):
        raise ValueError("is no path that a client sends")
    return value


def _check_readable(file: Path) -> Path:
    try:
        file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read: {error}") from None
    return file.resolve()  # child processes have another working folder


def _resolve_password(value: SecretStr, info: ValidationInfo) -> SecretStr:
    """*value*; if it is empty, the content of the file without its line end."""
    file = info.data.get(f"{info.field_name}_file")
    if value.get_secret_value() or file is None:
        return value
    return SecretStr(_read_secret(file))


def _read_secret(file: Path) -> str:
    return file.read_text(encoding="utf-8").rstrip("\r\n")


def _check_authorities(file: Path) -> Path:
    """A file of certificates in PEM format; libpq's name `system` means those of this system."""
    if str(file) == "system":
        return _find_authorities()
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise ValueError("has no certificates in PEM format") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return file.resolve()


def _check_secret_file(file: Path) -> Path:
    if not _read_secret(_check_readable(file)):
        raise ValueError("contains no password")
    return file


Host = Annotated[str, AfterValidator(_check_host)]
Hosts = Annotated[str, AfterValidator(_check_hosts)]
Ports = Annotated[str, BeforeValidator(_check_ports)]
Secret = Annotated[SecretStr, AfterValidator(_resolve_password), Field(validate_default=True)]
SecretFile = Annotated[Path, AfterValidator(_check_secret_file)]
Authorities = Annotated[Path, AfterValidator(_check_authorities)]


class Settings(BaseSettings):
    """The configuration. The variable of a field has its name in capitals."""

    model_config = SettingsConfigDict(
        env_file=Path(".env") if INSTALLED else CHECKOUT / ".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    api_version: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), AfterValidator(_check_prefix)
    ] = "v1"
    debug: bool = False
    log_level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["auto", "text", "plain", "json"] = "auto"

    redis_host: Host = ""
    redis_port: Port = 6379
    redis_user: str = ""
    redis_password_file: SecretFile | None = None
    redis_password: Secret = SecretStr("")
    redis_tls: bool = False
    redis_tls_ca_file: Authorities | None = None
    redis_tls_verify: bool = True
    redis_db: Annotated[int, Field(ge=0, le=15)] = 0
    redis_celery_broker_db: Annotated[
        int,
        Field(
            ge=0,
            le=15,
            validation_alias=AliasChoices("redis_celery_broker_db", "redis_broker_db"),
        ),
    ] = 1

    redis_sentinels: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_sentinels)] = ()
    redis_sentinel_master: Annotated[str, Field(min_length=1)] = "mymaster"
    redis_sentinel_user: str = ""
    redis_sentinel_password_file: SecretFile | None = None
    redis_sentinel_password: Secret = SecretStr("")

    postgres_host: Hosts = ""
    postgres_port: Ports = "5432"
    read_postgres_host: Hosts = ""
    read_postgres_port: Ports = "5432"
    direct_postgres_host: Hosts = ""
    direct_postgres_port: Ports = "5432"
    postgres_db: str = "tracker"
    postgres_user: str = "postgres"
    postgres_password_file: Annotated[Path, AfterValidator(_check_readable)] | None = None
    postgres_password: Secret = SecretStr("")
    postgres_sslmode: (
        Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None
    ) = None
    postgres_sslrootcert: Authorities | None = None
    tracker_worker_password_file: SecretFile | None = None
    tracker_web_password_file: SecretFile | None = None
    analyst_password_file: SecretFile | None = None

    client_base_url: Annotated[str, AfterValidator(_check_base_url)] = (
        "https://www.deribit.com/api/v2"
    )
    tickers: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_tickers)] = (
        "btc_usd",
        "eth_usd",
    )

    retention: Annotated[timedelta, BeforeValidator(_parse_days)] | None = None

    archive_dir: Annotated[Path, AfterValidator(Path.absolute)] | None = None

    tracker_home: Path | None = None
    tracker_cache: Path | None = None
    embedded_postgres_port: Port | None = None
    web_host: str = "127.0.0.1"
    web_port: Port = 8000
    web_root_path: Annotated[
        str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$"), AfterValidator(_check_root_path)
    ] = ""
    web_keep_alive: Annotated[int, Field(ge=1, le=3600)] = 75
    cors_origins: Annotated[str, AfterValidator(_check_origins)] = "*"
    rate_limit: Annotated[str, AfterValidator(_check_rate)] | None = None
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_proxies)] = (
        "127.0.0.1",
        "::1",
    )
    stream_clients: Annotated[int, Field(ge=1, le=100_000)] = 1000
    worker_metrics_port: Port | None = None
    simulator_port: Port = 8090
    debian_mirror: Annotated[str, AfterValidator(_check_base_url)] | None = None

    @classmethod
    def load(cls) -> Self:
        """The settings of this process. Raises SettingsError with a line per invalid variable.

        Removes variables from the environment that others set: libpq's own, such as PGOPTIONS and
        PGSERVICE, which would change our connections and those of child processes; and Kubernetes'
        addresses of services, such as REDIS_PORT=tcp://10.0.0.7:6379.
        """
        for name, value in list(os.environ.items()):
            is_service = name.endswith("_PORT") and value.startswith(("tcp://", "udp://"))
            if is_service or _LIBPQ_VARIABLE.fullmatch(name):
                del os.environ[name]
        env_file = None if ENVIRONMENT_ONLY in os.environ else cls.model_config.get("env_file")
        _check_env_file(env_file)
        options: dict[str, Any] = {"_env_file": env_file}
        try:
            return cls(**options)
        except ValidationError as error:
            raise SettingsError("\n".join(_messages(error))) from None

    def changed(self, **changes: object) -> Self:
        """These settings with *changes*, independent of the environment."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**fields, **changes})

    def environment(self) -> dict[str, str]:
        """The environment for a child process to load these settings, which override `.env`."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        variables = {name.upper(): _format(value) for name, value in fields.items()}
        return {**os.environ, **{name: value for name, value in variables.items() if value}}

    @cached_property
    def home(self) -> Path:
        """The folder for the state of the embedded servers."""
        return (self.tracker_home or _default_home()).expanduser().resolve()

    @cached_property
    def cache(self) -> Path:
        """The folder for the programs of the embedded servers, shared by many homes."""
        return (self.tracker_cache or _default_cache(self.home)).expanduser().resolve()

    @cached_property
    def sockets(self) -> Path:
        """The folder for the embedded servers' sockets, whose paths the system limits.

        It is the same for every command, whatever TMPDIR is.
        """
        inside = self.home / "run"
        if len(os.fsencode(inside)) <= _MAX_SOCKET_FOLDER and "," not in str(inside):
            return inside
        temporary = "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else tempfile.gettempdir()  # noqa: S108 -- made private
        return Path(temporary, f"tracker-{_short_hash(self.home)}")

    @property
    def database_dsn(self) -> str:
        """The connection string of PostgreSQL. It contains the password: never log it."""
        if not self.postgres_host:
            return self._dsn(str(self.sockets), "5432")
        return self._dsn(self.postgres_host, self.postgres_port)

    @property
    def read_dsn(self) -> str:
        """The connection string for the API's reads: a replica's, if configured."""
        host = self.read_postgres_host
        if not host:
            return self.database_dsn
        return self._dsn(host, self.read_postgres_port, writable=False)

    @property
    def direct_dsn(self) -> str:
        """The connection string without PgBouncer, for LISTEN and migrations."""
        host = self.direct_postgres_host
        return self._dsn(host, self.direct_postgres_port) if host else self.database_dsn

    @property
    def role_passwords(self) -> dict[str, str]:
        """The passwords that `migrate` sets for roles of the database: never log them."""
        files = {role: getattr(self, f"{role}_password_file") for role in ROLES}
        return {role: _read_secret(file) for role, file in files.items() if file}

    def retained_since(self, now: datetime) -> datetime | None:
        """The UTC midnight before which prices are dropped at *now* (UTC); None: without limit."""
        if self.retention is None:
            return None
        return (now - self.retention).replace(hour=0, minute=0, second=0, microsecond=0)

    @property
    def web_url(self) -> str:
        """The API's address for clients on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.web_host, self.web_host)  # noqa: S104 -- compared
        return f"http://{f'[{host}]' if ':' in host else host}:{self.web_port}"

    @property
    def broker_url(self) -> str:
        """The URL of the Redis database that holds the queue, with the password: never log it."""
        return self._redis_url(self.redis_celery_broker_db)

    @property
    def limits_url(self) -> str:
        """The URL of the Redis database that counts clients' requests: never log it."""
        return self._redis_url(self.redis_db)

    @property
    def redis_tls_options(self) -> dict[str, str]:
        """The options of redis-py for TLS; empty without TLS."""
        if not self.redis_tls:
            return {}
        if not self.redis_tls_verify:
            return {"ssl_cert_reqs": "none"}
        return {"ssl_ca_certs": str(self.redis_tls_ca_file or _find_authorities())}

    @property
    def testnet(self) -> bool:
        """Whether the configured exchange is Deribit's testnet, which has other prices."""
        return (urlsplit(self.client_base_url).hostname or "").startswith("test.")

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins whose pages may read the API in a browser; "*" for any."""
        return () if self.cors_origins == "none" else tuple(self.cors_origins.split(","))

    def _dsn(self, host: str, port: str, *, writable: bool = True) -> str:
        """The connection string of *host*; *writable*: of several hosts, the primary."""
        from psycopg.conninfo import make_conninfo  # noqa: PLC0415 -- reads by HTTP start without

        parameters: dict[str, Any] = {
            "host": host,
            "port": port,
            "dbname": self.postgres_db,
            "user": self.postgres_user,
            "password": self.postgres_password.get_secret_value() or None,
        }
        if not host.startswith("/"):  # sockets have no TLS
            authorities = self.postgres_sslrootcert
            if authorities is None and (self.postgres_sslmode or "").startswith("verify"):
                authorities = _find_authorities()
            parameters |= {
                "sslmode": self.postgres_sslmode,
                "sslrootcert": str(authorities) if authorities else None,
            }
        if "," in host and writable:
            parameters["target_session_attrs"] = "primary"
        return make_conninfo(**parameters)

    def _redis_url(self, database: int) -> str:
        embedded = str(self.sockets / "redis.sock")  # needs no password, and has none
        host, user = self.redis_host or embedded, self.redis_user
        password = self.redis_password.get_secret_value()
        login = ""
        if host != embedded and (user or password):
            login = f"{quote(user, safe='')}:{quote(password, safe='')}@"
        if host.startswith("/"):
            return f"unix://{login}{quote(host)}?db={database}"
        address = f"[{quote(host, safe=':')}]" if ":" in host else host
        location = f"{login}{address}:{self.redis_port}/{database}"
        if self.redis_tls:
            return f"rediss://{location}?{urlencode(self.redis_tls_options)}"
        return f"redis://{location}"


def _check_env_file(path: object) -> None:
    """Raises SettingsError for an invalid `.env`, whose invalid lines dotenv would skip."""
    if not isinstance(path, Path) or not path.exists():
        return
    try:
        with path.open(encoding="utf-8") as stream:
            invalid = [binding.original for binding in parse_stream(stream) if binding.error]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    if invalid:
        line, text = invalid[0].line, invalid[0].string.strip().splitlines()[0]
        raise SettingsError(f"{path}: line {line} is not NAME=value: {text}")


def _find_authorities() -> Path:
    """The certificates of the authorities that this system trusts, else those of certifi."""
    import certifi  # noqa: PLC0415 -- only connections with TLS need it

    paths = ssl.get_default_verify_paths()
    return Path(paths.cafile or certifi.where())


def _format(value: object) -> str:
    match value:
        case None:
            return ""
        case tuple():
            return ",".join(value) or "none"
        case timedelta():
            return f"{value.days}d"
        case SecretStr():
            return value.get_secret_value()
        case _:
            return str(value)


def _messages(error: ValidationError) -> list[str]:
    messages = (
        f"{str(each['loc'][0]).upper()}: {each['msg'].removeprefix('Value error, ')}"
        f" (got {each['input']!r})"
        for each in error.errors(include_url=False, include_context=False)
    )
    return [hide_login(message) for message in messages]


def hide_login(text: str) -> str:
    """*text* with every URL's user name and password left out."""
    return _LOGIN.sub("//…@", text)


def user_command(name: str) -> str:
    """How a user runs the command *name* here, for messages: by `ops/just` in a checkout."""
    return f"tracker {name}" if INSTALLED else f"ops/just {name}"


def _default_home() -> Path:
    if INSTALLED:
        if os.getuid() == 0:
            return Path("/var/lib", _NAME, "installed")
        # A system user may have no home: then the state is beside its .env.
        return _user_folder("XDG_DATA_HOME", ".local/share") or Path(".local")
    local = CHECKOUT / ".local"
    if os.getuid() != 0 or _is_accessible(CHECKOUT):
        return local
    return Path("/var/lib", _NAME, _short_hash(CHECKOUT))


def _is_accessible(folder: Path) -> bool:
    """Whether an unprivileged user may enter *folder*; PostgreSQL refuses to run as root."""
    return all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents))


def _default_cache(home: Path) -> Path:
    if os.getuid() == 0:
        return Path("/var/cache", _NAME)
    return _user_folder("XDG_CACHE_HOME", ".cache") or home / "cache"


def _user_folder(variable: str, default: str) -> Path | None:
    """Our folder in that of *variable*, or in *default* of the user's home; None if not writable.

    Source: XDG Base Directory Specification
    """
    try:
        given = Path(os.environ.get(variable, ""))
        folder = given if given.is_absolute() else Path.home() / default
        existing = next(step for step in (folder, *folder.parents) if step.exists())
    except (RuntimeError, OSError):  # no home, or one that may not be entered
        return None
    return folder / _NAME if os.access(existing, os.W_OK) else None


def _short_hash(path: Path) -> str:
    return sha256(os.fsencode(path)).hexdigest()[:12]
