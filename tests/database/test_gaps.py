"""The gaps on the real database: gaps and rows fill the window, and coverage counts them."""

from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise

import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection

from tests.support.database import Run
from tracker import gaps, queries
from tracker.gaps import NOT_POLLED, Coverage, Gap, RecordedGap
from tracker.settings import Settings
from tracker.times import DAY, HOUR, MINUTE, Span, floor_moment
from tracker.web.gaps import expected_window, fetch_coverage, fetch_gaps

Archive = tuple[dict[datetime, str], dict[datetime, str]]

EDGE = datetime(1970, 1, 1, tzinfo=UTC) + 52 * timedelta(days=365)  # between two chunks
REASONS = ["exchange_unavailable", "rate_limited", NOT_POLLED]
SOURCES = ["poll", "chart", "import"]

# Minutes around the edge one by one, across hours, across days; lengths of both kinds.
offsets = st.integers(-3, 3) | st.integers(-130, 130) | st.integers(-4_000, 4_000)
minutes = offsets.map(lambda count: EDGE + count * MINUTE)
lengths = st.integers(1, 5) | st.sampled_from([59, 60, 61, 180, 1500])


def islands_of(values: list[str]) -> st.SearchStrategy[dict[datetime, str]]:
    """Islands of minutes, each with one of *values*; later ones overwrite earlier ones."""
    runs = st.lists(st.tuples(minutes, lengths, st.sampled_from(values)), max_size=5)
    return runs.map(
        lambda runs: {at + n * MINUTE: value for at, length, value in runs for n in range(length)}
    )


def remove_holes(stored: dict[datetime, str], holes: set[datetime]) -> dict[datetime, str]:
    """*stored* with *holes* in it."""
    return {minute: source for minute, source in stored.items() if minute not in holes}


archives = st.tuples(
    st.builds(remove_holes, islands_of(SOURCES), st.sets(minutes, max_size=8)), islands_of(REASONS)
)
windows = st.tuples(minutes, minutes).map(lambda ends: Span(min(ends), max(ends)))


async def insert_both(conn: AsyncConnection, archive: Archive) -> None:
    """Insert prices and misses of one index, and others of a second one."""
    stored, misses = archive
    await conn.execute(
        "INSERT INTO prices (ticker, price, created_at, source)"
        " SELECT 'btc_usd', 1.50, minute, source"
        " FROM unnest(%s::timestamptz[], %s::text[]) AS price (minute, source)",
        [list(stored), list(stored.values())],
    )
    await conn.execute(
        "INSERT INTO misses (ticker, minute, reason, attempts) SELECT 'btc_usd', minute, reason, 1"
        " FROM unnest(%s::timestamptz[], %s::text[]) AS miss (minute, reason)",
        [list(misses), list(misses.values())],
    )
    other = "SELECT 'eth_usd', 1.50, at FROM generate_series(%s, %s, INTERVAL '7 min') AS at"
    ends = [EDGE - 3 * HOUR, EDGE + 3 * HOUR]
    await conn.execute(f"INSERT INTO prices (ticker, price, created_at) {other}", ends)


def list_minutes(span: Span) -> list[datetime]:
    """Each of them, newest first."""
    return [span.until - n * MINUTE for n in range(1, span.minutes + 1)]


def expected_gaps(archive: Archive, within: Span) -> list[Gap]:
    """The gaps, minute by minute."""
    stored, misses = archive
    lacking = [minute for minute in list_minutes(within) if minute not in stored]
    placed = enumerate((minute, misses.get(minute, NOT_POLLED)) for minute in lacking)
    runs = groupby(placed, lambda each: (each[1][0] + each[0] * MINUTE, each[1][1]))
    found = [(reason, [minute for _, (minute, _) in run]) for (_, reason), run in runs]
    return [Gap(run[-1], run[0] + MINUTE, reason) for reason, run in found]


def expected_coverage(archive: Archive, within: Span, width: timedelta) -> list[Coverage]:
    """The coverage, minute by minute."""
    stored, _ = archive
    found = []
    for start, group in groupby(list_minutes(within), lambda minute: floor_moment(minute, width)):
        sources = [stored.get(minute) for minute in group]
        counts = (sources.count(name) for name in SOURCES)
        found.append(Coverage(start, len(sources), *counts))
    return found


@settings(deadline=None)
@given(archive=archives, within=windows)
def test_gaps_and_rows_fill_the_window(
    run: Run, reader: AsyncConnection, archive: Archive, within: Span
) -> None:
    """Adjacent gaps differ in reason or have a row between them."""

    async def query_gaps() -> list[Gap]:
        async with reader.transaction(force_rollback=True):
            await insert_both(reader, archive)
            return await fetch_gaps(reader, "btc_usd", within, 100_000)

    found = run(query_gaps())
    lacking = [minute for gap in found for minute in list_minutes(gap)]
    rows = [minute for minute in archive[0] if within.since <= minute < within.until]
    assert sorted([*lacking, *rows], reverse=True) == list_minutes(within)
    assert found == expected_gaps(archive, within)
    pairs = pairwise(found)
    assert all(newer.since > older.until or newer.reason != older.reason for newer, older in pairs)


