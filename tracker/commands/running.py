"""All of the tracker in one terminal."""

import argparse
from typing import TYPE_CHECKING

from tracker.commands.group import Group

if TYPE_CHECKING:
    from tracker.settings import Settings


def register(group: Group) -> None:
    """Declare them."""
    group.add("up", _up, "run everything in this terminal, until Ctrl-C")
    group.add("demo", _demo, "the same against the simulator, in a database of its own")
    group.add("down", _down, "stop what up and demo run")


def _up(settings: "Settings", _: argparse.Namespace) -> int:
    from tracker.embedded.up import up

    return up(settings)


def _demo(settings: "Settings", _: argparse.Namespace) -> int:
    from tracker.embedded.up import demo

    return demo(settings)


def _down(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker.embedded.home import demo_settings, stop_tracker

    stopped = [stop_tracker(each) for each in (settings, demo_settings(settings))]
    print("stopped" if any(stopped) else f"nothing runs in {settings.home}")
