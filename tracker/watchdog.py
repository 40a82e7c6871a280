"""Heartbeats to the supervisor of this process, which restarts it when they stop.

The supervisor is that of `tracker up`, a container's entrypoint, or systemd with WatchdogSec.
Source: sd_notify(3)
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

WATCHDOG_INTERVAL = 1.0  # seconds; the supervisor may allow several times as much
START_TIMEOUT = 60.0  # seconds that a supervisor of ours waits for the first heartbeat
HEARTBEAT_TIMEOUT = 5.0  # seconds, and for each later one; with a start it must stay below ten


class Watchdog:
    """Sends heartbeats, if a supervisor expects them.

    A process sends them from its main loop, therefore none comes while that is blocked or stopped.
    They say nothing about the database, Redis or the exchange: a restart repairs none of them.
    """

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        """By NOTIFY_SOCKET and WATCHDOG_USEC; without them, heartbeats go nowhere.

        The socket stays open: later, the process may have as many files as it may.
        """
        self._address = variables.get("NOTIFY_SOCKET", "") if "WATCHDOG_USEC" in variables else ""
        if self._address.startswith("@"):  # an abstract socket, unix(7)
            self._address = "\0" + self._address[1:]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if self._address else None

    def send_heartbeat(self) -> None:
        """Tell that the main loop runs. Never blocks, and never fails."""
        self._send(b"WATCHDOG=1")

    def announce_stop(self) -> None:
        """Tell that the main loop ends, and that requests or polls may still finish."""
        self._send(b"STOPPING=1")

    def _send(self, state: bytes) -> None:
        if self._socket:
            with suppress(OSError):
                self._socket.sendto(state, socket.MSG_DONTWAIT, self._address)


class HeartbeatReceiver:
    """Receives the heartbeats of one process, within its `with` block.

    Its socket is abstract, unix(7), so that no folder or disk matters.
    """

    def __init__(self, timeout: float) -> None:
        """For a process that may be without a heartbeat for *timeout* seconds."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("")  # the kernel selects a name
        name = self._socket.getsockname()[1:].decode()
        microseconds = f"{timeout * 1_000_000:.0f}"
        self.variables = {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": microseconds}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def receive_states(self) -> set[bytes]:
        """What the process has sent since the previous call."""
        states = set()
        with suppress(BlockingIOError):
            while True:
                states.add(self._socket.recv(64, socket.MSG_DONTWAIT))
        return states


def process_state(pid: int) -> str:
    """The kernel's description of the state of *pid*, such as `T (stopped)`.

    Source: proc(5)
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "in an unknown state"
    return next(line for line in status.splitlines() if line.startswith("State:")).split("\t")[1]
