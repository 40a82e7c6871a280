"""Settings: environment variables, which override those of `.env` in the checkout."""

import os
import re
import tempfile
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from dotenv.parser import parse_stream
from psycopg.conninfo import make_conninfo
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

CHECKOUT = Path(__file__).resolve().parent.parent
ROLES = ("tracker_worker", "tracker_web", "analyst")  # of the database, created by `migrate`
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
ENVIRONMENT_ONLY = "TRACKER_ENVIRONMENT_ONLY"  # set for child processes: `.env` is not read
_MAX_PORT = 65535
_MAX_REQUESTS = 1_000_000_000
_MAX_WINDOW = 31_536_000  # seconds
_UNIT_DAYS = {"d": 1, "w": 7, "y": 365}
_MIN_DAYS = 3  # repairs go back two days
_MAX_DAYS = 100 * 365
_MAX_SOCKET_FOLDER = 85  # bytes: sun_path has 107, "/.s.PGSQL.5432.lock" needs 19

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
        if not re.fullmatch(INDEX_NAME, name):
            raise ValueError(f"{name!r} is not an index name such as btc_usd")
    return tickers


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


def _parse_sentinels(value: str | tuple[str, ...]) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if names in (["none"], [""]):
        return ()
    for name in names:
        host, colon, port = name.strip().rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) <= _MAX_PORT):
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


def _check_readable(file: Path) -> Path:
    try:
        file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read: {error}") from None
    return file.resolve()  # child processes have another working folder


def _resolve_password(value: SecretStr, info: ValidationInfo) -> SecretStr:
    """*value*; if it is empty, the content of the file without its line end."""
    file = info.data.get("postgres_password_file")
    if value.get_secret_value() or file is None:
        return value
    return SecretStr(_read_secret(file))


def _read_secret(file: Path) -> str:
    return file.read_text().rstrip("\r\n")


def _check_secret_file(file: Path) -> Path:
    if not _read_secret(_check_readable(file)):
        raise ValueError("contains no password")
    return file


SecretFile = Annotated[Path, AfterValidator(_check_secret_file)]


class Settings(BaseSettings):
    """The configuration. The variable of a field has its name in capitals."""

    model_config = SettingsConfigDict(
        env_file=CHECKOUT / ".env",
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

    redis_host: str = ""
    redis_port: Port = 6379
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

    postgres_host: str = ""
    postgres_port: Port = 5432
    read_postgres_host: str = ""
    read_postgres_port: Port = 5432
    direct_postgres_host: str = ""
    direct_postgres_port: Port = 5432
    postgres_db: str = "tracker"
    postgres_user: str = "postgres"
    postgres_password_file: Annotated[Path, AfterValidator(_check_readable)] | None = None
    postgres_password: Annotated[
        SecretStr, AfterValidator(_resolve_password), Field(validate_default=True)
    ] = SecretStr("")
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

    tracker_home: Path | None = None
    tracker_cache: Path | None = None
    web_host: str = "127.0.0.1"
    web_port: Port = 8000
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
        """The settings of this process. Raises SettingsError with a line per invalid variable."""
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
        """The folder for the embedded servers' sockets, whose paths the system limits."""
        inside = self.home / "run"
        if len(os.fsencode(inside)) <= _MAX_SOCKET_FOLDER:
            return inside
        return Path(tempfile.gettempdir(), f"tracker-{_short_hash(self.home)}")

    @property
    def database_dsn(self) -> str:
        """The connection string of PostgreSQL. It contains the password: never log it."""
        if not self.postgres_host:
            return self._dsn(str(self.sockets), 5432)
        return self._dsn(self.postgres_host, self.postgres_port)

    @property
    def read_dsn(self) -> str:
        """The connection string for the API's reads: a replica's, if configured."""
        host = self.read_postgres_host
        return self._dsn(host, self.read_postgres_port) if host else self.database_dsn

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
        """The URL of the Redis database that holds the queue."""
        return self._redis_url(self.redis_celery_broker_db)

    @property
    def limits_url(self) -> str:
        """The URL of the Redis database that counts clients' requests."""
        return self._redis_url(self.redis_db)

    @property
    def testnet(self) -> bool:
        """Whether the configured exchange is Deribit's testnet, which has other prices."""
        return (urlsplit(self.client_base_url).hostname or "").startswith("test.")

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins whose pages may read the API in a browser; "*" for any."""
        return () if self.cors_origins == "none" else tuple(self.cors_origins.split(","))

    def _dsn(self, host: str, port: int) -> str:
        return make_conninfo(
            host=host,
            port=port,
            dbname=self.postgres_db,
            user=self.postgres_user,
            password=self.postgres_password.get_secret_value() or None,
        )

    def _redis_url(self, database: int) -> str:
        host = self.redis_host or str(self.sockets / "redis.sock")
        if host.startswith("/"):
            return f"unix://{quote(host)}?db={database}"
        return f"redis://{host}:{self.redis_port}/{database}"


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
    return [
        f"{str(each['loc'][0]).upper()}: {each['msg'].removeprefix('Value error, ')}"
        f" (got {each['input']!r})"
        for each in error.errors(include_url=False, include_context=False)
    ]


def _default_home() -> Path:
    local = CHECKOUT / ".local"
    if os.getuid() != 0 or _is_accessible(CHECKOUT):
        return local
    return Path("/var/lib/deribit-price-tracker", _short_hash(CHECKOUT))


def _is_accessible(folder: Path) -> bool:
    """Whether an unprivileged user may enter *folder*; PostgreSQL refuses to run as root."""
    return all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents))


def _default_cache(home: Path) -> Path:
    if os.getuid() == 0:
        return Path("/var/cache/deribit-price-tracker")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    writable = next(step for step in (caches, *caches.parents) if step.exists())
    return caches / "deribit-price-tracker" if os.access(writable, os.W_OK) else home / "cache"


def _short_hash(path: Path) -> str:
    return sha256(os.fsencode(path)).hexdigest()[:12]
