"""The command line: every command is wired here, and imports only what it runs."""

import argparse
import os
import sys
from collections.abc import Callable

from tracker import logs
from tracker.errors import TrackerError
from tracker.settings import Settings

Command = Callable[[Settings, argparse.Namespace], int | None]


def main() -> None:
    """Run one command; an error of ours is one line, and exit status 1."""
    try:
        sys.exit(_run(sys.argv[1:]))
    except TrackerError as error:
        sys.exit(f"tracker: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _run(words: list[str]) -> int | None:
    if words[:1] == ["psql"]:  # its options are psql's, -h and --help too
        _psql(Settings.load(), argparse.Namespace(arguments=words[1:]))
    arguments = _parser(simulate=words[:1] == ["simulate"]).parse_args(words)
    command: Command = arguments.command
    return command(Settings.load(), arguments)


def _parser(*, simulate: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tracker", description="Deribit's index prices")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(command=command)
        return added

    add("up", _up, "run everything in this terminal, until Ctrl-C")
    add("demo", _demo, "the same against the simulator, in a database of its own")
    add("down", _down, "stop what up and demo run")
    add("web", _web, "serve the API")
    add("worker", _worker, "poll the exchange when ticks come")
    add("scheduler", _scheduler, "send a tick each minute")
    add("dev-worker", _dev_worker, "both of them, in this terminal")
    add("migrate", _migrate, "bring the database up to date")
    rollback = add("rollback", _rollback, "undo the migrations after a revision")
    rollback.add_argument("revision", help="the number or name to go back to; 0: undo all")
    create = add("new-migration", _new_migration, "make an empty migration and its rollback")
    create.add_argument("message", help="what it does, in a few words")
    add("infra", _infra, "start the embedded TimescaleDB and Redis in the background")
    add("down-infra", _down_infra, "stop them")
    add("psql", _psql, "open psql on the database; its options pass through")
    add("dsn", _dsn, "print the database's connection string")
    simulator = add("simulate", _simulate, "a stand-in for the exchange")
    if simulate:
        _add_simulator(simulator)
    return parser


def _add_simulator(parser: argparse.ArgumentParser) -> None:
    from tracker.simulator import add_arguments

    add_arguments(parser)


def _up(settings: Settings, _: argparse.Namespace) -> int:
    from tracker.embedded.up import up

    return up(settings)


def _demo(settings: Settings, _: argparse.Namespace) -> int:
    from tracker.embedded.up import demo

    return demo(settings)


def _web(settings: Settings, _: argparse.Namespace) -> None:
    from tracker.web import server

    logs.set_up(settings, "web")
    server.run(settings)


def _worker(settings: Settings, _: argparse.Namespace) -> None:
    from tracker import worker

    logs.set_up(settings, "worker")
    worker.run(settings)


def _scheduler(settings: Settings, _: argparse.Namespace) -> None:
    from tracker import scheduler

    logs.set_up(settings, "scheduler")
    scheduler.run(settings)


def _migrate(settings: Settings, _: argparse.Namespace) -> None:
    from tracker import migrations

    applied = migrations.apply(settings.database_dsn)
    print("\n".join(f"applied {name}" for name in applied) or "the database is up to date")


def _rollback(settings: Settings, arguments: argparse.Namespace) -> None:
    from tracker import migrations

    undone = migrations.rollback(settings.database_dsn, arguments.revision)
    print("\n".join(f"undid {name}" for name in undone) or "there was nothing to undo")


def _new_migration(_: Settings, arguments: argparse.Namespace) -> None:
    from tracker import migrations

    print("\n".join(str(path) for path in migrations.create(arguments.message)))


def _infra(settings: Settings, _: argparse.Namespace) -> None:
    from tracker.embedded.servers import start_background

    start_background(settings)
    print(f"TimescaleDB and Redis run, with their sockets in {settings.sockets}")


def _down_infra(settings: Settings, _: argparse.Namespace) -> None:
    from tracker.embedded.servers import stop_background

    stop_background(settings)


def _psql(settings: Settings, arguments: argparse.Namespace) -> None:
    from tracker.embedded import instances, psql

    chosen = instances.in_use(settings)
    words = psql.command(chosen, arguments.arguments)
    os.execvpe(words[0], words, psql.environment(chosen))  # noqa: S606 -- it takes our place


def _dsn(settings: Settings, _: argparse.Namespace) -> None:
    from tracker.embedded import instances

    print(instances.in_use(settings).database_dsn)


def _down(settings: Settings, _: argparse.Namespace) -> None:
    from tracker.embedded import instances, lock

    stopped = [lock.stop_holder(each) for each in (settings, instances.demo_of(settings))]
    print("stopped" if any(stopped) else f"nothing runs in {settings.home}")


def _dev_worker(settings: Settings, _: argparse.Namespace) -> int:
    from tracker.embedded.up import dev_worker

    return dev_worker(settings)


def _simulate(settings: Settings, arguments: argparse.Namespace) -> None:
    from tracker.simulator import run

    run(arguments, port=settings.simulator_port)
