"""The log of the supervised processes: text, JSON, colours, and a disk that is full."""

import json
import os
import re
import time
from datetime import UTC, datetime
from io import BytesIO

import pytest

from tracker.embedded.log import SUPERVISOR_NAME, Log


class Terminal(BytesIO):
    """Accepts lines as a terminal does."""

    def isatty(self) -> bool:
        return True


class Disk(BytesIO):
    """Accepts *free* bytes, and none after that."""

    free = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if not self.free:
            raise OSError(28, "No space left on device")
        count = super().write(data[: self.free])
        self.free -= count
        return count


def read_lines(out: BytesIO) -> list[str]:
    return out.getvalue().decode().splitlines()


def test_lines_lost_on_a_full_disk_are_counted() -> None:
    """The rest of a torn line is lost too; the next one starts on a line of its own."""
    disk = Disk()
    log = Log(disk, [SUPERVISOR_NAME])
    closed: list[bool] = []
    log.on_closed = lambda: closed.append(True)

    disk.free = 12
    log.write(SUPERVISOR_NAME, "torn")
    log.write(SUPERVISOR_NAME, "two\nlines")
    disk.free = 1000
    log.write(SUPERVISOR_NAME, "free again")

    lines = read_lines(disk)
    assert len(lines[0]) == 12
    assert [line.partition("| ")[2] for line in lines[1:]] == [
        "3 lines of this log are lost: No space left on device",
        "free again",
    ]
    assert not closed


def test_reader_that_stands_still_does_not_block() -> None:
    """Lines are lost once the pipe is full; a line can be longer than a pipe takes at once."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb", 0) as out, os.fdopen(reader, "rb", 0) as screen:
        log = Log(out, ["web"])
        for _ in range(30):
            log.write("web", "x" * 10_000)
        shown = screen.read(1 << 20)
        log.write("web", "after")
        shown += screen.read(1 << 20)

    *_, lost, last = shown.decode().splitlines()
    assert re.search(r"\| \d+ lines of this log are lost: its reader is too slow$", lost)
    assert last.endswith("| after")


def test_json_has_an_object_a_line() -> None:
    """An object that a process writes remains as it is; other lines become objects."""
    out = BytesIO()
    log = Log(out, ["web", "redis"], as_json=True)
    ours = '{"time": "2026-11-20T09:30:00+00:00", "process": "web", "message": "stored"}'

    log.write("web", ours)
    log.write("web", "{not JSON}\nsecond\x1b[0m", "WARNING")
    log.write("redis", "ready")

    lines = read_lines(out)
    assert lines[0] == ours
    records = [json.loads(line) for line in lines[1:]]
    assert [(each["process"], each["level"], each["message"]) for each in records] == [
        ("web", "WARNING", "{not JSON}"),
        ("web", "WARNING", "second\N{MIDDLE DOT}[0m"),
        ("redis", "INFO", "ready"),
    ]


@pytest.mark.parametrize(("variable", "is_coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_without_no_color(
    monkeypatch: pytest.MonkeyPatch, variable: str, *, is_coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", variable)
    out = Terminal()

    Log(out, ["web"]).write("web", "up")

    assert ("\x1b[" in out.getvalue().decode()) == is_coloured


def test_time_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the minutes in the lines of the processes are."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    out = BytesIO()
    before = datetime.now(UTC)

    Log(out, ["web"]).write("web", "up")

    shown = out.getvalue().decode()[:8]
    assert shown in {f"{moment:%H:%M:%S}" for moment in (before, datetime.now(UTC))}
    monkeypatch.undo()
    time.tzset()
