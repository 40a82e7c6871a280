"""The command line: its groups of commands, and what becomes of their errors."""

import argparse
import sys
from typing import NoReturn

from tracker.commands import backups, completion, database, history, parts, prices, running
from tracker.commands.group import Group
from tracker.errors import ApiError, DatabaseDown, TrackerError

_WIDTH = 19  # of the column of names
_STATUS = """\
exit status:
  0 done, and found; 1 it failed, or the service is away; 2 wrong words;
  3 nothing, or not all of it, was found; 130 Ctrl-C
"""
_UNPROCESSABLE = 422


def main() -> None:
    """Run one command; an error of ours is one line, and exit status 1, or 2 for wrong words."""
    try:
        sys.exit(_run(sys.argv[1:]))
    except DatabaseDown as error:
        _fail(f"{error}{_hint()}")
    except ApiError as error:
        _fail(str(error), 2 if error.status == _UNPROCESSABLE else 1)
    except TrackerError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _hint() -> str:
    """What helps where the database is the embedded one."""
    from tracker.settings import Settings

    own = not Settings.load().postgres_host
    return "\n`ops/just infra` starts the embedded servers." if own else ""


def _fail(text: str, status: int = 1) -> NoReturn:
    sys.stderr.write(f"tracker: {text}\n")
    sys.exit(status)


def _run(words: list[str]) -> int | None:
    if words[:1] == ["psql"]:  # its options are psql's, -h and --help too
        arguments = argparse.Namespace(arguments=words[1:], command=database.open_psql)
    else:
        arguments = parser(simulate=words[:1] in (["simulate"], ["completion"])).parse_args(words)
    from tracker.settings import Settings

    status: int | None = arguments.command(Settings.load(), arguments)
    return status


class _Grouped(argparse.ArgumentParser):
    """A parser whose help lists its commands by groups, which argparse cannot."""

    groups: tuple[Group, ...] = ()

    def format_help(self) -> str:
        """The text of `tracker --help`."""
        listed = [f"{group.title}:\n{_lines(group)}" for group in self.groups]
        about = f"{self.description}; `tracker COMMAND --help` tells what a command takes."
        return "\n".join([self.format_usage(), f"{about}\n", *listed, _STATUS])


def _lines(group: Group) -> str:
    return "".join(f"  {name:{_WIDTH}}{about}\n" for name, about in group.lines)


def parser(*, simulate: bool) -> argparse.ArgumentParser:
    """All commands; the simulator's arguments only to *simulate*."""
    whole = _Grouped(prog="tracker", description="Deribit's index prices")
    commands = whole.add_subparsers(
        required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser
    )
    titles = ("run it", "read it", "keep history", "the database", "its parts", "your shell")
    whole.groups = tuple(Group(title, commands) for title in titles)
    run, read, keep, base, each, shell = whole.groups
    running.register(run)
    prices.register(read)
    files = history.register(keep)
    database.register(base)
    files += backups.register(base)
    parts.register(each, simulate=simulate)
    completion.register(shell, whole, files)
    return whole
