"""The file of a backup: a zip with `manifest.json`, and `database.dump` or a CSV for each table."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from pydantic import ValidationError

from tracker.backups.manifest import Manifest
from tracker.errors import BackupError, BadRequest, describe
from tracker.history.written import written

DUMP = "database.dump"
_MANIFEST = "manifest.json"


class Writer:
    """An archive that is being written."""

    def __init__(self, archive: ZipFile) -> None:
        """Nothing is in it yet."""
        self._archive = archive

    def write_manifest(self, manifest: Manifest) -> None:
        """Add the manifest."""
        with self.member(_MANIFEST) as stream:
            stream.write(manifest.model_dump_json(indent=1).encode())

    @contextmanager
    def member(self, name: str) -> Iterator[IO[bytes]]:
        """What is written becomes the member *name*; compressed, if it is no dump."""
        entry = ZipInfo(name)
        entry.external_attr = 0o644 << 16
        entry.compress_type = ZIP_STORED if name == DUMP else ZIP_DEFLATED
        with self._archive.open(entry, "w", force_zip64=True) as stream:
            yield stream


@contextmanager
def created(file: str) -> Iterator[Writer]:
    """An archive, "-" being stdout; a file is there under its name only when it is whole.

    Raises BadRequest if it cannot be written.
    """
    try:
        with _sink(file) as stream, ZipFile(stream, "w") as archive:
            yield Writer(archive)
    except OSError as error:
        raise BadRequest({file: error.strerror or str(error)}) from None


@contextmanager
def _sink(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with written(Path(file)) as stream:
        yield stream


class Reader:
    """A whole archive."""

    def __init__(self, archive: ZipFile, manifest: Manifest) -> None:
        """It holds what *manifest* says."""
        self._archive = archive
        self.manifest = manifest

    def member(self, name: str) -> IO[bytes]:
        """The member *name*, to be read."""
        return self._archive.open(name)


@contextmanager
def opened(file: str) -> Iterator[Reader]:
    """The archive in *file*, of which every byte has been checked.

    Raises BadRequest if it cannot be read, BackupError if it is not what `created` has written.
    """
    try:
        archive = ZipFile(file)
    except OSError as error:
        raise BadRequest({file: error.strerror or str(error)}) from None
    except BadZipFile:
        raise BackupError(f"{file}: is not a backup, or not a whole one") from None
    with archive:
        yield Reader(archive, _checked(file, archive))


def _checked(file: str, archive: ZipFile) -> Manifest:
    """The manifest; the archive has all that it speaks of."""
    try:
        broken = archive.testzip()
        manifest = Manifest.model_validate_json(archive.read(_MANIFEST))
    except (KeyError, ValidationError):
        raise BackupError(f"{file}: is not a backup of a price tracker") from None
    except Exception as error:  # noqa: BLE001 -- damage shows as zlib.error, EOFError, OSError …
        raise BackupError(f"{file}: is damaged: {describe(error)}") from None
    expected = [DUMP] if manifest.kind == "dump" else [f"{name}.csv" for name in manifest.sums]
    lacking = sorted({*expected} - {*archive.namelist()})
    if broken or lacking:
        raise BackupError(f"{file}: is damaged: {broken or ', '.join(lacking)}")
    return manifest
