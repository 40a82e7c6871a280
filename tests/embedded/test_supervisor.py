"""The supervisor, on real processes: its log, restarts and stops."""

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import wait_gone
from tracker.embedded.supervisor import OWN_NAME, Log, Process, RestartPolicy, Supervisor
from tracker.settings import CHECKOUT

pytestmark = pytest.mark.slow

QUICK = RestartPolicy(first_pause=0.05, longest_pause=0.2, ready_timeout=5)


def shell(name: str, script: str, **more: object) -> Process:
    return Process(name=name, command=["sh", "-c", script], **more)  # type: ignore[arg-type]


class Run:
    """One run of the supervisor: its exit code, its log and its duration."""

    def __init__(
        self,
        *processes: Process,
        until: Callable[[str], bool] = lambda _: False,
        stop: Callable[[Supervisor], None] = Supervisor.stop,
        policy: RestartPolicy = QUICK,
    ) -> None:
        self.out = io.StringIO()
        log = Log(self.out, [OWN_NAME, *(process.name for process in processes)])
        self.supervisor = Supervisor(processes, log, policy)
        began = time.monotonic()
        self.code = asyncio.run(asyncio.wait_for(self._run(until, stop), 20))
        self.seconds = time.monotonic() - began

    async def _run(self, until: Callable[[str], bool], stop: Callable[[Supervisor], None]) -> int:
        running = asyncio.create_task(self.supervisor.run())
        while not running.done():
            if until(self.text):
                stop(self.supervisor)
                break
            await asyncio.sleep(0.01)
        return await running

    @property
    def text(self) -> str:
        return self.out.getvalue()

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The name and the text of each line."""
        shown = re.findall(r"^\d\d:\d\d:\d\d (\S+) +\| (.*)$", self.text, re.MULTILINE)
        assert len(shown) == self.text.count("\n")
        return shown

    def lines_of(self, name: str) -> list[str]:
        return [text for who, text in self.lines if who == name]


def test_lines_are_aligned_under_their_process() -> None:
    """Standard error too."""
    run = Run(
        shell("a", "echo one; echo two >&2; sleep 60"),
        shell("longer", "echo three; sleep 60"),
        until=lambda text: all(word in text for word in ("one", "two", "three")),
    )

    assert run.lines_of("a") == ["one", "two"]
    assert run.lines_of("longer") == ["three"]
    assert len({line.index("|") for line in run.text.splitlines()}) == 1


def test_junk_and_long_and_partial_lines_are_shown() -> None:
    """Nobody waits for their end; control characters are replaced."""
    run = Run(
        shell("junk", r"printf '\377\000\033[2Jbell\007\r\n'; sleep 60"),
        shell("long", "head -c 300000 /dev/zero | tr '\\0' x; echo; echo end; sleep 60"),
        shell("half", "printf half; sleep 60"),
        shell("fine", "sleep 0.3; echo fine; sleep 60"),
        until=lambda text: "end" in text and "| fine" in text,
    )

    assert run.lines_of("junk") == ["\N{REPLACEMENT CHARACTER}··[2Jbell·"]
    assert sum(line.count("x") for line in run.lines_of("long")) == 300000
    assert run.lines_of("half") == ["half"]
    assert run.code == 0


def test_line_in_several_chunks_is_one_line() -> None:
    """Also when a character is split."""
    run = Run(
        shell("web", r"printf '\303'; sleep 0.1; printf '\251n\nzwei\n\ntr'; sleep 0.1; echo zy"),
        until=lambda text: "trzy" in text,
    )

    assert run.lines_of("web") == ["\N{LATIN SMALL LETTER E WITH ACUTE}n", "zwei", "", "trzy"]


def test_restarts_back_off() -> None:
    """The pause doubles up to the longest; each end is one line with its reason."""
    run = Run(
        shell("web", "exit 3"),
        until=lambda text: text.count("restarting") == 5,
    )

    pauses = [0.05, 0.1, 0.2, 0.2, 0.2]
    assert run.lines_of(OWN_NAME)[:5] == [
        f"web ended with exit code 3; restarting it in {pause:g} s" for pause in pauses
    ]
    assert 0.55 < run.seconds < 5
    assert run.code == 0


def test_steady_process_restarts_after_first_pause() -> None:
    run = Run(
        shell("web", "sleep 0.15; kill -KILL $$"),
        until=lambda text: text.count("restarting") == 3,
        policy=RestartPolicy(first_pause=0.02, longest_pause=9, steady=0.1),
    )

    assert run.lines_of(OWN_NAME)[:3] == ["web was killed by SIGKILL; restarting it in 0.02 s"] * 3


def test_process_waits_for_those_it_needs(tmp_path: Path) -> None:
    """The server becomes ready, then the one-shot succeeds, then the rest starts."""
    flag = tmp_path / "flag"
    run = Run(
        shell("web", "echo up; sleep 60", after=("migrate",)),
        shell("migrate", f"test -e {flag} && sleep 0.2 && echo done", after=("db",), once=True),
        shell("db", f"sleep 0.2; touch {flag}; echo ready; sleep 60", ready=flag.exists),
        until=lambda text: "up" in text,
    )

    assert [text for who, text in run.lines if who != OWN_NAME][:3] == ["ready", "done", "up"]
    assert run.code == 0


def test_failed_one_shot_stops_everything() -> None:
    """With its message, and exit code 1."""
    run = Run(
        shell("db", "trap 'echo bye; exit 0' INT; sleep 60 & wait", stop_signal=signal.SIGINT),
        shell("migrate", "sleep 0.2; echo no such table; exit 4", after=("db",), once=True),
        shell("web", "echo never", after=("migrate",)),
    )

    assert run.code == 1
    assert run.lines_of("migrate") == ["no such table"]
    assert run.lines_of(OWN_NAME) == ["migrate ended with exit code 4; stopping"]
    assert run.lines_of("db") == ["bye"]
    assert not run.lines_of("web")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 2", "db ended with exit code 2; stopping"),
        ("sleep 60", "db does not become ready; stopping"),
    ],
)
def test_server_that_never_becomes_ready_stops_everything(script: str, words: str) -> None:
    run = Run(
        shell("db", script, ready=lambda: False),
        shell("web", "echo never", after=("db",)),
        policy=RestartPolicy(ready_timeout=0.5),
    )

    assert run.code == 1
    assert run.lines_of(OWN_NAME) == [words]


def test_unstartable_process_stops_everything() -> None:
    """The reason is the system's."""
    run = Run(Process(name="web", command=["true"], cwd=Path("/nonexistent")))

    assert run.lines_of(OWN_NAME)[0].startswith("web cannot be started: [Errno 2]")
    assert run.code == 1


