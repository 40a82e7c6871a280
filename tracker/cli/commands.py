"""Every command: its arguments, its help, and what it runs.

A command imports its modules when it runs, so that help and usage errors take a tenth of a second.
"""

import argparse
import os
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from tracker import __version__
from tracker.candles import INTERVALS
from tracker.columnar import FORMATS
from tracker.times import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracker.settings import Settings
    from tracker.transfer.backup import Kind, Manifest

    Command: TypeAlias = Callable[[Settings, argparse.Namespace], int | None]

T = TypeVar("T")

DEFAULT_LIMIT = 50  # as the API's
# In ascending order of step: the finest chart that has a minute supplies it.
CHART_RANGES = ("1h", "1d", "2d", "1m", "1y", "all")
EXIT_STATUS_HELP = """\
exit status:
  0 success; 1 failure, or the service is unavailable; 2 invalid arguments;
  3 no rows found, or not all of them; 130 interrupted by Ctrl-C
"""


class GroupedParser(argparse.ArgumentParser):
    """A parser of commands whose help lists them by group, which argparse does not support."""

    def __init__(self, **options: Any) -> None:
        """A parser without commands; *options* are argparse's."""
        super().__init__(**options)
        self.commands = self.add_subparsers(
            dest="name", required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser
        )
        self._groups: dict[str, list[str]] = {}

    def add_command(
        self, group: str, name: str, run: "Command", summary: str
    ) -> argparse.ArgumentParser:
        """Add a command and return the parser of its arguments."""
        self._groups.setdefault(group, []).append(f"  {name:19}{summary}\n")
        added = self.commands.add_parser(name, help=summary, description=summary)
        added.set_defaults(run=run)
        return added

    def format_help(self) -> str:
        """The text of `tracker --help`."""
        about = f"{self.description}; `tracker COMMAND --help` lists a command's arguments.\n"
        groups = [f"{title}:\n{''.join(lines)}" for title, lines in self._groups.items()]
        return "\n".join([self.format_usage(), about, *groups, EXIT_STATUS_HELP])


