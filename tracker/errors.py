"""The error tree, by who can act on it."""

_MAX_SHOWN = 60  # characters of a text that was sent to us
_PASSING = {429, 502, 503, 504}  # HTTP statuses: too many requests; it cannot serve now


def describe(error: BaseException) -> str:
    """The text of *error* on one line; its type where it has none, as time-outs of httpx do."""
    return " ".join(str(error).split()) or type(error).__name__


def shorten(text: str) -> str:
    """*text* of a client, safe to repeat in an error: short, and of printable characters."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"


class TrackerError(Exception):
    """Base of every deliberate error; never raised itself."""


class SettingsError(TrackerError):
    """The environment holds a value the tracker cannot run with."""


class EmbeddedError(TrackerError):
    """The embedded TimescaleDB or Redis cannot be fetched or started."""


class TransferError(TrackerError):
    """An import, export, backup or restore fails, for a reason that its user can remove."""


class ExchangeError(TrackerError):
    """The exchange gave no usable price.

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
        """An error whose *message* names the culprit."""
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


class RequestError(TrackerError):
    """A request that cannot be served as it stands.

    errors: the name of each culprit, and what is wrong with it.
    """

    def __init__(self, errors: dict[str, str]) -> None:
        """An error whose message is one line for all *errors*."""
        super().__init__("; ".join(f"{name}: {why}" for name, why in errors.items()))
        self.errors = errors


class BadRequest(RequestError):
    """It cannot be understood."""


class NotFound(RequestError):
    """What it asks for is not stored."""


class NotAcceptable(RequestError):
    """It wants a format that there is not."""


class NotNow(RequestError):
    """It cannot be served now: there is no room for it, or a part of us is not here."""


class ApiError(RequestError):
    """The API refused a request of its client.

    status: of the HTTP answer.
    passing: whether it may pass by itself, so that asking again makes sense.
    """

    def __init__(self, status: int, errors: dict[str, str]) -> None:
        """An answer of that *status*, and the culprits that it names."""
        super().__init__(errors)
        self.status = status
        self.passing = status in _PASSING


class ApiAway(TrackerError):
    """The API does not answer its client, or somebody else does."""


class DatabaseDown(TrackerError):
    """The database does not answer, or not in time."""


class MigrationsPending(TrackerError):
    """The database lacks tables or columns that this version reads."""


class UnknownSchema(TrackerError):
    """The database has migrations that this version does not know."""
