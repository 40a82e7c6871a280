"""The supervisor of real processes: its log, restarts and stops."""

import asyncio
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import wait_until_dead
from tests.support.supervisor import QUICK, SupervisorRun, shell
from tracker.embedded.account import Account
from tracker.embedded.log import SUPERVISOR_NAME, Log
from tracker.embedded.supervisor import Process, RestartPolicy, Supervisor
from tracker.settings import CHECKOUT

pytestmark = pytest.mark.slow

NOBODY = 65534


def test_lines_are_aligned_by_process() -> None:
    run = SupervisorRun(
        shell("a", "echo one; echo two >&2; sleep 60"),
        shell("longer", "echo three; sleep 60"),
        until=lambda text: all(word in text for word in ("one", "two", "three")),
    )

    assert run.lines_of("a") == ["one", "two"]
    assert run.lines_of("longer") == ["three"]
    assert len({line.index("|") for line in run.text.splitlines()}) == 1


def test_binary_long_and_partial_lines_are_shown() -> None:
    run = SupervisorRun(
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
    run = SupervisorRun(
        shell("web", r"printf '\303'; sleep 0.1; printf '\251n\nzwei\n\ntr'; sleep 0.1; echo zy"),
        until=lambda text: "trzy" in text,
    )

    assert run.lines_of("web") == ["\N{LATIN SMALL LETTER E WITH ACUTE}n", "zwei", "", "trzy"]


def test_restarts_back_off() -> None:
    """The pause doubles up to the longest; each end is one line with its reason."""
    run = SupervisorRun(
        shell("web", "exit 3"),
        until=lambda text: text.count("restarting") == 5,
    )

    pauses = [0.05, 0.1, 0.2, 0.2, 0.2]
    assert run.lines_of(SUPERVISOR_NAME)[:5] == [
        f"web ended with exit code 3; restarting it in {pause:g} s" for pause in pauses
    ]
    assert 0.55 < run.seconds < 5
    assert run.code == 0


def test_steady_process_restarts_after_first_pause() -> None:
    run = SupervisorRun(
        shell("web", "sleep 0.15; kill -KILL $$"),
        until=lambda text: text.count("restarting") == 3,
        policy=RestartPolicy(initial_delay=0.02, max_delay=9, reset_after=0.1),
    )

    assert (
        run.lines_of(SUPERVISOR_NAME)[:3]
        == ["web was killed by SIGKILL; restarting it in 0.02 s"] * 3
    )


def test_process_waits_for_its_dependencies(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    run = SupervisorRun(
        shell("web", "echo up; sleep 60", after=("migrate",)),
        shell("migrate", f"test -e {flag} && sleep 0.2 && echo done", after=("db",), once=True),
        shell("db", f"sleep 0.2; touch {flag}; echo ready; sleep 60", ready=flag.exists),
        until=lambda text: "up" in text,
    )

    assert [text for name, text in run.lines if name != SUPERVISOR_NAME][:3] == [
        "ready",
        "done",
        "up",
    ]
    assert run.code == 0


def test_failed_one_shot_stops_everything() -> None:
    run = SupervisorRun(
        shell("db", "trap 'echo bye; exit 0' INT; sleep 60 & wait", stop_signal=signal.SIGINT),
        shell("migrate", "sleep 0.2; echo no such table; exit 4", after=("db",), once=True),
        shell("web", "echo never", after=("migrate",)),
    )

    assert run.code == 1
    assert run.lines_of("migrate") == ["no such table"]
    assert run.lines_of(SUPERVISOR_NAME) == ["migrate ended with exit code 4; stopping"]
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
    run = SupervisorRun(
        shell("db", script, ready=lambda: False),
        shell("web", "echo never", after=("db",)),
        policy=RestartPolicy(ready_timeout=0.5),
    )

    assert run.code == 1
    assert run.lines_of(SUPERVISOR_NAME) == [words]


def test_unstartable_process_stops_everything(tmp_path: Path) -> None:
    run = SupervisorRun(Process(name="web", command=["true"], cwd=tmp_path / "missing"))

    assert run.lines_of(SUPERVISOR_NAME)[0].startswith("web cannot be started: [Errno 2]")
    assert run.code == 1


def test_processes_stop_before_their_dependencies() -> None:
    """Each gets its own signal; the servers stop last, also behind a one-shot."""
    slow = "trap 'sleep 0.3; echo bye; exit 0' TERM; echo up; sleep 60 & wait"
    run = SupervisorRun(
        shell("db", "trap 'echo bye; exit 0' INT; sleep 60 & wait", stop_signal=signal.SIGINT),
        shell("migrate", "true", after=("db",), once=True),
        shell("web", slow, after=("migrate",)),
        shell("worker", slow, after=("migrate",)),
        until=lambda text: text.count("up") == 2,
    )

    assert [name for name, text in run.lines if text == "bye"][-1] == "db"
    assert sorted(name for name, text in run.lines if text == "bye") == [
        "db",
        "web",
        "worker",
    ]
    assert run.code == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_everything(signum: signal.Signals) -> None:
    run = SupervisorRun(
        shell("web", "echo up; exec sleep 60"),
        until=lambda text: "up" in text,
        stop=lambda _: os.kill(os.getpid(), signum),
    )

    assert run.code == 0
    assert run.seconds < 5


def test_process_that_ignores_its_signal_is_killed_with_its_children() -> None:
    run = SupervisorRun(
        shell("web", "trap '' TERM; sleep 61 & echo $! $$; wait; wait", stop_timeout=0.3),
        until=lambda text: re.search(r"\d+ \d+\n", text) is not None,
    )

    assert run.code == 0
    assert "web does not stop within 0.3 s; killing it" in run.lines_of(SUPERVISOR_NAME)
    wait_until_dead(map(int, run.lines_of("web")[0].split()))


def test_children_of_dead_process_are_killed_before_restart() -> None:
    run = SupervisorRun(
        shell("worker", "sleep 61 & echo $!; exit 1"),
        until=lambda text: text.count("restarting") == 2,
    )

    wait_until_dead(map(int, run.lines_of("worker")))


def test_second_ctrl_c_kills_at_once() -> None:
    """A copy of the first signal, which a parent passes on, does not count."""
    stubborn = "trap '' TERM; echo up; while :; do sleep 0.1; done"

    def stop(supervisor: Supervisor) -> None:
        supervisor.stop()
        supervisor.stop()
        asyncio.get_running_loop().call_later(0.7, supervisor.stop)

    run = SupervisorRun(
        shell("db", stubborn),
        shell("web", stubborn, after=("db",)),
        until=lambda text: text.count("up") == 2,
        stop=stop,
    )

    assert 0.6 < run.seconds < 3
    assert run.code == 0


def python(name: str, script: str, **more: object) -> Process:
    code = f"import time; from tracker.watchdog import Watchdog; dog = Watchdog(); {script}"
    command = [sys.executable, "-c", code]
    return Process(name=name, command=command, cwd=CHECKOUT, watched=True, **more)  # type: ignore[arg-type]


def test_process_without_heartbeats_is_restarted() -> None:
    """After its first one, or if none comes in the time for the start."""
    run = SupervisorRun(
        python("web", "dog.send_heartbeat(); time.sleep(60)"),
        python("worker", "time.sleep(60)"),
        until=lambda text: all(text.count(f"{name} sends no") >= 2 for name in ("web", "worker")),
        policy=RestartPolicy(ready_timeout=3, heartbeat_timeout=1),
    )

    line = r"(web|worker) sends no heartbeat, and is S \(sleeping\); restarting it"
    assert all(re.fullmatch(line, text) for text in run.lines_of(SUPERVISOR_NAME)[:4])
    assert run.code == 0


def test_process_with_heartbeats_is_not_restarted() -> None:
    """Even if it may open no file; nor while it takes its time to stop."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))"
    beats = f"{limit}; [(dog.send_heartbeat(), time.sleep(0.2)) for _ in range(15)]"
    run = SupervisorRun(
        python("web", f"{beats}; dog.announce_stop(); time.sleep(3); exit(5)"),
        until=lambda text: "restarting" in text,
        policy=RestartPolicy(heartbeat_timeout=2),
    )

    assert run.lines_of(SUPERVISOR_NAME)[0] == "web ended with exit code 5; restarting it in 1 s"


@pytest.mark.parametrize("limit", [resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC])
def test_used_up_limit_delays_a_restart(limit: int) -> None:
    """Root may exceed the limit on processes, but not the account that its children have."""
    soft, hard = resource.getrlimit(limit)
    account = Account(NOBODY, NOBODY) if os.getuid() == 0 else None

    def until(text: str) -> bool:
        is_used_up = "up" in text and "cannot be started" not in text
        resource.setrlimit(limit, (0 if is_used_up else soft, hard))
        return text.count("| up") == 2

    try:
        run = SupervisorRun(
            shell("web", "echo up; sleep 0.3; exit 3", account=account), until=until
        )
    finally:
        resource.setrlimit(limit, (soft, hard))

    lines = run.lines_of(SUPERVISOR_NAME)
    assert lines[0] == "web ended with exit code 3; restarting it in 0.05 s"
    assert re.fullmatch(r"web cannot be started: .*; restarting it in 0\.1 s", lines[1])
    assert run.code == 0


def test_full_disk_does_not_stop_anything(tmp_path: Path) -> None:
    """The log cannot be written; its processes run on."""
    flag = tmp_path / "flag"
    with Path("/dev/full").open("wb", 0) as out:
        run = SupervisorRun(
            shell("web", f"echo up; sleep 0.2; touch {flag}; sleep 60"),
            until=lambda _: flag.exists(),
            out=out,
        )

    assert run.code == 0
    assert flag.exists()


def test_closed_log_stops_everything() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", 0) as out:
        log = Log(out, [SUPERVISOR_NAME, "web"])
        supervisor = Supervisor([shell("web", "while echo up; do sleep 0.1; done")], log, QUICK)

        assert asyncio.run(asyncio.wait_for(supervisor.run(), 10)) == 0


def test_sigkill_of_supervisor_ends_its_processes() -> None:
    script = (
        "import asyncio, sys\n"
        "from tracker.embedded.log import Log\n"
        "from tracker.embedded.supervisor import Process, Supervisor\n"
        "run = Process(name='web', command=['sh', '-c', 'echo pid $$; exec sleep 60'])\n"
        "asyncio.run(Supervisor([run], Log(sys.stdout.buffer, ['web'])).run())"
    )
    with subprocess.Popen(
        [sys.executable, "-uc", script], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        pid = parent.stdout.readline().split()[-1]
        parent.kill()

    wait_until_dead([int(pid)])
