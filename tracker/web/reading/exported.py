"""What an export looks like: the same lines as a page has in that format, made by PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass

from tracker import rows
from tracker.web.answer.formats import MEDIA_TYPES
from tracker.web.asked.ranges import Minutes

_CSV = MEDIA_TYPES["csv"]

# Arguments of PostgreSQL's format(), by their places in the queries.
_CELLS = {
    "id": "%1$s",
    "ticker": "%2$s",
    "price": "%3$s",
    "created_at": "%4$s",
    "source": "%5$s",
    "observed_at": "%6$s",
}
_VALUES = {
    "id": "%1$s",
    "ticker": '"%2$s"',
    "price": '"%3$s"',
    "created_at": '"%4$s"',
    "source": '"%5$s"',
    "observed_at": "%7$s",  # as JSON: it may be null
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to export: prices of *ticker* in *minutes*, with *extras*, as *media_type*."""

    ticker: str
    minutes: Minutes
    extras: Sequence[str]
    media_type: str

    @property
    def columns(self) -> list[str]:
        """The names of its values."""
        return [*rows.PRICE, *self.extras]

    @property
    def head(self) -> bytes:
        """What stands above the first line."""
        return (",".join(self.columns) + self.end).encode() if self.media_type == _CSV else b""

    @property
    def end(self) -> str:
        """What ends a line."""
        return "\r\n" if self.media_type == _CSV else "\n"

    @property
    def template(self) -> str:
        """A line without its end."""
        if self.media_type == _CSV:
            return ",".join(_CELLS[name] for name in self.columns)
        return "{" + ",".join(f'"{name}":{_VALUES[name]}' for name in self.columns) + "}"

    def lines(self, row: bytes) -> bytes:
        """The lines of a *row* of COPY, which ends it itself, and escapes what ends lines inside.

        Nothing else in them has a backslash: values are numbers, times and names.
        """
        escaped = self.end.encode("unicode_escape")
        return row[:-1].replace(escaped, self.end.encode()) + self.end.encode()
