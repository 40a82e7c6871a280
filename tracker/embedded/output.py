"""One readable log of several processes: the time, the name, the line."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

_LONGEST = 65536  # bytes kept of a line that does not end
_JUNK = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92)


class Log:
    """Where every line of every process goes.

    when_closed: is called once when nobody reads it any more; what is said then is lost.
    """

    def __init__(self, out: TextIO, names: Iterable[str]) -> None:
        """A log on *out* of the processes *names*, coloured if it is a terminal."""
        self.when_closed: Callable[[], object] = lambda: None
        self._closed = False
        self._out = out
        names = list(names)
        self._width = max(map(len, names))
        colours = zip(names, _COLOURS * len(names), strict=False)
        self._colours = dict(colours) if out.isatty() else {}

    def say(self, name: str, text: str) -> None:
        """Write *text*, a line or several, under *name*."""
        if self._closed:
            return
        try:
            self._out.write("".join(self._shown(name, line) for line in text.split("\n")))
            self._out.flush()
        except (OSError, ValueError):
            self._closed = True
            self.when_closed()

    def _shown(self, name: str, line: str) -> str:
        head = f"{time.strftime('%H:%M:%S')} {name:<{self._width}} |"
        if name in self._colours:
            head = f"\x1b[{self._colours[name]}m{head}\x1b[0m"
        encoding = self._out.encoding or "utf-8"
        clean = _JUNK.sub("\N{MIDDLE DOT}", line.rstrip("\r"))
        return f"{head} {clean}".encode(encoding, "replace").decode(encoding) + "\n"


class Lines:
    """Cuts what a process writes into lines, whatever it is."""

    def __init__(self) -> None:
        """Nothing was written yet."""
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that *chunk* completes; a line without end comes in pieces."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LONGEST:
            lines.append(self._rest)
            self._rest = b""
        return (line.decode(errors="replace") for line in lines)

    def flush(self) -> Iterator[str]:
        """What is left when the process is gone."""
        rest, self._rest = self._rest, b""
        return iter([rest.decode(errors="replace")] if rest else [])
