"""Debian 13's programs that only tests run, from a private apt: Prometheus, PgBouncer, nginx."""

from functools import cache
from pathlib import Path

from ops import debian

_PACKAGES = (
    *("prometheus", "promtool", "prometheus-alertmanager"),
    *("prometheus-postgres-exporter", "prometheus-redis-exporter", "prometheus-node-exporter"),
)
# These link to newer libraries than an older Debian has; the others are in our own bundle.
_LINKED_PACKAGES = ("pgbouncer", "nginx", "libcares2", "libcrypt1", "libevent-2.1-7t64")


@cache
def program_folder() -> Path:
    """The folder with Prometheus and its exporters."""
    return debian.cached_packages("prometheus-13", _PACKAGES, "usr/bin")


def program_path(name: str) -> str:
    """The path of one of them."""
    return str(program_folder() / name)


@cache
def linked_command(name: str) -> list[str]:
    """The command of pgbouncer or nginx with Debian 13's own libc."""
    return debian.linked_command("linked-13", _LINKED_PACKAGES, f"sbin/{name}")
