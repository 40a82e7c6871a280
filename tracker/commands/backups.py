"""The whole database in a file, and back; and the extension's version."""

import argparse
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tracker.commands.group import Group

if TYPE_CHECKING:
    from tracker.settings import Settings
    from tracker.transfer.backup import Manifest


def register(group: Group) -> list[argparse.Action]:
    """Declare them: those of their arguments that name a file."""
    saver = group.add("backup", _backup, "write the whole database to a file")
    sink = saver.add_argument(
        "file", nargs="?", help="-: standard output; default: one named after the time, here"
    )
    saver.add_argument(
        "--csv", action="store_true", help="for another version or edition of TimescaleDB"
    )
    restorer = group.add("restore", _restore, "bring back such a file, into an empty database")
    source = restorer.add_argument("file", help="what backup has written")
    group.add("timescale-upgrade", _upgrade, "bring TimescaleDB to the server's version")
    return [sink, source]


def _backup(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.embedded.home import running_settings
    from tracker.transfer.backup import backup

    chosen = running_settings(settings)
    file = arguments.file or f"{chosen.postgres_db}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zip"
    _end_cleanly()
    manifest = backup(chosen, file, "csv" if arguments.csv else "dump")
    if file != "-":
        print(f"wrote {_told(manifest)} to {file}")


def _restore(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker.embedded.home import servers_run
    from tracker.transfer.restore import restore

    servers_run(settings)  # creates the database on an embedded server, if it is missing
    _end_cleanly()
    manifest, done = restore(settings, arguments.file)
    print("\n".join([f"restored {_told(manifest)}; all sums are those of the backup", *done]))


def _upgrade(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker import extension

    before, after = extension.upgrade(settings.direct_dsn)
    what = f"is {after} already" if before == after else f"was {before}, and is {after} now"
    print(f"TimescaleDB {what}")


def _told(manifest: "Manifest") -> str:
    prices, misses = manifest.rows("prices"), manifest.rows("misses")
    return f"{prices:,} prices and {misses:,} misses of {len(manifest.sums['tickers'])} indexes"


def _end_cleanly() -> None:
    """SIGTERM is no other than Ctrl-C: nothing half done is left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
