"""The error tree, by who can resolve an error."""

_MAX_SHOWN = 60  # characters of a client's text
# What PostgreSQL and libpq report, and the variables that resolve it.
_VARIABLES = {
    "password authentication failed": "POSTGRES_USER, POSTGRES_PASSWORD",
    "no password supplied": "POSTGRES_PASSWORD",
    "no encryption": "POSTGRES_SSLMODE",  # "no pg_hba.conf entry for …, no encryption"
    "server does not support SSL": "POSTGRES_SSLMODE",
    "SSL error: certificate verify failed": "POSTGRES_SSLROOTCERT",
    "does not match host name": "POSTGRES_HOST, POSTGRES_SSLMODE",
}
_TRANSIENT = {429, 502, 503, 504}  # HTTP statuses after which a retry may succeed


def describe(error: BaseException) -> str:
    """The text of *error* on one line; its type if it has none, such as time-outs of httpx.

    Variables that resolve it are appended in parentheses.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    variables = next((names for reason, names in _VARIABLES.items() if reason in text), "")
    return f"{text} ({variables})" if variables else text


def shorten(text: str) -> str:
    """*text* of a client, made safe for an error message: short and printable."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"


class TrackerError(Exception):
    """The base of every deliberate error; never raised itself."""


class SettingsError(TrackerError):
    """The environment has an invalid value."""


class EmbeddedError(TrackerError):
    """Embedded TimescaleDB or Redis cannot be downloaded or started."""


class TransferError(TrackerError):
    """An import, export, backup or restore failed for a reason that the user can resolve."""


class ArchiveError(TrackerError):
    """The archive cannot be written, or a file of it is newer than the database."""


class ExchangeError(TrackerError):
    """The exchange returned no usable price.

    reason: the value stored in `misses`.
    transient: whether a retry may succeed.
    code: the HTTP status or JSON-RPC error code, if there is one.
    retry_after: seconds to wait before a retry, if the exchange gave them.
    attempts: how many requests were made.
    """

    reason = "exchange_unavailable"
    transient = False

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        retry_after: float | None = None,
        attempts: int = 1,
    ) -> None:
        """An error whose *message* names the invalid value."""
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.attempts = attempts


class Unreachable(ExchangeError):
    """No response: name lookup, connection, time-out, or a dropped connection."""

    transient = True


class Unavailable(ExchangeError):
    """The exchange responded that it is unavailable."""

    transient = True


class RateLimited(ExchangeError):
    """The exchange's rate limit is exceeded."""

    reason = "rate_limited"
    transient = True


class Refused(ExchangeError):
    """The exchange refused the request, for example for an unknown index."""

    reason = "refused"


class InvalidResponse(ExchangeError):
    """The response has no price of this index."""

    reason = "bad_answer"


class WrongMinute(ExchangeError):
    """The price was observed outside the minute of its poll."""

    reason = "too_late"


class WrongClock(TrackerError):
    """This machine's clock was set back, or a clock contradicts the exchange's."""


class RequestError(TrackerError):
    """An invalid request.

    errors: the reason for each invalid parameter or header, by its name.
    """

    def __init__(self, errors: dict[str, str]) -> None:
        """An error whose message is one line for all *errors*."""
        super().__init__("; ".join(f"{name}: {why}" for name, why in errors.items()))
        self.errors = errors


class BadRequest(RequestError):
    """A parameter is missing, unknown or invalid."""


class NotFound(RequestError):
    """The requested resource or data does not exist."""


class NotAcceptable(RequestError):
    """No supported format is acceptable."""


class PreconditionFailed(RequestError):
    """The response is not the one that the client has a condition for."""


class ServiceUnavailable(RequestError):
    """A limit is reached, or a component is not installed."""


class ApiError(RequestError):
    """The API rejected a request of the client.

    status: of the HTTP response.
    retry_after: seconds to wait before a retry, if the API gave them.
    transient: whether a retry may succeed.
    """

    def __init__(
        self, status: int, errors: dict[str, str], retry_after: float | None = None
    ) -> None:
        """A response with *status* and the *errors* that it lists."""
        super().__init__(errors)
        self.status = status
        self.retry_after = retry_after
        self.transient = status in _TRANSIENT


class ApiUnavailable(TrackerError):
    """The API is unavailable, or another server responds."""


class DatabaseDown(TrackerError):
    """The database is unavailable or timed out."""


class MigrationsPending(TrackerError):
    """The database lacks tables or columns of this version."""


class MigrationFailed(TrackerError):
    """The server refuses a statement of a migration, because of privileges or foreign objects."""


class UnknownSchema(TrackerError):
    """The database has migrations of another version."""
