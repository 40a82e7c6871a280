"""Commands as they are declared: in groups, as `tracker --help` lists them."""

import argparse
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracker.settings import Settings  # reading them takes longer than --help

    Command: TypeAlias = Callable[[Settings, argparse.Namespace], int | None]
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 -- it has no other name


class Group:
    """Some commands under a title.

    lines: the name of each, and what it does.
    """

    def __init__(self, title: str, commands: "Subparsers") -> None:
        """A group that has none yet; *commands* are those of all groups."""
        self.title = title
        self.lines: list[tuple[str, str]] = []
        self._commands = commands

    def add(self, name: str, command: "Command", about: str) -> argparse.ArgumentParser:
        """Declare *command*; what is returned takes its arguments."""
        self.lines.append((name, about))
        added = self._commands.add_parser(name, help=about, description=about)
        added.set_defaults(command=command)
        return added
