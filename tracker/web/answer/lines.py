"""Prices as lines that PostgreSQL writes, and what stands around lines in each format."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

from tracker import rows
from tracker.queries.prices import LineTemplate
from tracker.web.answer.formats import MEDIA_TYPES

_CSV, _JSON = MEDIA_TYPES["csv"], MEDIA_TYPES["json"]
_LF = "\n"
_REMEMBERED = 1000  # indexes with their forms

# Arguments of PostgreSQL's format(), by their places in the statements.
_CELLS = {"source": ",%1$s", "observed_at": ",%2$s"}
_MEMBERS = {
    "source": ',"source":"%1$s"',
    "observed_at": ',"observed_at":%3$s',  # as JSON: it may be null
}


@dataclass(frozen=True)
class Form:
    """How prices are written: in a media type, with some of rows.EXTRAS."""

    media_type: str
    extras: tuple[str, ...] = ()

    def template(self, ticker: str) -> LineTemplate:
        """What the lines of *ticker* are made of beside their values, without their ends."""
        return (
            _cells(ticker, self.extras)
            if self.media_type == _CSV
            else _members(ticker, self.extras)
        )

    @cached_property
    def end(self) -> str:
        """What ends a line."""
        return "\r\n" if self.media_type == _CSV else "\n"

    @cached_property
    def head(self) -> str:
        """What stands above the first line."""
        names = ",".join((*rows.PRICE, *self.extras))
        return names + self.end if self.media_type == _CSV else ""

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


@lru_cache(_REMEMBERED)
def _cells(ticker: str, extras: tuple[str, ...]) -> LineTemplate:
    return {
        "before_id": "",
        "before_price": f",{ticker},",
        "before_day": ",",
        "before_time": "T",
        "after_time": "Z" + "".join(_CELLS[name] for name in extras),
    }


@lru_cache(_REMEMBERED)
def _members(ticker: str, extras: tuple[str, ...]) -> LineTemplate:
    return {
        "before_id": '{"id":',
        "before_price": f',"ticker":"{ticker}","price":"',
        "before_day": '","created_at":"',
        "before_time": "T",
        "after_time": 'Z"' + "".join(_MEMBERS[name] for name in extras) + "}",
    }
