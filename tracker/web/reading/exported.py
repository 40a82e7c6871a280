"""What an export looks like: the same lines as a page has in that format."""

from dataclasses import dataclass

from tracker.web.answer.lines import Form
from tracker.web.asked.ranges import Minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to export: prices of *ticker* in *minutes*, in that *form*."""

    ticker: str
    minutes: Minutes
    form: Form

    def lines(self, row: bytes) -> bytes:
        """The lines of a *row* of COPY, which ends it itself, and escapes what ends lines inside.

        Nothing else in them has a backslash: values are numbers, times and names.
        """
        end = self.form.end.encode()
        return row[:-1].replace(self.form.end.encode("unicode_escape"), end) + end
