"""From words to a fault: the fields of an admin request, or a flag of the command line."""

from collections.abc import Callable, Mapping
from typing import Final

from tracker.errors import BadRequest
from tracker.simulator.faults import FROZEN, Fault

# Each kind, and the fields it knows beyond those of every fault.
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "latency": ("delay",),
    "timeout": (),
    "reset": (),
    "rate_limit": ("retry_after", "code"),
    "maintenance": (),
    "error": ("code",),
    "html": ("code",),
    "truncated": (),
    "testnet": (),
    FROZEN: (),
    "missing": (),
    "wrong_status": ("code",),
}
_COMMON: Final = ("kind", "index", "method", "seconds", "calls")
_HTTP_CODED: Final = ("html", "wrong_status")
_PUBLIC: Final = "public/"
_STATUSES: Final = frozenset((200, *range(400, 600)))
_FOREVER: Final = 10**9  # seconds, or calls


def parse(
    fields: Mapping[str, object], *, indexes: frozenset[str], methods: frozenset[str]
) -> Fault:
    """The fault that *fields* describe. Raises BadRequest naming every field at fault."""
    given = {name: value for name, value in fields.items() if value is not None}
    if isinstance(method := given.get("method"), str):
        given["method"] = method.removeprefix(_PUBLIC)
    checks = _checks(str(given.get("kind")), indexes, methods)
    if wrong := {name: why for name, value in given.items() if (why := _why(checks, name, value))}:
        raise BadRequest(wrong)
    if missing := {name: "is required" for name in _required(given) if name not in given}:
        raise BadRequest(missing)
    return Fault(**given)  # type: ignore[arg-type]  # every field was checked just now


def parse_flag(text: str, *, indexes: frozenset[str], methods: frozenset[str]) -> Fault:
    """The fault of ``KIND[:key=value,…]``. Raises BadRequest."""
    kind, _, rest = text.partition(":")
    pairs = [pair.partition("=") for pair in rest.split(",") if pair]
    fields = {name.strip(): _value(value.strip()) for name, _, value in pairs}
    return parse({**fields, "kind": kind}, indexes=indexes, methods=methods)


def _value(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


Check = Callable[[object], str | None]


def _checks(kind: str, indexes: frozenset[str], methods: frozenset[str]) -> Mapping[str, Check]:
    """What each field of a fault of that *kind* must be."""
    known = (*_COMMON, *KINDS.get(kind, ()))
    checks = {
        "kind": _one_of(frozenset(KINDS), "a kind"),
        "index": _one_of(indexes, "a known index"),
        "method": _one_of(methods, "a known method"),
        "seconds": _positive,
        "calls": lambda value: None if _counts(value, 1) else "must be 1 or more",
        "delay": _positive,
        "retry_after": lambda value: None if _counts(value, 0) else "must be whole seconds",
        "code": _http if kind in _HTTP_CODED else _integer,
    }
    return {name: check for name, check in checks.items() if name in known}


def _why(checks: Mapping[str, Check], name: str, value: object) -> str | None:
    return checks[name](value) if name in checks else "is not a field of this kind of fault"


def _required(given: Mapping[str, object]) -> tuple[str, ...]:
    return ("kind", "delay") if given.get("kind") == "latency" else ("kind",)


def _one_of(words: frozenset[str], what: str) -> Check:
    def check(value: object) -> str | None:
        known = isinstance(value, str) and value in words
        return None if known else f"is not {what}: {value!r}"

    return check


def _counts(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < _FOREVER


def _integer(value: object) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole else "must be an integer"


def _http(value: object) -> str | None:
    usable = isinstance(value, int) and value in _STATUSES
    return None if usable else "must be an HTTP status: 200, or 400 to 599"


def _positive(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _FOREVER:
        return None
    return f"must be a number of seconds above 0 and below {_FOREVER}"
