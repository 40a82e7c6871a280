"""The price of a moment: that of its minute, or one that lies nearer."""

from datetime import datetime

from tracker.queries.prices import PricePage
from tracker.web.answer.lines import Form
from tracker.web.asked import ranges
from tracker.web.asked.ranges import Minutes
from tracker.web.reading import paging


async def price(
    ask: paging.Ask, ticker: str, date: datetime, tolerance: int, form: Form
) -> PricePage:
    """The price whose minute begins nearest to *date*, the earlier of two, if there is one.

    It is that of the minute that contains *date*, or one that begins within *tolerance* seconds.
    """
    if not tolerance:
        own = ranges.number(date)
        return await paging.prices(ask, ticker, Minutes(own, own), 1, form, ascending=False)
    earlier, later = ranges.around(date, tolerance)
    before = await paging.prices(ask, ticker, earlier, 1, form, ascending=False)
    after = await paging.prices(ask, ticker, later, 1, form, ascending=True)
    if before.first_at is None or after.first_at is None:
        return after if before.first_at is None else before
    return before if date - before.first_at <= after.first_at - date else after
