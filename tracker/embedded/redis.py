"""Redis on a private socket, keeping the queue in an append-only file."""

import signal
import socket
from pathlib import Path

from tracker.embedded.programs import Programs
from tracker.embedded.server import Server

_SETTINGS = {
    "port": "0",
    "databases": "16",
    "appendonly": "yes",
    "save": "",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
    "logfile": "",
    "loglevel": "warning",
    "unixsocketperm": "700",
    "always-show-logo": "no",
}


class Redis(Server):
    """The queue's server."""

    name = "redis"
    sign = signal.SIGTERM

    @property
    def pidfile(self) -> Path:
        """Written by Redis when it starts."""
        return self.settings.sockets / "redis.pid"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.settings.sockets / "redis.sock"

    def ready(self) -> bool:
        """Whether it answers a PING: while it loads its file it says so instead."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2.0)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def prepare(self, programs: Programs, *, durable: bool = True) -> list[str]:
        """Make its folder: the command."""
        data = self.settings.home / "redis"
        self.account.own(data)
        if self.pid() is None:
            self.pidfile.unlink(missing_ok=True)
        facts = _SETTINGS | {
            "dir": str(data),
            "unixsocket": str(self.socket),
            "pidfile": str(self.pidfile),
            "appendfsync": "everysec" if durable else "no",
        }
        options = [part for name, value in facts.items() for part in (f"--{name}", value)]
        return [str(programs.redis), *options]
