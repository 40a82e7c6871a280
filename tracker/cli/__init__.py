"""The command line: one command a run; errors become one line and an exit status."""

import argparse
import errno
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from tracker.cli.commands import build_parser, open_psql
from tracker.errors import ApiError, DatabaseDown, TrackerError

_UNPROCESSABLE = 422
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # of the disk with standard output


def main() -> None:
    """Run the command of `sys.argv` and exit with its status.

    1: failure; 2: invalid arguments, here or for the API; 130: Ctrl-C; otherwise the command's own.
    """
    with suppress(OSError):  # a closed one; a parent or another program may have changed it
        os.set_blocking(1, True)
    os.umask(os.umask(0) & 0o077)  # one that denies us our own files would stop the servers
    try:
        try:
            status = _run_command(sys.argv[1:])
        finally:
            sys.stdout.flush()  # at the exit of the interpreter, an error would have no handler
        sys.exit(status)
    except DatabaseDown as error:
        _exit_with_error(f"{error}{_embedded_hint()}")
    except ApiError as error:
        _exit_with_error(str(error), 2 if error.status == _UNPROCESSABLE else 1)
    except TrackerError as error:
        _exit_with_error(str(error))
    except BrokenPipeError:  # `| head` has read enough: end by the signal, as other filters do
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        _exit_with_error(
            "no thread can be started: this user or container has as many as it may (ulimit -u,"
            " pids_limit)"
        )
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the rest of the buffer
        _exit_with_error(f"standard output: {error.strerror}")


def _run_command(words: list[str]) -> int | None:
    if words[:1] == ["psql"]:  # its options are psql's own, --help too
        arguments = argparse.Namespace(run=open_psql, options=words[1:])
    else:
        arguments = build_parser(with_simulator=words[:1] == ["simulate"]).parse_args(words)
    from tracker.settings import Settings

    status: int | None = arguments.run(Settings.load(), arguments)
    return status


def _embedded_hint() -> str:
    from tracker.settings import Settings, user_command

    is_embedded = not Settings.load().postgres_host
    return f"; `{user_command('infra')}` starts the embedded servers" if is_embedded else ""


def _exit_with_error(text: str, status: int = 1) -> NoReturn:
    sys.stderr.write(f"tracker: {text}\n")
    sys.exit(status)
