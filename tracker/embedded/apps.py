"""The tracker's own processes, and what each of them waits for."""

import socket
import sys
from collections.abc import Iterable, Mapping

from tracker.embedded.process import Process
from tracker.settings import CHECKOUT, Settings

_SIMULATOR_GRACE = 4.0  # seconds, after the worker's 8


def apps(settings: Settings, servers: Iterable[str], *, simulated: bool) -> list[Process]:
    """The processes to run beside *servers*; if *simulated*, with an exchange of our own."""
    environment = _environment(settings)
    needed = ("migrate", "simulator") if simulated else ("migrate",)
    processes = [
        _app("migrate", environment, after=tuple(servers), once=True),
        _app("web", environment, after=("migrate",)),
        _app("worker", environment, after=needed),
        _app("scheduler", environment, after=("migrate",)),
    ]
    return [_simulator(settings, environment), *processes] if simulated else processes


def pollers(settings: Settings) -> list[Process]:
    """The processes that record prices."""
    environment = _environment(settings)
    return [_app(name, environment, after=()) for name in ("worker", "scheduler")]


def _app(
    name: str, environment: Mapping[str, str], *, after: tuple[str, ...], once: bool = False
) -> Process:
    command = [sys.executable, "-m", "tracker", name]
    return Process(
        name=name, command=command, env=environment, cwd=CHECKOUT, after=after, once=once
    )


def _simulator(settings: Settings, environment: Mapping[str, str]) -> Process:
    indexes = [part for ticker in settings.tickers for part in ("--index", ticker)]
    return Process(
        name="simulator",
        command=[sys.executable, "-m", "tracker", "simulate", *indexes],
        env=environment,
        cwd=CHECKOUT,
        ready=lambda: _listening(settings.simulator_port),
        grace=_SIMULATOR_GRACE,
    )


def _listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def _environment(settings: Settings) -> dict[str, str]:
    """Tells a child where the servers are, whatever `.env` says."""
    changes: dict[str, object] = {
        "tracker_home": settings.home,
        "tracker_cache": settings.cache,
        "log_format": "plain",
    }
    host = settings.postgres_host or str(settings.sockets)
    port = settings.postgres_port if settings.postgres_host else 5432
    for name in ("", "read_", "direct_"):
        if not getattr(settings, f"{name}postgres_host"):
            changes |= {f"{name}postgres_host": host, f"{name}postgres_port": port}
    if not settings.redis_host:
        changes["redis_host"] = str(settings.sockets / "redis.sock")
    stated = settings.changed(**changes).environment()
    return stated | {"PYTHONUNBUFFERED": "1", "TZ": "UTC"}
