"""The supervisor, on real processes: what it shows, starts again, and leaves behind (nothing)."""

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

from tests.processes import wait_gone
from tracker.embedded.output import Lines, Log
from tracker.embedded.process import Process
from tracker.embedded.supervisor import US, Pace, Supervisor
from tracker.settings import CHECKOUT

pytestmark = pytest.mark.slow

QUICK = Pace(first=0.05, longest=0.2, steady=60, patience=5)


def shell(name: str, script: str, **more: object) -> Process:
    return Process(name=name, command=["sh", "-c", script], **more)  # type: ignore[arg-type]


class Run:
    """One run of the supervisor: its exit code, what it showed, how long it took."""

    def __init__(
        self,
        *processes: Process,
        until: Callable[[str], bool] = lambda _: False,
        stop: Callable[[Supervisor], None] = Supervisor.stop,
        pace: Pace = QUICK,
    ) -> None:
        self.out = io.StringIO()
        log = Log(self.out, [US, *(process.name for process in processes)])
        self.supervisor = Supervisor(processes, log, pace)
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

    def said(self, name: str) -> list[str]:
        return [text for who, text in self.lines if who == name]


def test_each_line_has_its_process_and_the_names_line_up() -> None:
    """Standard error too."""
    run = Run(
        shell("a", "echo one; echo two >&2; sleep 60"),
        shell("longer", "echo three; sleep 60"),
        until=lambda text: all(word in text for word in ("one", "two", "three")),
    )

    assert run.said("a") == ["one", "two"]
    assert run.said("longer") == ["three"]
    assert len({line.index("|") for line in run.text.splitlines()}) == 1


def test_junk_long_lines_and_half_lines_do_no_harm() -> None:
    """They are shown as far as they can be, and nobody waits for them."""
    run = Run(
        shell("junk", r"printf '\377\000\033[2Jbell\007\r\n'; sleep 60"),
        shell("long", "head -c 300000 /dev/zero | tr '\\0' x; echo; echo end; sleep 60"),
        shell("half", "printf half; sleep 60"),
        shell("fine", "sleep 0.3; echo fine; sleep 60"),
        until=lambda text: "end" in text and "| fine" in text,
    )

    assert run.said("junk") == ["\N{REPLACEMENT CHARACTER}··[2Jbell·"]
    assert sum(line.count("x") for line in run.said("long")) == 300000
    assert run.said("half") == ["half"]
    assert run.code == 0


def test_lines_are_cut_wherever_the_chunks_are() -> None:
    """A character may be torn apart, too."""
    lines = Lines()
    text = "één\nzwei\n\ntrzy"

    shown = [line for byte in text.encode() for line in lines.feed(bytes([byte]))]

    assert [*shown, *lines.flush()] == text.split("\n")


def test_it_starts_again_with_back_off() -> None:
    """The pause doubles up to the longest; each end is one line, with its reason."""
    run = Run(
        shell("web", "exit 3"),
        until=lambda text: text.count("starting") == 5,
    )

    pauses = [0.05, 0.1, 0.2, 0.2, 0.2]
    assert run.said(US)[:5] == [
        f"web ended with exit code 3; starting it again in {pause:g} s" for pause in pauses
    ]
    assert 0.55 < run.seconds < 5
    assert run.code == 0


def test_who_lived_long_starts_again_soon() -> None:
    """The back-off is forgotten."""
    run = Run(
        shell("web", "sleep 0.15; kill -KILL $$"),
        until=lambda text: text.count("starting") == 3,
        pace=Pace(first=0.02, longest=9, steady=0.1),
    )

    assert run.said(US)[:3] == ["web was killed by SIGKILL; starting it again in 0.02 s"] * 3


def test_one_waits_for_what_it_needs(tmp_path: Path) -> None:
    """First the server is ready, then the one-shot has succeeded, then the rest starts."""
    flag = tmp_path / "flag"
    run = Run(
        shell("web", "echo up; sleep 60", after=("migrate",)),
        shell("migrate", f"test -e {flag} && sleep 0.2 && echo done", after=("db",), once=True),
        shell("db", f"sleep 0.2; touch {flag}; echo ready; sleep 60", ready=flag.exists),
        until=lambda text: "up" in text,
    )

    assert [text for who, text in run.lines if who != US][:3] == ["ready", "done", "up"]
    assert run.code == 0


