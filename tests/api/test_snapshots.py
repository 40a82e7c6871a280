"""The prices of many indexes in one response: the newest ones, and those of a moment."""

from datetime import UTC, datetime, timedelta
from itertools import count

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api import error_reasons, format_moment
from tests.support.database import insert_minutes, insert_prices
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
BOUNDARY = datetime(1970, 1, 1, tzinfo=UTC) + 54 * timedelta(days=365)  # between two chunks
NUMBERS = count(1)

minutes = st.integers(-20, 20).map(lambda number: BOUNDARY + number * MINUTE)
dates = st.builds(
    lambda minute, seconds: minute + timedelta(seconds=seconds),
    minutes,
    st.sampled_from([-0.000001, 0, 0.000001, 59]),
) | st.sampled_from([datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])


@pytest.mark.parametrize("path", ["/prices/latest", "/prices/at?date=2024-01-15T12:01:59"])
def test_all_indexes_are_in_the_order_of_tickers(
    client: httpx.Client, writer: psycopg.Connection, path: str
) -> None:
    """Those polled first; an index without a price is named by a header that pages may read."""
    insert_minutes(writer, [NOON, NOON + MINUTE], "btc_usd")
    for name in ("sol_usd", "ada_usd"):
        insert_prices(writer, name, {NOON + MINUTE: "1.2300"})
    response = client.get(path, headers={"Origin": "https://example.org"})
    tickers = [row["ticker"] for row in client.get("/tickers").json()]

    assert tickers == ["btc_usd", "eth_usd", "ada_usd", "sol_usd"]
    assert [price["ticker"] for price in response.json()] == ["btc_usd", "ada_usd", "sol_usd"]
    assert response.headers["missing"] == "eth_usd"
    assert "Missing" in response.headers["access-control-expose-headers"].split(", ")
    for price in response.json():
        last = client.get("/prices/last", params={"ticker": price["ticker"]})
        assert price == last.json()


def test_named_indexes_are_in_the_order_of_the_request(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    for name in ("btc_usd", "eth_usd", "sol_usd"):
        insert_minutes(writer, [NOON], name)
    repeated = client.get("/prices/latest?ticker=sol_usd&ticker=btc_usd")
    listed = client.get("/prices/latest?ticker=sol_usd,btc_usd&include=source&format=csv")

    assert [price["ticker"] for price in repeated.json()] == ["sol_usd", "btc_usd"]
    assert "missing" not in repeated.headers
    assert [line.split(",")[1:] for line in listed.text.split("\r\n")[:-1]] == [
        ["ticker", "price", "created_at", "source"],
        *([price["ticker"], price["price"], price["created_at"], "poll"]
          for price in repeated.json()),
    ]  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.lists(st.sets(minutes, max_size=6), min_size=1, max_size=4),
    date=dates,
    tolerance=st.sampled_from([0, 1, 59, 60, 61, 600, 86400]),
)
def test_price_at_a_moment_is_the_newest_within_the_tolerance(
    client: httpx.Client,
    writer: psycopg.Connection,
    *,
    stored: list[set[datetime]],
    date: datetime,
    tolerance: int,
) -> None:
    """At or before the moment; that of its own minute in any case."""
    indexes = {f"index{next(NUMBERS)}_usd": each for each in stored}
    for name, held in indexes.items():
        insert_minutes(writer, [BOUNDARY - timedelta(days=9), *held], name)  # which makes it known
    params = {"ticker": ",".join(indexes), "date": date.isoformat(), "tolerance": str(tolerance)}
    response = client.get("/prices/at", params=params)

    expected, missing = list[tuple[str, str]](), list[str]()
    for name, held in indexes.items():
        ages = {minute: date - minute for minute in held if minute <= date}
        near = [m for m, age in ages.items() if age < MINUTE or age.total_seconds() <= tolerance]
        if near:
            expected.append((name, format_moment(max(near))))
        else:
            missing.append(name)
    assert [(price["ticker"], price["created_at"]) for price in response.json()] == expected
    assert response.headers.get("missing", "") == ", ".join(missing)


def test_invalid_indexes_are_refused(client: httpx.Client, writer: psycopg.Connection) -> None:
    insert_minutes(writer, [NOON])
    unknown = error_reasons(client.get("/prices/latest?ticker=btc_usd,doge_usd,never_usd"), 422)
    repeated = error_reasons(client.get("/prices/at?date=0&ticker=btc_usd&ticker=btc_usd"), 422)
    several = error_reasons(client.get("/prices/at?ticker=BTC&tolerance=86401"), 422)

    assert unknown["ticker"].startswith("'doge_usd', 'never_usd' are not tracked; tracked: btc_usd")
    assert repeated == {"ticker": "has 'btc_usd' more than once"}
    assert several.keys() == {"date", "ticker", "tolerance"}


def test_prices_are_fresh_until_the_next_is_due(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Of any index; what is past, for a minute; a client revalidates it by its ETag."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    insert_minutes(writer, [NOON, now], "btc_usd")
    insert_minutes(writer, [NOON], "eth_usd")
    both, one = "/prices/latest", "/prices/latest?ticker=btc_usd"
    past = f"/prices/at?date={format_moment(NOON)}"
    ages = {}
    for path in (both, one, past):
        response = client.get(path)
        again = client.get(path, headers={"If-None-Match": response.headers["etag"]})
        assert again.status_code == 304
        age, _, rest = response.headers["cache-control"].partition(", ")
        assert rest == "must-revalidate"
        ages[path] = int(age.removeprefix("max-age="))

    assert (ages[both], ages[past]) == (1, 60)
    assert 1 <= ages[one] <= 60


def test_header_names_no_more_indexes_than_proxies_accept(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """The first 200 of 1,000 that have no price."""
    writer.execute(
        "INSERT INTO tickers (ticker, since)"
        " SELECT format('index%s_usd', n), '2024-01-15Z' FROM generate_series(1000, 1999) AS n"
    )
    insert_minutes(writer, [NOON], "index1999_usd")
    response = client.get("/prices/latest")

    assert [price["ticker"] for price in response.json()] == ["index1999_usd"]
    missing = response.headers["missing"].split(", ")
    assert missing == ["btc_usd", "eth_usd", *(f"index{n}_usd" for n in range(1000, 1198))]