@settings(deadline=None)
@given(archive=archives, within=windows, limit=st.integers(1, 7))
def test_pages_of_gaps_equal_one_page(
    run: Run, reader: AsyncConnection, archive: Archive, within: Span, limit: int
) -> None:
    """Like the API: one more than a page shows, and on from the start of the last shown."""

    async def pages() -> list[list[Gap]]:
        found, rest = [], within
        async with reader.transaction(force_rollback=True):
            await insert_both(reader, archive)
            while True:
                page = await fetch_gaps(reader, "btc_usd", rest, limit + 1)
                found.append(page[:limit])
                if len(page) <= limit:
                    return found
                rest = Span(within.since, page[limit - 1].since)

    found = run(pages())
    assert [gap for page in found for gap in page] == expected_gaps(archive, within)
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)


@settings(deadline=None)
@given(
    archive=archives,
    within=windows,
    page=st.tuples(st.sampled_from([HOUR, DAY]), st.sampled_from([1, 2, 5, 1000])),
)
def test_coverage_matches_counting(
    run: Run, reader: AsyncConnection, archive: Archive, within: Span, page: tuple[timedelta, int]
) -> None:
    """Bucket by bucket, page by page; the minutes of the gaps are the missing ones."""
    width, limit = page

    async def query_gaps() -> tuple[list[Coverage], list[Gap]]:
        found: list[Coverage] = []
        rest = within
        async with reader.transaction(force_rollback=True):
            await insert_both(reader, archive)
            while part := await fetch_coverage(reader, "btc_usd", rest, width, limit):
                found += part
                rest = Span(within.since, max(part[-1].since, within.since))
            return found, await fetch_gaps(reader, "btc_usd", within, 100_000)

    buckets, found = run(query_gaps())
    assert buckets == expected_coverage(archive, within, width)
    assert sum(bucket.missing for bucket in buckets) == sum(gap.minutes for gap in found)
    assert sum(bucket.expected for bucket in buckets) == within.minutes
    assert all((bucket.ratio == 1) == (bucket.missing == 0) for bucket in buckets)


@given(windows, st.none() | windows, st.integers(0, 5 * 60))
def test_window_is_tracked_past(query_gaps: Span, tracked: Span | None, seconds: int) -> None:
    """Never before the index was tracked, never the current minute, also within a minute."""
    since = tracked.since if tracked else EDGE
    part = timedelta(seconds=seconds)
    now = EDGE + part
    start, end = query_gaps.since + part, query_gaps.until + part

    found = gaps.expected_span(since, start, end, now)
    around = Span(EDGE - 9_000 * MINUTE, EDGE + 9_000 * MINUTE)
    complete = [minute for minute in list_minutes(around) if since <= minute <= now - MINUTE]
    assert list_minutes(found) == [minute for minute in complete if start <= minute < end]
    assert list_minutes(gaps.expected_span(since, None, None, now)) == complete


def test_extreme_moments_do_not_overflow() -> None:
    """A start or an end in the year 1 or 9999."""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

    assert gaps.expected_span(first, first, last, EDGE) == Span(first, EDGE)
    assert gaps.expected_span(EDGE, first, first, EDGE).minutes == 0
    assert gaps.expected_span(EDGE - HOUR, last, last, EDGE).minutes == 0
    assert gaps.expected_span(EDGE + HOUR, None, None, EDGE).minutes == 0


def test_outage_of_months_is_one_row(run: Run, reader: AsyncConnection) -> None:
    """Neither missing minutes nor consecutive misses are expanded."""
    late = EDGE + 90 * DAY

    async def query_gaps() -> tuple[list[RecordedGap], list[Gap]]:
        async with reader.transaction(force_rollback=True):
            await insert_both(reader, ({EDGE: "poll", late: "poll"}, {}))
            await reader.execute(
                "INSERT INTO misses (ticker, minute, reason, attempts)"
                " SELECT 'btc_usd', at, 'bad_answer', 1"
                " FROM generate_series(%s, %s, INTERVAL '1 min') AS at",
                [EDGE + 40 * DAY, EDGE + 70 * DAY - MINUTE],
            )
            within = Span(EDGE, late + MINUTE)
            holes = await queries.gap_page(reader, "btc_usd", within, 99)
            return holes, await fetch_gaps(reader, "btc_usd", within, 99)

    holes, found = run(query_gaps())
    since, until = EDGE + 40 * DAY, EDGE + 70 * DAY
    assert holes == [RecordedGap(EDGE + MINUTE, late, since, until, "bad_answer")]
    assert found == [
        Gap(until, late, NOT_POLLED),
        Gap(since, until, "bad_answer"),
        Gap(EDGE + MINUTE, since, NOT_POLLED),
    ]


def test_untracked_index_has_no_expected_minutes(
    run: Run, base: Settings, reader: AsyncConnection
) -> None:
    with psycopg.connect(base.database_dsn) as conn:
        assert conn.execute("SELECT count(ticker) FROM tickers").fetchone() == (0,)
    assert run(expected_window(reader, "btc_usd", None, None, EDGE)).minutes == 0
