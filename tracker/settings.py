"""Every variable, read once: from the environment, then from `.env` in the checkout."""

import os
import re
import tempfile
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
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
ROLES = ("tracker_worker", "tracker_web", "analyst")  # of the database; the migrations make them
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_HIGHEST_PORT = 65535
_MOST_REQUESTS = 1_000_000_000
_LONGEST_WINDOW = 31_536_000  # seconds
_DAYS = {"d": 1, "w": 7, "y": 365}
_FEWEST_DAYS = 3  # what is repaired is up to two days old
_MOST_DAYS = 100 * 365
_LONGEST_SOCKET_FOLDER = 85  # sun_path holds 107 bytes, "/.s.PGSQL.5432.lock" takes 19

_BARE_PATHS = {
    *("prices", "tickers", "udf", "problems"),
    *("health", "metrics", "openapi.json", "docs", "page"),
}

Port = Annotated[int, Field(ge=1, le=65535)]


def _tickers(value: str | tuple[str, ...]) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    tickers = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not tickers:
        raise ValueError("names no index")
    for name in tickers:
        if not re.fullmatch(INDEX_NAME, name):
            raise ValueError(f"{name!r} is not an index name such as btc_usd")
    return tickers


def _days(value: str | timedelta) -> timedelta:
    if isinstance(value, timedelta):
        return value
    number, unit = value[:-1], value[-1:]
    if not (number.isascii() and number.isdecimal() and unit in _DAYS):
        raise ValueError("is not a time such as 90d, 26w or 2y (of 365 days)")
    days = int(number) * _DAYS[unit]
    if not _FEWEST_DAYS <= days <= _MOST_DAYS:
        raise ValueError(f"is not between {_FEWEST_DAYS}d and 100y")
    return timedelta(days=days)


def _sentinels(value: str | tuple[str, ...]) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if names in (["none"], [""]):
        return ()
    for name in names:
        host, colon, port = name.strip().rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) <= _HIGHEST_PORT):
            raise ValueError(f"{name!r} is not a sentinel such as sentinel.example.org:26379")
    return tuple(name.strip() for name in names)


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("is not an http or https URL")
    if parts.port == 0:  # asking for it raises ValueError where it is no port at all
        raise ValueError("names no port that can be asked")
    return value.rstrip("/")


def _prefix(value: str) -> str:
    if value in _BARE_PATHS:
        raise ValueError("is the name of a path that is served bare")
    return value


