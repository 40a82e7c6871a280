"""`tracker backup`: all of the database as it is at one moment, while others write."""

from psycopg import Connection, IsolationLevel

from tracker.backups import archive, programs
from tracker.backups.connection import connection
from tracker.backups.manifest import Kind, Manifest, taken
from tracker.backups.statements import qualified, statement
from tracker.settings import Settings


def backup(settings: Settings, file: str, kind: Kind) -> Manifest:
    """Write the database to *file*, "-" being stdout: what it holds.

    Manifest and rows are of one snapshot. Nothing that is there is locked for those who read or
    write; migrations and dropped chunks wait, or make it fail.
    Raises BadRequest for a file that cannot be written, BackupError, DatabaseDown.
    """
    with connection(settings.direct_dsn) as conn, archive.created(file) as target:
        conn.isolation_level = IsolationLevel.REPEATABLE_READ
        conn.read_only = True
        snapshot, manifest = taken(conn, kind)
        if kind == "dump":
            with target.member(archive.DUMP) as sink:
                programs.dump(settings, manifest.postgresql, snapshot, sink)
        else:
            for table in manifest.sums:
                _write(conn, target, table)
        target.write_manifest(manifest)  # last: what is cut short has none
    return manifest


def _write(conn: Connection, target: archive.Writer, table: str) -> None:
    with (
        target.member(f"{table}.csv") as sink,
        conn.cursor().copy(statement("out", table=qualified(table))) as copy,
    ):
        sink.writelines(copy)