def test_processes_stop_before_those_they_need() -> None:
    """Each gets its own signal; the servers stop last, whatever lies between."""
    slow = "trap 'sleep 0.3; echo bye; exit 0' TERM; echo up; sleep 60 & wait"
    run = Run(
        shell("db", "trap 'echo bye; exit 0' INT; sleep 60 & wait", stop_signal=signal.SIGINT),
        shell("migrate", "true", after=("db",), once=True),
        shell("web", slow, after=("migrate",)),
        shell("worker", slow, after=("migrate",)),
        until=lambda text: text.count("up") == 2,
    )

    assert [who for who, text in run.lines if text == "bye"][-1] == "db"
    assert sorted(who for who, text in run.lines if text == "bye") == ["db", "web", "worker"]
    assert run.code == 0


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_everything(sign: signal.Signals) -> None:
    """Ctrl-C, kill, and a closed terminal."""
    run = Run(
        shell("web", "echo up; exec sleep 60"),
        until=lambda text: "up" in text,
        stop=lambda _: os.kill(os.getpid(), sign),
    )

    assert run.code == 0
    assert run.seconds < 5


def test_process_that_ignores_its_signal_is_killed_with_its_children() -> None:
    """After the deadline."""
    run = Run(
        shell("web", "trap '' TERM; sleep 61 & echo $! $$; wait; wait", stop_timeout=0.3),
        until=lambda text: re.search(r"\d+ \d+\n", text) is not None,
    )

    assert run.code == 0
    assert "web does not stop within 0.3 s; killing it" in run.lines_of(OWN_NAME)
    wait_gone(map(int, run.lines_of("web")[0].split()))


def test_children_of_dead_process_are_killed_before_restart() -> None:
    """Otherwise two workers would run."""
    run = Run(
        shell("worker", "sleep 61 & echo $!; exit 1"),
        until=lambda text: text.count("restarting") == 2,
    )

    wait_gone(map(int, run.lines_of("worker")))


def test_second_ctrl_c_kills_at_once() -> None:
    """Not the echo of the first one, which a parent passes on."""
    stubborn = "trap '' TERM; echo up; while :; do sleep 0.1; done"

    def stop(supervisor: Supervisor) -> None:
        supervisor.stop()
        supervisor.stop()
        asyncio.get_running_loop().call_later(0.7, supervisor.stop)

    run = Run(
        shell("db", stubborn),
        shell("web", stubborn, after=("db",)),
        until=lambda text: text.count("up") == 2,
        stop=stop,
    )

    assert 0.6 < run.seconds < 3
    assert run.code == 0


def test_closed_log_stops_everything() -> None:
    """The terminal or the reader of the pipe is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        log = Log(out, [OWN_NAME, "web"])
        supervisor = Supervisor([shell("web", "while echo up; do sleep 0.1; done")], log, QUICK)

        assert asyncio.run(asyncio.wait_for(supervisor.run(), 10)) == 0

        with pytest.raises(BrokenPipeError):
            out.close()


def test_sigkill_of_supervisor_ends_its_processes() -> None:
    """The kernel signals them."""
    script = (
        "import asyncio, sys\n"
        "from tracker.embedded.supervisor import Log, Process, Supervisor\n"
        "run = Process(name='web', command=['sh', '-c', 'echo pid $$; exec sleep 60'])\n"
        "asyncio.run(Supervisor([run], Log(sys.stdout, ['web'])).run())"
    )
    with subprocess.Popen(
        [sys.executable, "-uc", script], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        pid = parent.stdout.readline().split()[-1]
        parent.kill()

    wait_gone([int(pid)])
