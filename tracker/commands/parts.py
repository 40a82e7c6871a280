"""The tracker's parts, one by one."""

import argparse
from typing import TYPE_CHECKING

from tracker.commands.group import Group

if TYPE_CHECKING:
    from tracker.settings import Settings


def register(group: Group, *, simulate: bool) -> None:
    """Declare them; the simulator's own arguments only to *simulate*, they take a while."""
    group.add("web", _web, "serve the API")
    group.add("worker", _worker, "poll the exchange when ticks come")
    group.add("scheduler", _scheduler, "send a tick each minute")
    group.add("dev-worker", _dev_worker, "both of them, in this terminal")
    group.add("infra", _infra, "start the embedded TimescaleDB and Redis in the background")
    group.add("down-infra", _down_infra, "stop them")
    simulator = group.add("simulate", _simulate, "a stand-in for the exchange")
    if simulate:
        from tracker.simulator import add_arguments

        add_arguments(simulator)


def _web(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker import logs
    from tracker.web import server

    logs.set_up(settings, "web")
    server.run(settings)


def _worker(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker import logs, worker

    logs.set_up(settings, "worker")
    worker.run(settings)


def _scheduler(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker import logs, scheduler

    logs.set_up(settings, "scheduler")
    scheduler.run(settings)


def _dev_worker(settings: "Settings", _: argparse.Namespace) -> int:
    from tracker.embedded.up import dev_worker

    return dev_worker(settings)


def _infra(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker.embedded.home import start_background

    start_background(settings)
    print(f"TimescaleDB and Redis run, with their sockets in {settings.sockets}")


def _down_infra(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker.embedded.home import stop_background

    stop_background(settings)


def _simulate(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.simulator import run

    run(arguments, port=settings.simulator_port)
