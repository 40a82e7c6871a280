"""`tracker restore`: a backup into a database that holds nothing, all of it or nothing."""

from tracker import migrations
from tracker.backups import archive, dumped, tables
from tracker.backups.manifest import Manifest
from tracker.errors import BackupError
from tracker.settings import Settings


def restore(settings: Settings, file: str) -> tuple[Manifest, list[str]]:
    """Bring what *file* holds into the database, and compare: what it held, and what was done.

    Raises BadRequest for a file that cannot be read, BackupError, DatabaseDown; then the database
    is what it was.
    """
    with archive.opened(file) as source:
        manifest = source.manifest
        _demand_known(file, manifest)
        done = (
            dumped.restore(settings, source)
            if manifest.kind == "dump"
            else tables.restore(settings, source)
        )
        return manifest, [*done, *_older(manifest)]


def _demand_known(file: str, manifest: Manifest) -> None:
    """Raise BackupError unless every migration of the backup is one of ours."""
    ours = migrations.names()
    if manifest.migrations[:1] == [migrations.OF_VERSION_0_1]:
        raise BackupError(
            f"{file}: was made by version 0.1: restore it with that version, then `tracker export`"
            " there and `tracker import` here"
        )
    if unknown := sorted(set(manifest.migrations) - set(ours)):
        raise BackupError(f"{file}: was made by a newer version of the tracker, with {unknown[0]}")
    if not manifest.migrations or manifest.migrations != ours[: len(manifest.migrations)]:
        raise BackupError(f"{file}: was made between two migrations")


def _older(manifest: Manifest) -> list[str]:
    if manifest.migrations == migrations.names():
        return []
    return [f"its schema is that of {manifest.migrations[-1]}: `just upgrade` brings it up to date"]
