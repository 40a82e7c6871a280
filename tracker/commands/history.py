"""History from elsewhere, and history taken along."""

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tracker.commands.group import Group

if TYPE_CHECKING:
    from tracker.settings import Settings

# From fine to coarse: the finest chart that has a minute is stored.
_RANGES = ("1h", "1d", "2d", "1m", "1y", "all")


def register(group: Group) -> list[argparse.Action]:
    """Declare them: those of their arguments that name a file."""
    past = group.add("backfill", _backfill, "import what the exchange's charts offer of the past")
    past.add_argument("--ticker", action="append", help="one of TICKERS; default: all of them")
    past.add_argument("--range", action="append", choices=_RANGES, help="default: all of them")
    importer = group.add("import", _import, "add prices from a CSV file: all of its lines, or none")
    source = importer.add_argument(
        "file",
        help="its first line names the columns: ticker, created_at, price,"
        " and if there are any observed_at, source; -: standard input",
    )
    importer.add_argument("--dry-run", action="store_true", help="check it, and store nothing")
    exporter = group.add("export", _export, "write prices as CSV that import reads")
    sink = exporter.add_argument("file", nargs="?", default="-", help="default: standard output")
    exporter.add_argument(
        "--ticker", action="append", default=[], help="may be repeated; default: all"
    )
    exporter.add_argument("--start-date", help="the first minute; default: the first stored")
    exporter.add_argument("--end-date", help="the minute to stop before; default: never")
    return [source, sink]


def _backfill(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker import backfill, deribit, logs
    from tracker.embedded.home import running_settings

    logs.set_up(settings, "backfill")
    chosen = running_settings(settings)
    tickers, ranges = arguments.ticker or chosen.tickers, arguments.range or _RANGES
    with deribit.Client(chosen.client_base_url) as client:
        for one in backfill.backfill(chosen, client, tickers, ranges):
            print(f"{one.ticker} {one.reach}: added {one.added}, {one.present} were there already")


def _import(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.embedded.home import running_settings
    from tracker.transfer.importing import import_file

    dry_run = arguments.dry_run
    dsn = running_settings(settings).direct_dsn
    kept_since = settings.kept_since(datetime.now(UTC))
    for tally in import_file(dsn, arguments.file, dry_run=dry_run, kept_since=kept_since):
        verb, were = ("would add", "are") if dry_run else ("added", "were")
        print(f"{tally.ticker}: {verb} {tally.added:,}, {tally.known:,} {were} there already")
        if tally.too_old:
            print(f"{tally.ticker}: {tally.too_old:,} of them are older than RETENTION keeps")


def _export(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.embedded.home import running_settings
    from tracker.transfer.exporting import export_file, parse_selection

    chosen = parse_selection(arguments.ticker, arguments.start_date, arguments.end_date)
    written = export_file(running_settings(settings).direct_dsn, arguments.file, chosen)
    if arguments.file != "-":
        print(f"wrote {written:,} prices to {arguments.file}")
