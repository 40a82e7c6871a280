"""The command line: every command is wired here, and imports only what it runs."""

import argparse
import os
import sys
from collections.abc import Callable

from tracker import logs
from tracker.errors import DatabaseDown, TrackerError
from tracker.settings import Settings

# From fine to coarse: the finest chart that has a minute is stored.
_RANGES = ("1h", "1d", "2d", "1m", "1y", "all")

Command = Callable[[Settings, argparse.Namespace], int | None]


def main() -> None:
    """Run one command; an error of ours is one line, and exit status 1."""
    try:
        sys.exit(_run(sys.argv[1:]))
    except DatabaseDown as error:
        sys.exit(f"tracker: {error}\n`ops/just infra` starts the embedded servers.")
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
    past = add("backfill", _backfill, "import what the exchange's charts offer of the past")
    past.add_argument("--ticker", action="append", help="one of TICKERS; default: all of them")
    past.add_argument("--range", action="append", choices=_RANGES, help="default: all of them")
    add("infra", _infra, "start the embedded TimescaleDB and Redis in the background")
    add("down-infra", _down_infra, "stop them")
    add("psql", _psql, "open psql on the database; its options pass through")
    add("dsn", _dsn, "print the database's connection string")
    _add_history(add)
    simulator = add("simulate", _simulate, "a stand-in for the exchange")
    if simulate:
        _add_simulator(simulator)
    return parser


def _add_history(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    importer = add("import", _import, "add prices from a CSV file: all of its lines, or none")
    importer.add_argument(
        "file",
        help="its first line names the columns: ticker, created_at, price,"
        " and if there are any observed_at, source; -: standard input",
    )
    importer.add_argument("--dry-run", action="store_true", help="check it, and store nothing")
    exporter = add("export", _export, "write prices as CSV that import reads")
    exporter.add_argument("file", nargs="?", default="-", help="default: standard output")
    exporter.add_argument(
        "--ticker", action="append", default=[], help="may be repeated; default: all"
    )
    exporter.add_argument("--start-date", help="the first minute; default: the first stored")
    exporter.add_argument("--end-date", help="the minute to stop before; default: never")


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


def _backfill(settings: Settings, arguments: argparse.Namespace) -> None:
    from tracker import backfill, deribit

    logs.set_up(settings, "backfill")
    tickers, ranges = arguments.ticker or settings.tickers, arguments.range or _RANGES
    with deribit.Client(settings.client_base_url) as client:
        for one in backfill.backfill(settings, client, tickers, ranges):
            print(f"{one.ticker} {one.reach}: added {one.added}, {one.present} were there already")


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


def _import(settings: Settings, arguments: argparse.Namespace) -> None:
    from tracker.embedded import instances
    from tracker.history.importing import import_file

    dry_run = arguments.dry_run
    dsn = instances.in_use(settings).database_dsn
    for tally in import_file(dsn, arguments.file, dry_run=dry_run):
        verb, were = ("would add", "are") if dry_run else ("added", "were")
        print(f"{tally.ticker}: {verb} {tally.added:,}, {tally.known:,} {were} there already")


def _export(settings: Settings, arguments: argparse.Namespace) -> None:
    from tracker.embedded import instances
    from tracker.history.exporting import export_file, selection

    chosen = selection(arguments.ticker, arguments.start_date, arguments.end_date)
    written = export_file(instances.in_use(settings).database_dsn, arguments.file, chosen)
    if arguments.file != "-":
        print(f"wrote {written:,} prices to {arguments.file}")


def _simulate(settings: Settings, arguments: argparse.Namespace) -> None:
    from tracker.simulator import run

    run(arguments, port=settings.simulator_port)