def test_a_one_shot_that_fails_stops_everything() -> None:
    """With its message, and exit code 1."""
    run = Run(
        shell("db", "trap 'echo bye; exit 0' INT; sleep 60 & wait", sign=signal.SIGINT),
        shell("migrate", "sleep 0.2; echo no such table; exit 4", after=("db",), once=True),
        shell("web", "echo never", after=("migrate",)),
    )

    assert run.code == 1
    assert run.said("migrate") == ["no such table"]
    assert run.said(US) == ["migrate ended with exit code 4; stopping"]
    assert run.said("db") == ["bye"]
    assert not run.said("web")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 2", "db ended with exit code 2; stopping"),
        ("sleep 60", "db does not answer; stopping"),
    ],
)
def test_a_server_that_never_gets_ready_stops_everything(script: str, words: str) -> None:
    """There is nothing to wait for."""
    run = Run(
        shell("db", script, ready=lambda: False),
        shell("web", "echo never", after=("db",)),
        pace=Pace(patience=0.5),
    )

    assert run.code == 1
    assert run.said(US) == [words]


def test_what_cannot_be_started_stops_everything() -> None:
    """The reason is the system's."""
    run = Run(Process(name="web", command=["true"], cwd=Path("/nonexistent")))

    assert run.said(US)[0].startswith("web cannot be started: [Errno 2]")
    assert run.code == 1


def test_the_apps_stop_before_what_they_need() -> None:
    """Each with its own signal; the servers last, whatever lies between."""
    slow = "trap 'sleep 0.3; echo bye; exit 0' TERM; echo up; sleep 60 & wait"
    run = Run(
        shell("db", "trap 'echo bye; exit 0' INT; sleep 60 & wait", sign=signal.SIGINT),
        shell("migrate", "true", after=("db",), once=True),
        shell("web", slow, after=("migrate",)),
        shell("worker", slow, after=("migrate",)),
        until=lambda text: text.count("up") == 2,
    )

    assert [who for who, text in run.lines if text == "bye"][-1] == "db"
    assert sorted(who for who, text in run.lines if text == "bye") == ["db", "web", "worker"]
    assert run.code == 0


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_it(sign: signal.Signals) -> None:
    """Ctrl-C, kill, and a terminal that goes away."""
    run = Run(
        shell("web", "echo up; exec sleep 60"),
        until=lambda text: "up" in text,
        stop=lambda _: os.kill(os.getpid(), sign),
    )

    assert run.code == 0
    assert run.seconds < 5


def test_who_ignores_the_signal_is_killed_with_all_it_started() -> None:
    """After the deadline; what it left behind goes too."""
    run = Run(
        shell("web", "trap '' TERM; sleep 61 & echo $! $$; wait; wait", grace=0.3),
        until=lambda text: re.search(r"\d+ \d+\n", text) is not None,
    )

    assert run.code == 0
    assert "web does not stop within 0.3 s; killing it" in run.said(US)
    wait_gone(map(int, run.said("web")[0].split()))


def test_what_a_dead_process_left_behind_goes_before_it_starts_again() -> None:
    """Or two workers would run where one was meant."""
    run = Run(
        shell("worker", "sleep 61 & echo $!; exit 1"),
        until=lambda text: text.count("starting") == 2,
    )

    wait_gone(map(int, run.said("worker")))


def test_a_second_ctrl_c_kills_at_once() -> None:
    """But not the echo of the first one, which a parent passes on."""
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


def test_a_log_that_nobody_reads_stops_it() -> None:
    """The terminal is gone, or the reader of the pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        log = Log(out, [US, "web"])
        supervisor = Supervisor([shell("web", "while echo up; do sleep 0.1; done")], log, QUICK)

        assert asyncio.run(asyncio.wait_for(supervisor.run(), 10)) == 0

        with pytest.raises(BrokenPipeError):
            out.close()


def test_kill_9_of_the_supervisor_leaves_nothing() -> None:
    """The kernel tells its children."""
    script = (
        "import asyncio, sys\n"
        "from tracker.embedded.output import Log\n"
        "from tracker.embedded.process import Process\n"
        "from tracker.embedded.supervisor import Supervisor\n"
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
