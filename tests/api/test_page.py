"""The page at /, in a real browser: what it draws, what comes by itself, and whom it serves."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import DESKTOP, PATIENCE, PHONE, SMALL, Watched, chromium, watched
from tests.support.servers import fresh_database
from tests.support.serving import served
from tests.support.working import wait_for
from tracker import migrations
from tracker.settings import Settings
from tracker.times import minute_of

pytestmark = pytest.mark.slow

AXE = Path(sys.prefix) / "npm/node_modules/axe-core/axe.min.js"

# Two days of both indexes. From 6 to 5 hours ago nothing; from 4 to 3 hours ago what was repaired.
HISTORY = """
INSERT INTO prices (ticker, price, created_at, source)
SELECT ticker, usual + round((usual * 0.01 * sin(age / 90.0))::numeric, 2),
       %(now)s - age * INTERVAL '1 minute',
       CASE WHEN age BETWEEN 180 AND 239 THEN 'chart' ELSE 'poll' END
  FROM generate_series(1, 2880) AS age,
       (VALUES ('btc_usd', 100000.00), ('eth_usd', 2500.00)) AS index (ticker, usual)
 WHERE age NOT BETWEEN 300 AND 359
"""

# How many pixels of the chart have about the colour of a style sheet's variable.
PIXELS = """name => {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
  probe.remove();
  const near = (data, at) => wanted.every((value, part) => Math.abs(value - data[at + part]) < 12);
  let found = 0;
  for (const canvas of document.querySelectorAll("#chart canvas")) {
    const { width, height } = canvas;
    if (!width || !height) continue;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    for (let at = 0; at < data.length; at += 4) found += data[at + 3] > 200 && near(data, at);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def history(base: Settings) -> Settings:
    """Two days of prices, up to the minute before this one."""
    with psycopg.connect(base.database_dsn) as conn:
        conn.execute(HISTORY, {"now": minute_of(datetime.now(UTC))})
    return base


@pytest.fixture(scope="module")
def web(history: Settings) -> Iterator[httpx.Client]:
    """The web process."""
    with served(history) as client:
        yield client


@pytest.fixture
def seen(browser: Browser, web: httpx.Client) -> Iterator[Watched]:
    """The page, drawn and live; afterwards it has complained of nothing, and asked nobody else."""
    with watched(browser) as seen:
        show(seen.page, web)
        yield seen
        assert seen.errors == []
        assert seen.hosts() == {web.base_url.netloc.decode()}


def show(page: Page, web: httpx.Client, asked: str = "/") -> None:
    """Open the page, and wait until it is live."""
    page.goto(f"{web.base_url}{asked}")
    expect(page.locator("#link")).to_contain_text("Live", timeout=PATIENCE)
    wait_for(lambda: page.locator("#chart").get_attribute("data-bars"))
    wait_for(lambda: page.locator("#days li").count())


def store(
    settings: Settings, ticker: str, price: str, minute: datetime, source: str = "poll"
) -> None:
    with psycopg.connect(settings.database_dsn) as conn:
        conn.execute(
            "INSERT INTO prices (ticker, price, created_at, source) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (ticker, created_at) DO UPDATE SET price = excluded.price",
            [ticker, price, minute, source],
        )


def bars(page: Page) -> dict[str, int]:
    """How many buckets the chart has, by what they are."""
    found: dict[str, str] = page.evaluate("({ ...document.getElementById('chart').dataset })")
    return {name: int(found[name]) for name in ("bars", "missing", "partial", "repaired")}


def pixels(page: Page, colour: str) -> int:
    return int(page.evaluate(PIXELS, colour))


def test_the_chart_draws(seen: Watched) -> None:
    """A day of candles in 5 minutes, up and down, with what is missing and what was repaired."""
    found = bars(seen.page)

    assert 270 <= found["bars"] <= 576
    assert 10 <= found["missing"] <= 12
    assert 12 <= found["repaired"] <= 13
    assert min(pixels(seen.page, name) for name in ("up", "down", "repaired", "missing")) > 20


def test_line_and_candles(seen: Watched) -> None:
    """The form is switched in place."""
    assert pixels(seen.page, "line") == 0

    seen.page.get_by_role("radio", name="Line").check(force=True)
    assert pixels(seen.page, "line") > 100
    seen.page.get_by_role("radio", name="Candles").check(force=True)
    assert pixels(seen.page, "line") == 0


def test_range_and_interval_fit(seen: Watched) -> None:
    """A range brings its usual interval; an interval too fine for the range narrows that."""
    page = seen.page
    page.get_by_role("radio", name="All").check(force=True)
    expect(page.get_by_role("radio", name="1h", exact=True).first).not_to_be_checked()
    page.get_by_role("radio", name="30d").check(force=True)
    expect(page.locator("#interval input[value='4h']")).to_be_checked()
    page.locator("#interval input[value='1m']").check(force=True)
    expect(page.locator("#range input[value='24h']")).to_be_checked()
    wait_for(lambda: bars(page)["bars"] > 1300)
    expect(page.locator("#chart")).to_have_attribute("data-form", "line")  # a minute has no body
    assert page.evaluate("location.hash") == "#ticker=btc_usd&range=24h&interval=1m&form=candles"


def test_numbers_are_exact(seen: Watched, history: Settings) -> None:
    """Every digit of the API's, with separators; neither rounded nor cut."""
    minute = minute_of(datetime.now(UTC))
    store(history, "eth_usd", "123456789012.123456789", minute)

    card = seen.page.locator("#tickers label", has_text="ETH/USD")
    expect(card.locator(".price")).to_have_text("123,456,789,012.123456789")
    with psycopg.connect(history.database_dsn) as conn:
        conn.execute("DELETE FROM prices WHERE price > 123456789000")


def test_a_price_arrives(seen: Watched, history: Settings) -> None:
    """Card, chart, table and what is read aloud, without a reload."""
    page = seen.page
    loads = sum(url.endswith("main.js") for url in seen.asked)
    store(history, "btc_usd", "100123.45", minute_of(datetime.now(UTC)))

    expect(page.locator("#tickers label").first.locator(".price")).to_have_text("100,123.45")
    expect(page.locator("#chart")).to_have_attribute("data-close", "100123.45")
    expect(page.locator("#latest tr").first.locator("td").last).to_have_text("100,123.45")
    expect(page.locator("#said")).to_contain_text("BTC/USD 100,123.45")
    assert sum(url.endswith("main.js") for url in seen.asked) == loads == 1


def test_a_repair_shows(seen: Watched, history: Settings) -> None:
    """A minute that was missing long ago is filled, and its bucket is no longer empty."""
    before = bars(seen.page)
    now = minute_of(datetime.now(UTC))
    store(history, "btc_usd", "99999.99", now - timedelta(minutes=330), "chart")

    wait_for(lambda: bars(seen.page)["missing"] < before["missing"])
    assert bars(seen.page)["partial"] == before["partial"] + 1


def test_the_service_in_words(seen: Watched) -> None:
    """The database answers; nobody polls here, and it says so."""
    service = seen.page.locator("#service")
    expect(service.locator("li", has_text="database")).to_contain_text("works")
    expect(service.locator("li", has_text="scheduler")).to_contain_text("down")


def test_coverage_tells_each_day(seen: Watched) -> None:
    """A square for each day, whose words can be reached by keyboard too."""
    page = seen.page
    today = page.locator("#days li").last
    title = today.get_attribute("title") or ""
    assert "polled" in title
    today.focus()
    page.keyboard.press("ArrowLeft")
    told = page.locator("#day").inner_text()
    assert told.endswith("not tracked")
    assert told != title


def test_an_empty_archive(browser: Browser, servers: Settings) -> None:
    """Before the first price it says so; the first one is drawn as soon as it comes."""
    with fresh_database(servers) as empty, watched(browser) as seen:
        migrations.apply(empty.database_dsn)
        with served(empty) as web:
            page = seen.page
            page.goto(f"{web.base_url}/")
            expect(page.locator("#link")).to_contain_text("Live")
            expect(page.locator("#tickers label").first).to_contain_text("no price yet")

            store(empty, "btc_usd", "100000.01", minute_of(datetime.now(UTC)))
            expect(page.locator("#chart")).to_have_attribute("data-close", "100000.01")
            expect(page.locator("#tickers label").first).to_contain_text("100,000.01")
            assert seen.errors == []
            page.close()


def test_it_heals_after_an_outage(browser: Browser, history: Settings) -> None:
    """The web process goes and comes back: the page says so, and fetches what it missed."""
    with ExitStack() as stack, watched(browser) as seen:
        page = seen.page
        with served(history) as web:
            port = web.base_url.port
            show(page, web)
        expect(page.locator("#link")).to_contain_text("Connection lost, trying again; last data")
        expect(page.locator("#service li").first).to_contain_text("does not answer")
        store(history, "btc_usd", "100777.77", minute_of(datetime.now(UTC)))

        assert port is not None
        stack.enter_context(served(history, port=port))
        expect(page.locator("#link")).to_contain_text("Live", timeout=30_000)
        expect(page.locator("#chart")).to_have_attribute("data-close", "100777.77")
        expect(page.locator("#tickers label").first).to_contain_text("100,777.77")
        expect(page.locator("#service li").first).to_contain_text("answers")
        assert all(
            "ERR_CONNECTION_REFUSED" in error or "ERR_INCOMPLETE" in error for error in seen.errors
        )
        page.close()


@pytest.mark.parametrize(
    ("scheme", "viewport"),
    [("light", DESKTOP), ("dark", DESKTOP), ("dark", PHONE), ("light", SMALL)],
)
def test_axe_finds_no_serious_fault(
    browser: Browser, web: httpx.Client, scheme: str, viewport: dict[str, int]
) -> None:
    """Light, dark, phone; and nothing is wider than the screen."""
    with watched(browser, color_scheme=scheme, viewport=viewport) as seen:
        show(seen.page, web)
        seen.page.evaluate(AXE.read_text())
        found: list[dict[str, Any]] = seen.page.evaluate("axe.run().then(run => run.violations)")

        grave = [fault for fault in found if fault["impact"] in {"serious", "critical"}]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in grave] == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def test_the_keyboard_reaches_everything(seen: Watched) -> None:
    """Tab goes through all controls in their order, and each shows that it has the focus."""
    page = seen.page
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUS))
        if reached[-1][0] == "licence":
            break
    assert [name for name, _ in reached] == [
        "Skip to the chart", "theme", "API", "ticker", "range", "interval", "form", "chart", "day",
        "TradingView", "licence",
    ]  # fmt: skip
    assert all(visible for _, visible in reached)