def build_parser(*, with_simulator: bool) -> GroupedParser:
    """The parser of all commands; the simulator's options are slow to import, so they can wait."""
    parser = GroupedParser(prog="tracker", description="Deribit's index prices")
    parser.add_argument("--version", action="version", version=f"tracker {__version__}")
    _add_whole_tracker(parser)
    _add_reads(parser)
    _add_history(parser)
    _add_database(parser)
    _add_services(parser, with_simulator=with_simulator)
    completion = parser.add_command(
        "shell", "completion", _print_completion, "print a completion script for a shell"
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    return parser


def _print_completion(_: "Settings", arguments: argparse.Namespace) -> None:
    from shtab import DIRECTORY, FILE, complete

    parser = build_parser(with_simulator=True)
    for command in parser.commands.choices.values():
        for action in command._actions:  # noqa: SLF001 -- argparse has no public list
            if places := {"file": FILE, "folder": DIRECTORY}.get(action.dest):
                action.complete = places  # type: ignore[attr-defined]  # where shtab reads it
    print(complete(parser, arguments.shell))


def _add_whole_tracker(parser: GroupedParser) -> None:
    add = partial(parser.add_command, "run")
    add("up", _run_tracker, "run everything in this terminal, until Ctrl-C")
    add("demo", _run_demo, "run everything on simulated prices, in its own database")
    add("down", _stop_tracker, "stop what up and demo run")


def _run_tracker(settings: "Settings", _: argparse.Namespace) -> int:
    from tracker.embedded.up import run_tracker

    return run_tracker(settings)


def _run_demo(settings: "Settings", _: argparse.Namespace) -> int:
    from tracker.embedded.up import run_demo

    return run_demo(settings)


def _stop_tracker(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker.embedded.lock import demo_settings, stop_tracker

    stopped = [stop_tracker(each) for each in (settings, demo_settings(settings))]
    print("stopped" if any(stopped) else f"nothing runs in {settings.home}")


def _add_reads(parser: GroupedParser) -> None:
    add = partial(parser.add_command, "read prices")
    last = add("last", _print_last, "print the newest price of each index")
    latest = add("latest", _print_latest, "print the newest prices of all indexes by one request")
    prices = add("prices", _print_list, "list prices, newest first")
    candles = add("candles", _print_list, "list OHLC candles, newest first")
    gaps = add("gaps", _print_list, "list gaps and their reasons, newest first")
    coverage = add("coverage", _print_list, "list coverage by hour or day, newest first")
    stats = add("stats", _print_statistics, "print statistics of a range, such as its volatility")
    watch = add("watch", _watch_prices, "print prices as they are stored, until Ctrl-C")
    for several in (last, watch):
        several.add_argument(
            "ticker", nargs="*", help="such as btc_usd; default: every index that is polled"
        )
    latest.add_argument(
        "ticker", nargs="*", help="such as btc_usd; default: every index that is stored"
    )
    _add_window(prices, "minute to start at, inclusive", "minute to stop at, exclusive")
    _add_window(candles, "earliest start of a candle", "latest start of a candle, exclusive")
    for listed in (gaps, coverage):
        _add_window(listed, "first minute, inclusive", "minute to stop at, exclusive")
    _add_range(
        stats,
        "first minute, inclusive; default: 24 hours before the end",
        "minute to stop at, exclusive; default: now",
    )
    for command in (last, latest, prices, candles, gaps, coverage, stats, watch):
        command.add_argument(
            "--format",
            choices=("table", "json", "csv"),
            help="default: table on a terminal, json elsewhere",
        )
        command.add_argument(
            "--url", type=_parse_url, help="of the API; default: WEB_PORT of this machine"
        )
    for ordered in (prices, candles):
        ordered.add_argument("--order", choices=("desc", "asc"), help="asc: oldest first")
        ordered.add_argument(
            "--fill",
            choices=("null", "previous"),
            help="list also what is missing between both dates, with null or the previous price",
        )
    candles.add_argument("--interval", choices=INTERVALS, help="default: 1h")
    candles.add_argument(
        "--tz", help="time zone of days and longer, such as Europe/Berlin; default: UTC"
    )
    coverage.add_argument("--interval", choices=("1h", "1d"), help="default: 1h")


def _add_window(parser: argparse.ArgumentParser, start: str, end: str) -> None:
    _add_range(parser, start, end)
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument(
        "--limit",
        type=_parse_limit,
        default=DEFAULT_LIMIT,
        help=f"maximum number of rows (default: {DEFAULT_LIMIT})",
    )
    limit.add_argument("--all", dest="limit", action="store_const", const=None, help="no maximum")


def _add_range(parser: argparse.ArgumentParser, start: str, end: str) -> None:
    parser.add_argument("ticker", help="such as btc_usd")
    for name, about in (("start", start), ("end", end)):
        parser.add_argument(
            f"--{name}-date", dest=name, type=_parse_moment, metavar="DATE", help=about
        )


def _with_reason(parse: "Callable[[str], T]") -> "Callable[[str], T]":
    """A type of an argument: argparse prints the reason of an ArgumentTypeError only."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


_parse_moment = _with_reason(parse_moment)


@_with_reason
def _parse_columns(text: str) -> dict[str, str]:
    from tracker.transfer.lines import parse_columns

    return parse_columns(text)


@_with_reason
def _parse_ticker(text: str) -> str:
    from tracker.models import parse_ticker

    return parse_ticker(text)


def _parse_limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:18]) > 0):
        raise argparse.ArgumentTypeError(f"is not a positive whole number: {text!r}")
    return int(text[:18])


def _parse_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_plain = text.isprintable() and " " not in text
        if is_plain and parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            parts.hostname.encode("idna")
            if parts.query or parts.fragment:
                raise argparse.ArgumentTypeError(f"has a query or a fragment: {text!r}")
            return text.rstrip("/")
    except ValueError:  # an invalid port, or a label of the host that is empty or too long
        pass
    raise argparse.ArgumentTypeError(f"is not an http or https URL: {text!r}")


def _print_last(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.cli import reads

    return reads.print_last(settings, arguments)


def _print_latest(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.cli import reads

    return reads.print_latest(settings, arguments)


def _print_list(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.cli import reads

    return reads.print_list(settings, arguments)


def _print_statistics(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.cli import reads

    return reads.print_statistics(settings, arguments)


def _watch_prices(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.cli import watch

    return watch.watch_prices(settings, arguments)


def _add_history(parser: GroupedParser) -> None:
    add = partial(parser.add_command, "history")
    charts = add("backfill", _backfill_prices, "import past prices from the exchange's charts")
    charts.add_argument(
        "--ticker", action="append", type=_parse_ticker, help="may be repeated; default: TICKERS"
    )
    charts.add_argument(
        "--range", action="append", choices=CHART_RANGES, help="may be repeated; default: all"
    )
    source = add("import", _import_prices, "import the prices of a CSV file, all or none")
    source.add_argument(
        "file",
        help="CSV with a header: ticker, created_at, price, optionally observed_at and source"
        " (default: import); gzip, bzip2 and xz are decompressed; -: standard input",
    )
    source.add_argument("--dry-run", action="store_true", help="validate the file, store nothing")
    source.add_argument(
        "--columns",
        type=_parse_columns,
        default={},
        metavar="NAME=COLUMN,...",
        help="of a file with other columns, such as time=created_at,close=price; those that are"
        " neither named nor required are ignored",
    )
    source.add_argument("--ticker", type=_parse_ticker, help="for a file without that column")
    source.add_argument(
        "--time-unit",
        choices=("s", "ms", "us", "ns", "iso"),
        help="of all times, which must be whole minutes; default: by magnitude, or ISO 8601",
    )
    sink = add("export", _export_prices, "export prices as CSV for import, Arrow or Parquet")
    sink.add_argument("file", nargs="?", default="-", help="default: standard output")
    sink.add_argument("--ticker", action="append", default=[], help="may be repeated; default: all")
    sink.add_argument(
        "--format",
        choices=("csv", *FORMATS),
        default="csv",
        help="default: csv; arrow and parquet need the extra `arrow`",
    )
    sink.add_argument("--start-date", help="first minute, inclusive; default: the oldest")
    sink.add_argument("--end-date", help="minute to stop at, exclusive; default: none")
    sink.add_argument("--force", action="store_true", help="overwrite an existing file")
    sink = add("archive", _archive_prices, "write Parquet files of each index and month")
    sink.add_argument("folder", type=Path, help="created if missing; what has not changed stays")
    sink.add_argument(
        "--force", action="store_true", help="overwrite files that are newer than the database"
    )


def _backfill_prices(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker import logs, progress
    from tracker.embedded.home import running_settings
    from tracker.errors import SettingsError
    from tracker.models import is_pattern, select_tickers
    from tracker.recorder.deribit import DeribitClient
    from tracker.recorder.repair import backfill

    logs.configure(settings, "backfill")
    chosen = running_settings(settings)
    ranges = arguments.range or CHART_RANGES
    with DeribitClient(chosen.client_base_url, testnet=chosen.testnet) as client:
        tickers = arguments.ticker or chosen.tickers
        if any(map(is_pattern, tickers)):
            tickers = select_tickers(tickers, client.fetch_index_names())
        if not tickers:
            patterns = ", ".join(chosen.tickers)
            raise SettingsError(f"TICKERS: the exchange lists no index that {patterns} selects")
        done = backfill(chosen, client, tickers, ranges, datetime.now(UTC))
        for one in progress.track_items(done, len(tickers) * len(ranges), "charts"):
            print(f"{one.ticker} {one.chart}: added {one.added}, {one.present} were there already")


def _import_prices(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.embedded.home import running_settings
    from tracker.transfer.importing import import_file
    from tracker.transfer.lines import LineOptions

    ticker, time_unit = arguments.ticker or "", arguments.time_unit or ""
    options = LineOptions(arguments.columns, ticker, time_unit)
    dry_run = arguments.dry_run
    dsn = running_settings(settings).direct_dsn
    retained_since = settings.retained_since(datetime.now(UTC))
    for tally in import_file(
        dsn, arguments.file, options, dry_run=dry_run, retained_since=retained_since
    ):
        verb, were = ("would add", "are") if dry_run else ("added", "were")
        others = f", {tally.differing:,} of them with another price" if tally.differing else ""
        known = f"{tally.known:,} {were} there already{others}"
        print(f"{tally.ticker}: {verb} {tally.added:,}, {known}")
        if tally.too_old:
            print(f"{tally.ticker}: {tally.too_old:,} of them are older than RETENTION keeps")


def _export_prices(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.embedded.home import running_settings
    from tracker.transfer.exporting import export_file, parse_selection

    chosen = parse_selection(arguments.ticker, arguments.start_date, arguments.end_date)
    dsn = running_settings(settings).direct_dsn
    _interrupt_on_sigterm()
    written = export_file(dsn, arguments.file, chosen, arguments.format, force=arguments.force)
    if arguments.file != "-":
        print(f"wrote {written:,} prices to {arguments.file}")


def _archive_prices(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.archive import update_archive
    from tracker.embedded.home import running_settings

    dsn = running_settings(settings).direct_dsn
    tally = update_archive(dsn, arguments.folder, force=arguments.force)
    print(
        f"wrote {tally.rows:,} prices in {tally.files:,} files; {tally.unchanged:,} are unchanged"
    )


def _add_database(parser: GroupedParser) -> None:
    add = partial(parser.add_command, "database")
    add("psql", open_psql, "open psql on the database; its options pass through")
    address = add("dsn", _print_dsn, "print the database's connection string")
    login = add("analyst-password", _print_analyst_password, "set and print an analyst's password")
    login.add_argument(
        "role",
        nargs="?",
        default="analyst",
        metavar="NAME",
        help="an analyst's role, created if missing; default: analyst",
    )
    for command in (address, login):
        formats = command.add_mutually_exclusive_group()
        for name, about in (("url", "a URL with the TCP address, if any"), ("jdbc", "JDBC's URL")):
            option = partial(formats.add_argument, dest="format", action="store_const")
            option(f"--{name}", const=name, help=f"print {about}")
    add("migrate", _migrate, "apply pending migrations")
    back = add("rollback", _roll_back, "roll back the migrations after a revision")
    back.add_argument("revision", help="number or name to go back to; 0: roll back all")
    back.add_argument("--force", action="store_true", help="drop the rows of dropped tables")
    new = add("new-migration", _create_migration, "create an empty migration and its rollback")
    new.add_argument("message", help="what it does, in a few words")
    sink = add("backup", _back_up_database, "back up the whole database to a file")
    sink.add_argument(
        "file", nargs="?", help="-: standard output; default: DATABASE-TIME.zip in this folder"
    )
    sink.add_argument(
        "--csv", action="store_true", help="for another version or edition of TimescaleDB"
    )
    sink.add_argument("--force", action="store_true", help="overwrite an existing file")
    source = add("restore", _restore_backup, "restore a backup into an empty database")
    source.add_argument("file", help="written by backup")
    add("timescale-upgrade", _upgrade_timescale, "upgrade TimescaleDB to the server's version")


def open_psql(settings: "Settings", arguments: argparse.Namespace) -> None:
    """Replace this process by psql."""
    from tracker.embedded.home import psql_command, psql_environment, running_settings

    chosen = running_settings(settings)
    command = psql_command(chosen, arguments.options)
    os.execvpe(command[0], command, psql_environment(chosen))  # noqa: S606 -- no shell is wanted


def _print_dsn(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.cli import dsn

    dsn.print_dsn(settings, arguments)


def _print_analyst_password(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.cli import dsn

    dsn.print_analyst_password(settings, arguments)


def _migrate(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker import migrations, queries
    from tracker.database import connect
    from tracker.embedded.home import running_settings
    from tracker.settings import ROLES

    dsn = running_settings(settings).direct_dsn
    applied = migrations.apply(dsn)
    print("\n".join(f"applied {name}" for name in applied) or "the database is up to date")
    with connect(dsn) as conn:
        missing = queries.missing_roles(conn, ROLES)
    if missing:
        sys.stderr.write(
            f"missing roles: {', '.join(missing)}; {settings.postgres_user} may not create roles."
            " Once they exist, `tracker migrate` grants them their rights.\n"
        )
    migrations.set_role_passwords(dsn, settings.role_passwords)


def _roll_back(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker import migrations
    from tracker.embedded.home import running_settings

    dsn, revision = running_settings(settings).direct_dsn, arguments.revision
    undone = migrations.rollback(dsn, revision, drop_rows=arguments.force)
    print("\n".join(f"rolled back {name}" for name in undone) or "no migrations to roll back")


def _create_migration(_: "Settings", arguments: argparse.Namespace) -> None:
    from tracker import migrations

    print("\n".join(str(path) for path in migrations.create(arguments.message)))


def _back_up_database(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.embedded.home import running_settings
    from tracker.transfer.backup import backup

    chosen = running_settings(settings)
    file = arguments.file or f"{chosen.postgres_db}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zip"
    _interrupt_on_sigterm()
    kind: Kind = "csv" if arguments.csv else "dump"
    manifest = backup(chosen, file, kind, force=arguments.force)
    if file != "-":
        print(f"wrote {_count_rows(manifest)} to {file}")


def _restore_backup(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.embedded.home import servers_are_ready
    from tracker.transfer.restore import restore

    servers_are_ready(settings)  # the embedded server creates a missing database
    _interrupt_on_sigterm()
    manifest, done = restore(settings, arguments.file)
    print("\n".join([f"restored {_count_rows(manifest)}; all checksums match", *done]))


def _interrupt_on_sigterm() -> None:
    """Let SIGTERM clean up partial results as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _count_rows(manifest: "Manifest") -> str:
    prices, misses = manifest.rows("prices"), manifest.rows("misses")
    return f"{prices:,} prices and {misses:,} misses of {len(manifest.sums['tickers'])} indexes"


def _upgrade_timescale(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker import migrations
    from tracker.embedded.home import running_settings

    before, after = migrations.upgrade_timescaledb(running_settings(settings).direct_dsn)
    print(
        f"TimescaleDB is {after} already"
        if before == after
        else f"upgraded TimescaleDB from {before} to {after}"
    )


def _add_services(parser: GroupedParser, *, with_simulator: bool) -> None:
    add = partial(parser.add_command, "services")
    add("web", _run_web, "serve the API")
    add("worker", _run_worker, "poll the exchange at each tick")
    add("scheduler", _run_scheduler, "send a tick each minute")
    add("dev-worker", _run_dev_worker, "run worker and scheduler in this terminal")
    add("infra", _start_servers, "start the embedded TimescaleDB and Redis")
    add("down-infra", _stop_servers, "stop the embedded TimescaleDB and Redis")
    check = add("check-exchange", _check_exchange, "compare the exchange with its documentation")
    check.add_argument("--ticker", help="whose price and charts; default: the first of TICKERS")
    simulator = add("simulate", _run_simulator, "serve simulated prices as the exchange")
    if with_simulator:
        from tracker.simulator import add_arguments

        add_arguments(simulator)


def _run_web(settings: "Settings", _: argparse.Namespace) -> None:
    _drop_privileges(settings)
    from tracker import logs
    from tracker.web.server import run_server

    logs.configure(settings, "web")
    run_server(settings)


def _run_worker(settings: "Settings", _: argparse.Namespace) -> None:
    _drop_privileges(settings)
    from tracker import logs
    from tracker.recorder.worker import run_worker

    logs.configure(settings, "worker")
    run_worker(settings)


def _run_scheduler(settings: "Settings", _: argparse.Namespace) -> None:
    _drop_privileges(settings)
    from tracker import logs
    from tracker.recorder.broker import run_scheduler

    logs.configure(settings, "scheduler")
    run_scheduler(settings)


def _drop_privileges(settings: "Settings") -> None:
    """Continue as the servers' account if root has started this command."""
    if os.getuid() == 0:
        from tracker.embedded.up import drop_privileges

        drop_privileges(settings)


def _run_dev_worker(settings: "Settings", _: argparse.Namespace) -> int:
    from tracker.embedded.up import run_dev_worker

    return run_dev_worker(settings)


def _start_servers(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker.embedded.home import start_background

    start_background(settings)
    print(f"TimescaleDB and Redis run, with their sockets in {settings.sockets}")


def _stop_servers(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker.embedded.home import stop_background

    stop_background(settings)


def _check_exchange(settings: "Settings", arguments: argparse.Namespace) -> int:
    from tracker.cli.exchange import check_exchange

    return check_exchange(settings, arguments.ticker)


def _run_simulator(settings: "Settings", arguments: argparse.Namespace) -> None:
    _drop_privileges(settings)
    from tracker.simulator import run_simulator

    run_simulator(arguments, port=settings.simulator_port)
