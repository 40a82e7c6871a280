"""pg_dump and pg_restore: which to run, and what becomes of their complaints."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tracker.embedded.account import bind_to_parent
from tracker.embedded.packages import find_programs
from tracker.errors import BackupError
from tracker.settings import Settings

_CHUNK = 1 << 20  # bytes


def dump(settings: Settings, major: int, snapshot: str, sink: IO[bytes]) -> None:
    """Write what *snapshot* shows of the database to *sink*; *major* is PostgreSQL's version.

    Raises BackupError with the program's complaint.
    """
    options = ["--format=custom", f"--snapshot={snapshot}", "--lock-wait-timeout=30s"]
    with _running("pg_dump", settings, major, options) as process:
        assert process.stdout
        shutil.copyfileobj(process.stdout, sink, _CHUNK)


def fill(settings: Settings, major: int, source: IO[bytes]) -> None:
    """Restore the dump in *source* into the database, an empty one.

    Owners are left out: all will belong to who restores. Raises BackupError.
    """
    options = ["--no-owner", "--exit-on-error"]
    with _running("pg_restore", settings, major, options) as process:
        assert process.stdin
        with suppress(BrokenPipeError):  # its complaint tells more
            shutil.copyfileobj(source, process.stdin, _CHUNK)
        with suppress(BrokenPipeError):
            process.stdin.close()


@contextmanager
def _running(
    name: str, settings: Settings, major: int, options: Sequence[str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """The program on the database; it is gone after the block, and has succeeded."""
    facts = conninfo_to_dict(settings.direct_dsn)
    password = facts.pop("password", None)  # words of a command are for everyone to read
    variables = settings.environment() | ({"PGPASSWORD": str(password)} if password else {})
    where = ["--no-password", "--dbname", make_conninfo("", **facts)]
    command = [_path(name, settings, major), *options, *where]
    with (
        ThreadPoolExecutor(1) as listener,
        subprocess.Popen(  # noqa: S603 -- a command of ours
            bind_to_parent(command, signal.SIGKILL),
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert process.stderr
        complaints = listener.submit(process.stderr.read)  # without a file: containers have no /tmp
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        if process.wait():
            raise BackupError(_complaint(name, complaints.result()))


def _complaint(name: str, told: bytes) -> str:
    lines = told.decode(errors="replace").splitlines()
    errors = [line for line in lines if "error: " in line] or lines[-1:] or ["failed silently"]
    return f"{name}: {errors[0].removeprefix(f'{name}: ').removeprefix('error: ')}"


def _path(name: str, settings: Settings, major: int) -> str:
    """Where it is: of this machine, if it is new enough for *major*; else of the bundle."""
    own = shutil.which(name) if settings.postgres_host else None
    if own and _major(own) >= major:
        return own
    return str(find_programs(settings).postgres / name)


def _major(program: str) -> int:
    command = [program, "--version"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 -- as above
    number = re.search(r"\b(\d+)\.", done.stdout)
    return int(number[1]) if number else 0
