"""Completion of commands, options and files by the shell."""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from tracker.commands.group import Group

if TYPE_CHECKING:
    from tracker.settings import Settings

_SHELLS = ("bash", "zsh", "fish")


def register(
    group: Group, whole: argparse.ArgumentParser, files: Sequence[argparse.Action]
) -> None:
    """Declare it; *whole* is what it completes, *files* are arguments that name one."""
    command = partial(_completion, whole, files)
    added = group.add("completion", command, "print what makes a shell complete tracker's words")
    added.add_argument("shell", choices=_SHELLS)


def _completion(
    whole: argparse.ArgumentParser,
    files: Sequence[argparse.Action],
    _: "Settings",
    arguments: argparse.Namespace,
) -> None:
    from shtab import FILE, complete

    for action in files:
        action.complete = FILE  # type: ignore[attr-defined]  # where it is looked for
    print(complete(whole, arguments.shell))
