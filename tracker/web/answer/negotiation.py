"""What a client accepts. Source: RFC 9110, section 12."""

import re
from collections.abc import Sequence
from functools import lru_cache

_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_REMEMBERED = 256  # clients send few different headers, and each of them again and again


@lru_cache(_REMEMBERED)
def media_type(accept: str, offered: tuple[str, ...]) -> str | None:
    """The best of the media types *offered*, the earlier of equals; None if none is accepted."""
    ranges = _weighed(accept) or [("*/*", 1.0)]
    weights = {name: _weight(name, ranges) for name in offered}
    best = max(offered, key=weights.__getitem__)
    return best if weights[best] > 0 else None


@lru_cache(_REMEMBERED)
def gzipped(accept_encoding: str) -> bool:
    """Whether an answer may be sent with gzip."""
    weights = dict(_weighed(accept_encoding))
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weighed(header: str) -> list[tuple[str, float]]:
    """Each element in lower case, without its parameters, and its weight."""
    found = []
    for element in header.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        if name:
            found.append((name, _quality(parameters)))
    return found


def _quality(parameters: Sequence[str]) -> float:
    """0 to 1; what is no weight counts as 1."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q" and _QUALITY.fullmatch(value):
            return float(value)
    return 1.0


def _weight(name: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The weight of the most specific range that *name* is in."""
    weights = dict(ranges)
    for each in (name, f"{name.partition('/')[0]}/*", "*/*"):
        if each in weights:
            return weights[each]
    return 0.0
