"""One log of several processes: text in columns, or JSON."""

import errno
import io
import os
import re
import select
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import BinaryIO

import orjson

SUPERVISOR_NAME = "tracker"  # of the supervisor's own lines
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PATIENCE = 1_000  # milliseconds for a reader that is slow
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92)


class Log:
    """One log of several processes: the time in UTC, the name and the line; or JSON objects.

    A line that cannot be written, because the disk is full or the reader has paused, is counted
    and dropped.
    on_closed: called once when the reader has closed the log; later lines are dropped.
    """

    def __init__(
        self,
        out: BinaryIO,
        names: Iterable[str],
        *,
        as_json: bool = False,
        encoding: str = "utf-8",
    ) -> None:
        """A log on *out*, which must be unbuffered, of the processes *names*.

        encoding: of text; JSON is UTF-8. A terminal gets colours, unless NO_COLOR is set.
        """
        self.on_closed: Callable[[], object] = lambda: None
        self._closed = False
        self._out = out
        self._encoding = "utf-8" if as_json else encoding
        self._format = _format_json if as_json else self._format_text
        self._lost_lines, self._lost_reason = 0, ""
        self._is_torn = False  # the newest line has no end, because the disk was full
        self._poll: select.poll | None = None  # memory has none
        with suppress(io.UnsupportedOperation):
            number = out.fileno()
            self._poll = select.poll()
            self._poll.register(number, select.POLLOUT)
        names = list(names)
        self._width = max(map(len, names))
        colours = zip(names, _COLOURS * len(names), strict=False)
        is_coloured = out.isatty() and not os.environ.get("NO_COLOR")
        self._colours = dict(colours) if is_coloured else {}

    def write(self, name: str, text: str, level: str = "INFO") -> None:
        """Write *text*, one or several lines, under *name*; only JSON shows the level."""
        lines = text.split("\n")
        try:
            if self._lost_lines:
                lost = f"{self._lost_lines} lines of this log are lost: {self._lost_reason}"
                self._write([self._format(SUPERVISOR_NAME, lost, "WARNING")])
                self._lost_lines = 0
            self._write(self._format(name, line, level) for line in lines)
        except BrokenPipeError:
            self._closed = True
            self.on_closed()
        except OSError as error:
            self._lost_lines += len(lines)
            self._lost_reason = error.strerror or str(error)

    def _write(self, lines: Iterable[str]) -> None:
        if self._closed:
            return
        rest = "".join(f"{line}\n" for line in lines).encode(self._encoding, "replace")
        if self._is_torn:
            rest = b"\n" + rest
        while rest:
            written = self._out.write(rest[: select.PIPE_BUF]) if self._is_writable() else None
            if not written:
                raise BlockingIOError(errno.EAGAIN, "its reader is too slow")
            self._is_torn = written < len(rest)
            rest = rest[written:]

    def _is_writable(self) -> bool:
        """Whether PIPE_BUF bytes can be written without blocking, soon at least.

        A terminal that is paused by Ctrl-S, or a pager, must not stop the supervisor.
        """
        if self._poll is None:
            return True
        return bool(self._poll.poll(0 if self._lost_lines else _PATIENCE))

    def _format_text(self, name: str, line: str, _: str) -> str:
        head = f"{datetime.now(UTC):%H:%M:%S} {name:<{self._width}} |"
        if name in self._colours:
            head = f"\x1b[{self._colours[name]}m{head}\x1b[0m"
        return f"{head} {_printable(line)}"


def _format_json(name: str, line: str, level: str) -> str:
    """*line* itself if it is a JSON object, which our processes write; else an object with it."""
    if line.startswith("{"):
        try:
            orjson.loads(line)
        except orjson.JSONDecodeError:
            pass
        else:
            return line
    record = {
        "time": datetime.now(UTC),
        "level": level,
        "process": name,
        "message": _printable(line),
    }
    return orjson.dumps(record).decode()


def _printable(line: str) -> str:
    return _CONTROL_CHARACTERS.sub("\N{MIDDLE DOT}", line.rstrip("\r"))