def _origins(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    for name in names if value not in {"*", "none"} else ():
        if not _ORIGIN.fullmatch(name):
            raise ValueError(f"{name!r} is not an origin such as https://example.org")
    return ",".join(names)


def _rate(value: str) -> str:
    from limits import parse_many  # noqa: PLC0415 -- a tenth of a second, for those who limit

    try:
        rates = parse_many(value)
    except ValueError:
        raise ValueError("is not a rate such as 120/minute") from None
    if len(rates) != 1 or not 0 < rates[0].amount <= _MOST_REQUESTS:
        raise ValueError(f"is not one rate of 1 to {_MOST_REQUESTS} requests, such as 120/minute")
    if not 0 < rates[0].get_expiry() <= _LONGEST_WINDOW:
        raise ValueError("is a rate of more than a year")
    return value.strip()


def _proxies(value: str | tuple[str, ...]) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    proxies = tuple(name.strip() for name in names)
    if proxies in (("none",), ()):
        return ()
    for name in proxies:
        try:
            ip_network(name)
        except ValueError as error:
            raise ValueError(f"is no list of addresses and networks: {error}") from None
    return proxies


def _readable(file: Path) -> Path:
    try:
        file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read: {error}") from None
    return file.resolve()  # children run in another folder


def _password(value: SecretStr, info: ValidationInfo) -> SecretStr:
    """*value*; if it is empty, what the file says, without the end of its line."""
    file = info.data.get("postgres_password_file")
    if value.get_secret_value() or file is None:
        return value
    return SecretStr(_secret(file))


def _secret(file: Path) -> str:
    return file.read_text().rstrip("\r\n")


def _secret_file(file: Path) -> Path:
    if not _secret(_readable(file)):
        raise ValueError("holds no password")
    return file


SecretFile = Annotated[Path, AfterValidator(_secret_file)]


class Settings(BaseSettings):
    """What can be configured; a variable has its field's name in capitals."""

    model_config = SettingsConfigDict(
        env_file=CHECKOUT / ".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    api_version: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), AfterValidator(_prefix)
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

    redis_sentinels: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_sentinels)] = ()
    redis_sentinel_master: Annotated[str, Field(min_length=1)] = "mymaster"

    postgres_host: str = ""
    postgres_port: Port = 5432
    read_postgres_host: str = ""
    read_postgres_port: Port = 5432
    direct_postgres_host: str = ""
    direct_postgres_port: Port = 5432
    postgres_db: str = "tracker"
    postgres_user: str = "postgres"
    postgres_password_file: Annotated[Path, AfterValidator(_readable)] | None = None
    postgres_password: Annotated[
        SecretStr, AfterValidator(_password), Field(validate_default=True)
    ] = SecretStr("")
    tracker_worker_password_file: SecretFile | None = None
    tracker_web_password_file: SecretFile | None = None
    analyst_password_file: SecretFile | None = None

    client_base_url: Annotated[str, AfterValidator(_base_url)] = "https://www.deribit.com/api/v2"
    tickers: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_tickers)] = (
        "btc_usd",
        "eth_usd",
    )

    retention: Annotated[timedelta, BeforeValidator(_days)] | None = None

    tracker_home: Path | None = None
    tracker_cache: Path | None = None
    web_host: str = "127.0.0.1"
    web_port: Port = 8000
    cors_origins: Annotated[str, AfterValidator(_origins)] = "*"
    rate_limit: Annotated[str, AfterValidator(_rate)] | None = None
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_proxies)] = (
        "127.0.0.1",
        "::1",
    )
    stream_clients: Annotated[int, Field(ge=1, le=100_000)] = 1000
    worker_metrics_port: Port | None = None
    simulator_port: Port = 8090
    debian_mirror: Annotated[str, AfterValidator(_base_url)] | None = None

    @classmethod
    def load(cls) -> Self:
        """The settings of this process. Raises SettingsError, a line for each bad variable."""
        _check_file(cls.model_config.get("env_file"))
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError("\n".join(_complaints(error))) from None

    def changed(self, **changes: object) -> Self:
        """These settings with *changes*, whatever the environment says."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**fields, **changes})

    def environment(self) -> dict[str, str]:
        """The environment of a child that shall load these settings, whatever `.env` says."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        stated = {name.upper(): _stated(value) for name, value in fields.items()}
        return {**os.environ, **{name: value for name, value in stated.items() if value}}

    @cached_property
    def home(self) -> Path:
        """Where the embedded servers keep their state."""
        return (self.tracker_home or _default_home()).expanduser().resolve()

    @cached_property
    def cache(self) -> Path:
        """Where the embedded servers' programs are kept; many homes share it."""
        return (self.tracker_cache or _default_cache(self.home)).expanduser().resolve()

    @cached_property
    def sockets(self) -> Path:
        """The embedded servers' sockets; a short path, as the system asks for."""
        inside = self.home / "run"
        if len(os.fsencode(inside)) <= _LONGEST_SOCKET_FOLDER:
            return inside
        return Path(tempfile.gettempdir(), f"tracker-{_short_hash(self.home)}")

    @property
    def database_dsn(self) -> str:
        """The connection string of PostgreSQL, password included: never log it."""
        if not self.postgres_host:
            return self._dsn(str(self.sockets), 5432)
        return self._dsn(self.postgres_host, self.postgres_port)

    @property
    def read_dsn(self) -> str:
        """The same of the server that requests are answered from: a replica, if there is one."""
        host = self.read_postgres_host
        return self._dsn(host, self.read_postgres_port) if host else self.database_dsn

    @property
    def direct_dsn(self) -> str:
        """The same past a pool of connections, for what must keep its own: LISTEN, migrations."""
        host = self.direct_postgres_host
        return self._dsn(host, self.direct_postgres_port) if host else self.database_dsn

    @property
    def role_passwords(self) -> dict[str, str]:
        """The passwords that `migrate` gives to roles of the database: never log them."""
        files = {role: getattr(self, f"{role}_password_file") for role in ROLES}
        return {role: _secret(file) for role, file in files.items() if file}

    def kept_since(self, now: datetime) -> datetime | None:
        """The midnight of UTC before which prices are dropped at *now*, in UTC; None: none are."""
        return _midnight(now, self.retention)

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
        """Whether the configured exchange is Deribit's testnet, with prices of its own."""
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


def _midnight(now: datetime, age: timedelta | None) -> datetime | None:
    """The first midnight of UTC that is *age* old, or older."""
    return (now - age).replace(hour=0, minute=0, second=0, microsecond=0) if age else None


def _check_file(path: object) -> None:
    """Raises SettingsError for a `.env` that cannot be read; its reader would skip the line."""
    if not isinstance(path, Path) or not path.exists():
        return
    try:
        with path.open(encoding="utf-8") as stream:
            faulty = [binding.original for binding in parse_stream(stream) if binding.error]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    if faulty:
        line, text = faulty[0].line, faulty[0].string.strip().splitlines()[0]
        raise SettingsError(f"{path}: line {line} is not NAME=value: {text}")


def _stated(value: object) -> str:
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


def _complaints(error: ValidationError) -> list[str]:
    return [
        f"{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
        f" (got {fault['input']!r})"
        for fault in error.errors(include_url=False, include_context=False)
    ]


def _default_home() -> Path:
    local = CHECKOUT / ".local"
    if os.getuid() != 0 or _reachable(CHECKOUT):
        return local
    return Path("/var/lib/deribit-price-tracker", _short_hash(CHECKOUT))


def _reachable(folder: Path) -> bool:
    """Whether an unprivileged uid may enter *folder*: PostgreSQL refuses to run as root."""
    return all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents))


def _default_cache(home: Path) -> Path:
    if os.getuid() == 0:
        return Path("/var/cache/deribit-price-tracker")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    writable = next(step for step in (caches, *caches.parents) if step.exists())
    return caches / "deribit-price-tracker" if os.access(writable, os.W_OK) else home / "cache"


def _short_hash(path: Path) -> str:
    return sha256(os.fsencode(path)).hexdigest()[:12]
