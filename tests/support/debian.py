"""Programs that only tests run, Debian 13's, from a private apt: Prometheus, PgBouncer, nginx."""

from functools import cache
from pathlib import Path

from ops import debian

_PACKAGES = (
    *("prometheus", "promtool", "prometheus-alertmanager"),
    *("prometheus-postgres-exporter", "prometheus-redis-exporter", "prometheus-node-exporter"),
)
# These link to newer libraries than an older Debian has; what is not here is in our own bundle.
_LINKED = ("pgbouncer", "nginx", "libcares2", "libcrypt1", "libevent-2.1-7t64")


@cache
def programs() -> Path:
    """The folder with Prometheus and what belongs to it."""
    return debian.cached_packages("prometheus-13", _PACKAGES, "usr/bin")


def program(name: str) -> str:
    """The path of one of them."""
    return str(programs() / name)


@cache
def linked(name: str) -> list[str]:
    """What runs pgbouncer or nginx, with Debian 13's own libc."""
    return debian.linked_command("linked-13", _LINKED, f"sbin/{name}")
