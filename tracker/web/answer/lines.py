"""Prices as lines that PostgreSQL writes, and what stands around lines in each format."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

from tracker import rows
from tracker.web.answer.formats import MEDIA_TYPES

_CSV, _JSON = MEDIA_TYPES["csv"], MEDIA_TYPES["json"]
_LF = "\n"

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


@dataclass(frozen=True)
class Form:
    """How prices are written: in a media type, with some of rows.EXTRAS."""

    media_type: str
    extras: tuple[str, ...] = ()

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of a line's values."""
        return (*rows.PRICE, *self.extras)

    @cached_property
    def template(self) -> str:
        """A line without its end, as PostgreSQL's format() takes it."""
        if self.media_type == _CSV:
            return ",".join(_CELLS[name] for name in self.columns)
        return "{" + ",".join(f'"{name}":{_VALUES[name]}' for name in self.columns) + "}"

    @cached_property
    def end(self) -> str:
        """What ends a line."""
        return "\r\n" if self.media_type == _CSV else "\n"

    @cached_property
    def head(self) -> str:
        """What stands above the first line."""
        return ",".join(self.columns) + self.end if self.media_type == _CSV else ""

    def all(self, text: str | None) -> bytes:
        """The lines of *text*, LF between two, as a whole answer; None: there are none."""
        if self.media_type == _JSON:
            return f"[{(text or '').replace(_LF, ',')}]".encode()
        lines = text.replace(_LF, self.end) + self.end if text else ""
        return (self.head + lines).encode()

    def one(self, text: str) -> bytes:
        """A single line as a whole answer."""
        return text.encode() if self.media_type == _JSON else self.all(text)


form = lru_cache(Form)  # there are a dozen
