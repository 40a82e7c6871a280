"""The entrypoint of a container: runs `tracker`, and ends it when it hangs.

The engine restarts a container that ends, but not one that is merely unhealthy.
"""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NoReturn

from tracker.watchdog import (
    HEARTBEAT_TIMEOUT,
    START_TIMEOUT,
    WATCHDOG_INTERVAL,
    HeartbeatReceiver,
    process_state,
)

_WATCHED = {"web", "worker", "scheduler", "simulate"}  # the commands that send heartbeats


def main() -> NoReturn:
    """Run the command of `sys.argv`, and exit with its status; 137 if it was killed."""
    words = sys.argv[1:]
    command = [sys.executable, "-m", "tracker", *words]
    if not words or words[0] not in _WATCHED:
        os.execv(sys.executable, command)  # noqa: S606 -- our own program
    code = _run_watched(words[0], command)
    sys.exit(code if code >= 0 else 128 - code)


def _run_watched(name: str, command: Sequence[str]) -> int:
    """Run *command* until it ends, or kill it when its heartbeats stop: its exit code.

    It receives our SIGTERM and SIGINT. Intervals are counted, not time: what stops the whole
    container delays its heartbeats too.
    """
    signals: SimpleQueue[int] = SimpleQueue()  # a handler may put into no other queue
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.put(number))
    with HeartbeatReceiver(HEARTBEAT_TIMEOUT) as heartbeats:
        environment = os.environ | heartbeats.variables
        process = subprocess.Popen(command, env=environment)  # noqa: S603 -- our own program
        left = START_TIMEOUT
        while process.poll() is None:
            received = None
            with suppress(Empty):
                received = signals.get(timeout=WATCHDOG_INTERVAL)
            if received and received != signal.SIGCHLD:
                process.send_signal(received)
            if states := heartbeats.receive_states():
                # The engine bounds the time of a stop.
                left = math.inf if b"STOPPING=1" in states else HEARTBEAT_TIMEOUT
            elif received is None:
                left -= WATCHDOG_INTERVAL
                if left <= 0:
                    _kill(name, process)
    return process.returncode


def _kill(name: str, process: "subprocess.Popen[bytes]") -> None:
    """End *process*, and log its state: stopped, running, or waiting for a disk."""
    state = process_state(process.pid)
    process.kill()
    process.wait()

    from loguru import logger  # noqa: PLC0415 -- these three would take 30 MB all the time

    from tracker import logs  # noqa: PLC0415
    from tracker.settings import Settings  # noqa: PLC0415

    logs.configure(Settings.load(), name)
    logger.warning("{} sends no heartbeat, and is {}; the container ends", name, state)


if __name__ == "__main__":
    main()