FOCUS = """() => {
  const has = document.activeElement;
  const name = has.name || has.id || (has.closest("#days") ? "day" : has.textContent.trim());
  const shown = has.type === "radio" ? has.nextElementSibling : has;
  return [name, getComputedStyle(shown).outlineStyle !== "none"];
}"""


def test_the_chart_by_keyboard(seen: Watched) -> None:
    """Arrows read candle by candle; Escape goes back to the newest."""
    page = seen.page
    reading = page.locator("#reading span").first
    newest = reading.inner_text()
    page.locator("#chart").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert reading.inner_text() != newest
    expect(page.locator("#said")).to_contain_text(" O ")
    page.keyboard.press("Escape")
    expect(reading).to_have_text(newest)


def test_colours_are_kept(seen: Watched) -> None:
    """The switch overrules the system, also after a reload."""
    ground = "getComputedStyle(document.body).backgroundColor"
    light = seen.page.evaluate(ground)
    seen.page.get_by_role("radio", name="Dark").check(force=True)
    dark = seen.page.evaluate(ground)
    seen.page.reload()
    assert seen.page.evaluate(ground) == dark != light


def test_docs_work_under_the_policy(browser: Browser, web: httpx.Client) -> None:
    """Swagger UI draws the document; nothing is forbidden, nobody else is asked."""
    with watched(browser) as seen:
        seen.page.goto(f"{web.base_url}/docs")
        expect(seen.page.locator(".opblock").first).to_be_visible(timeout=PATIENCE)
        seen.page.locator("#operations-service-live .opblock-summary-control").click()
        seen.page.locator("#operations-service-live .execute").click()
        expect(seen.page.locator("#operations-service-live .response").first).to_contain_text(
            "live"
        )
        assert seen.errors == []
        assert seen.hosts() == {web.base_url.netloc.decode()}
