"""The page at / in a real browser: drawing, live updates, accessibility."""

import math
import re
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.api import read_metric, serve_api
from tests.support.browser import DESKTOP, PHONE, SMALL, MonitoredPage, chromium, open_page
from tests.support.database import create_migrated_database, upsert_prices
from tests.support.waiting import wait_until
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of

pytestmark = pytest.mark.slow

AXE = Path(sys.prefix) / "npm/node_modules/axe-core/axe.min.js"

# Two days of each index: no price from 6 to 5 hours ago, repaired from 4 to 3 hours ago.
HISTORY = """
INSERT INTO prices (ticker, price, created_at, source)
SELECT ticker, usual + round((usual * 0.01 * sin(age / 90.0))::numeric, decimals)
       + CASE WHEN age BETWEEN 180 AND 239 THEN 0.0000000001 ELSE 0 END,
       %(now)s - age * INTERVAL '1 minute',
       CASE WHEN age BETWEEN 180 AND 239 THEN 'chart' ELSE 'poll' END
  FROM generate_series(1, 2880) AS age,
       (VALUES ('btc_usd', 100000.00, 2), ('eth_usd', 2500.00, 2), ('tiny_usd', 0.00001234, 8),
               ('a-long-index-name_usdc', 123456789012.1234, 4)) AS index (ticker, usual, decimals)
 WHERE age NOT BETWEEN 300 AND 359
"""

# Counts the pixels of the chart whose colour is close to that of a CSS variable.
PIXELS = """name => {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
  probe.remove();
  const matches = (data, at) =>
    wanted.every((value, part) => Math.abs(value - data[at + part]) < 12);
  let count = 0;
  for (const canvas of document.querySelectorAll("#chart canvas")) {
    const { width, height } = canvas;
    if (!width || !height) continue;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    for (let at = 0; at < data.length; at += 4) count += data[at + 3] > 200 && matches(data, at);
  }
  return count;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", autouse=True)
def _history(base_conn: psycopg.Connection) -> None:
    """Two days of prices, up to the previous minute."""
    base_conn.execute(HISTORY, {"now": minute_of(datetime.now(UTC))})


@pytest.fixture
def observed(browser: Browser, client: httpx.Client) -> Iterator[MonitoredPage]:
    """The page, drawn and live. Afterwards: no error, and no request to another host."""
    with open_page(browser) as observed:
        load(observed.page, client)
        yield observed
        assert observed.errors == []
        assert observed.hosts() == {client.base_url.netloc.decode()}


def load(page: Page, client: httpx.Client) -> None:
    """Open the page, and wait until it is live."""
    page.goto(f"{client.base_url}/")
    expect(page.locator("#connection")).to_contain_text("Live")
    wait_until(lambda: page.locator("#chart").get_attribute("data-bars"))
    wait_until(lambda: page.locator("#days li").count())


def count_bars(page: Page) -> dict[str, int]:
    """The chart's buckets with a price, and how many are missing, partial and repaired."""
    data: dict[str, str] = page.evaluate("({ ...document.getElementById('chart').dataset })")
    return {name: int(data[name]) for name in ("bars", "missing", "partial", "repaired")}


def count_pixels(page: Page, colour: str) -> int:
    return int(page.evaluate(PIXELS, colour))


def test_chart_shows_candles_gaps_and_repairs(observed: MonitoredPage) -> None:
    """A day of 5-minute candles."""
    counts = count_bars(observed.page)

    assert 270 <= counts["bars"] <= 576
    assert 10 <= counts["missing"] <= 12
    assert 12 <= counts["repaired"] <= 13
    colours = ("up", "down", "repaired", "missing")
    wait_until(lambda: min(count_pixels(observed.page, name) for name in colours) > 20)


def test_chart_type_changes_in_place(observed: MonitoredPage) -> None:
    assert count_pixels(observed.page, "accent") == 0

    observed.page.get_by_role("radio", name="Line").check(force=True)
    wait_until(lambda: count_pixels(observed.page, "accent") > 100)
    observed.page.get_by_role("radio", name="Candles").check(force=True)
    wait_until(lambda: count_pixels(observed.page, "accent") == 0)


def test_link_of_version_0_1_selects_line(browser: Browser, client: httpx.Client) -> None:
    """The fragment's "type" was "form" there."""
    with open_page(browser) as observed:
        observed.page.goto(f"{client.base_url}/#ticker=btc_usd&range=24h&interval=5m&form=line")
        expect(observed.page.locator("#chart")).to_have_attribute("data-type", "line")


def test_range_and_interval_adjust_each_other(observed: MonitoredPage) -> None:
    """A range selects its default interval. An interval too short for the range shortens it.

    The controls have what is drawn.
    """
    page = observed.page
    page.get_by_role("radio", name="All").check(force=True)
    expect(page.get_by_role("radio", name="1h", exact=True).first).not_to_be_checked()
    page.get_by_role("radio", name="30d").check(force=True)
    expect(page.locator("#interval input[value='4h']")).to_be_checked()
    page.locator("#interval input[value='1m']").check(force=True)
    expect(page.locator("#range input[value='24h']")).to_be_checked()
    wait_until(lambda: count_bars(page)["bars"] > 1300)
    expect(page.locator("#chart")).to_have_attribute("data-type", "line")  # a minute has no body
    expect(page.locator("#drawn")).to_contain_text("1m closes as a line, because a minute has one")
    expect(page.locator("#type input[value='line']")).to_be_checked()
    expect(page.locator("#type input[value='candles']")).to_be_disabled()
    assert page.evaluate("location.hash") == "#ticker=btc_usd&range=24h&interval=1m&type=candles"


def test_range_is_checked_only_while_it_is_in_view(observed: MonitoredPage) -> None:
    page = observed.page
    drawn = page.locator("#drawn").inner_text()
    assert drawn.startswith("5m candles: ")
    page.locator("#chart").focus()
    page.keyboard.press("-")
    expect(page.locator("#range input:checked")).to_have_count(0)
    expect(page.locator("#drawn")).not_to_have_text(drawn)
    page.locator("#range input[value='24h']").check(force=True)
    expect(page.locator("#drawn")).to_contain_text("5m candles")
    expect(page.locator("#range input[value='24h']")).to_be_checked()
    page.evaluate("location.hash = '#ticker=eth_usd&range=7d&interval=1h'")
    expect(page.locator("#title")).to_have_text("ETH/USD")
    expect(page.locator("#drawn")).to_contain_text("1h candles")


def test_incomplete_candles_are_up_or_down(
    observed: MonitoredPage, base_conn: psycopg.Connection
) -> None:
    """Each day lacks a minute; only the band below the candles has the colour of gaps."""
    base_conn.execute(
        "DELETE FROM prices WHERE ticker = 'eth_usd' AND created_at IN (SELECT max(created_at)"
        " - INTERVAL '3 minutes' FROM prices GROUP BY created_at::date)"
    )
    page = observed.page
    page.evaluate("location.hash = '#ticker=eth_usd&range=7d&interval=1d'")
    expect(page.locator("#drawn")).to_contain_text("1d candles")

    counts = count_bars(page)
    assert counts["partial"] >= counts["bars"] - 1 > 0  # the newest day may just have begun
    wait_until(lambda: count_pixels(page, "partial") > 20)
    assert count_pixels(page, "up") + count_pixels(page, "down") > count_pixels(page, "partial")


def test_prices_have_decimals_of_index(observed: MonitoredPage) -> None:
    """In cards, axis and table; averages of chart data have more, which titles show."""
    page = observed.page
    card = page.locator("#tickers label", has_text="TINY/USD")
    card.locator("input").check(force=True)
    expect(page.locator("#chart")).to_have_attribute("data-decimals", "8")
    assert re.fullmatch(r"0\.0000\d{4}", card.locator(".price").inner_text())
    assert re.fullmatch(r"H 0\.0000\d{4}  L 0\.0000\d{4}.*", card.locator(".extremes").inner_text())
    for price in page.locator("#newest td").all_inner_texts():
        assert re.fullmatch(r"0\.0000\d{4}", price)

    page.locator("#tickers input[value='btc_usd']").check(force=True)
    expect(page.locator("#chart")).to_have_attribute("data-decimals", "2")
    page.locator("#interval input[value='1h']").check(force=True)
    average = page.locator("#newest td[title$='00000001']").first
    assert re.fullmatch(r"[\d,]+\.\d\d", average.inner_text())


def test_change_and_volatility_are_those_of_the_minutes(
    observed: MonitoredPage, base_conn: psycopg.Connection
) -> None:
    """Of each period that is covered: the history is two days."""
    page = observed.page
    page.evaluate("location.hash = '#ticker=tiny_usd'")
    expect(page.locator("#movement")).to_have_attribute("data-ticker", "tiny_usd")
    day, week, month = page.locator("#movement li").all_inner_texts()
    stop = minute_of(datetime.now(UTC))
    query = "SELECT created_at, price FROM prices WHERE ticker = 'tiny_usd' ORDER BY created_at"
    prices: Prices = dict(base_conn.execute(query).fetchall())

    none = "\N{EN DASH}"
    assert (week, month) == (f"7 d {none} volatility {none}", f"30 d {none} volatility {none}")
    starts = [stop - timedelta(days=1, minutes=late) for late in range(3)]  # it was loaded before
    days = [{at: price for at, price in prices.items() if at >= start} for start in starts]
    assert day in [f"24 h {describe_movement(each)}" for each in days]


Prices = dict[datetime, Decimal]


def describe_movement(prices: Prices) -> str:
    """The change in percent, and the annualised volatility of adjacent minutes."""
    first, *_, last = prices.values()
    percent = (last / first - 1) * 100
    pairs = [(prices.get(at - MINUTE), price) for at, price in prices.items()]
    returns = [math.log(price / before) for before, price in pairs if before]
    volatility = math.sqrt(statistics.fmean(each**2 for each in returns) * 365 * 24 * 60)
    sign = "+" if percent > 0 else "\N{MINUS SIGN}"
    return f"{sign}{abs(percent):.2f} % volatility {100 * volatility:.1f} %"


def test_download_links_have_what_is_shown(observed: MonitoredPage, client: httpx.Client) -> None:
    """As the chart's range changes too; candles of more than a page have no link."""
    page = observed.page

    def fetch(name: str) -> httpx.Response:
        response = client.get(page.locator(f"#{name}").get_attribute("href") or "")
        assert response.status_code == 200, response.text
        return response

    for interval in ("5m", "1h"):
        page.locator(f"#interval input[value='{interval}']").check(force=True)
        expect(page.locator("#drawn")).to_contain_text(f"{interval} candles")
        candles = fetch("candles-csv").text.splitlines()[1:]
        prices = fetch("prices-csv").text.splitlines()[1:]
        samples = sum(int(line.rpartition(",")[2]) for line in candles)
        assert 0 <= len(prices) - samples <= 1  # the minute that is stored meanwhile
        assert prices[0].split(",")[3][:13] == candles[0].split(",")[0][:13]
    name = page.locator("#candles-csv").get_attribute("download")
    assert name == "btc_usd-1h.csv"
    assert fetch("prices-parquet").content[:4] == b"PAR1"
    page.locator("#interval input[value='1m']").check(force=True)
    expect(page.locator("#candles-csv")).to_be_hidden()
    expect(page.locator("#prices-csv")).to_be_visible()


# Elements that leave the screen, their panel or their card.
OVERFLOWING = """() => [...document.querySelectorAll("body *")].filter(element => {
  const box = element.getBoundingClientRect();
  if (element.closest(".visually-hidden, .skip, #chart") || !box.width) return false;
  if (getComputedStyle(element).clipPath !== "none") return false;
  const around = element.parentElement.closest(".panel, .card, body").getBoundingClientRect();
  return box.right > around.right + 0.5 || box.left < around.left - 0.5;
}).map(element => element.outerHTML.slice(0, 80))"""


def test_nothing_overflows(observed: MonitoredPage) -> None:
    """With long names and prices; the range remains in view."""
    page = observed.page
    page.evaluate("location.hash = '#ticker=a-long-index-name_usdc'")
    expect(page.locator("#title")).to_have_text("A-LONG-INDEX-NAME/USDC")
    for width in (280, 320, 390, 560, 768, 1000, 1280, 1920, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("() => new Promise(resolve => requestAnimationFrame(resolve))")
        assert page.evaluate(OVERFLOWING) == [], width
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("document.getElementById('chart').clientHeight") >= 240
        expect(page.locator("#range input[value='24h']")).to_be_checked()


def test_tabs_share_one_stream(
    browser: Browser, client: httpx.Client, base_conn: psycopg.Connection
) -> None:
    """Browsers open six connections to a host. A tab may close, or show another site."""
    wait_until(lambda: read_metric(client, "tracker_stream_clients") == 0)
    with open_page(browser) as observed:
        pages = [observed.page, *(observed.page.context.new_page() for _ in range(7))]
        for page in pages:
            load(page, client)
        assert read_metric(client, "tracker_stream_clients") == 1
        pages[0].close()
        pages[1].goto("about:blank")
        upsert_prices(base_conn, "eth_usd", {minute_of(datetime.now(UTC)): "2512.34"})
        for page in pages[2:]:
            card = page.locator("#tickers label", has_text="ETH/USD")
            expect(card.locator(".price")).to_have_text("2,512.34")


def test_card_shows_every_digit(observed: MonitoredPage, base_conn: psycopg.Connection) -> None:
    """A polled price with more decimals than those before is neither rounded nor truncated."""
    minute = minute_of(datetime.now(UTC))
    upsert_prices(base_conn, "eth_usd", {minute: "123456789012.123456789"})

    card = observed.page.locator("#tickers label", has_text="ETH/USD")
    expect(card.locator(".price")).to_have_text("123,456,789,012.123456789")
    base_conn.execute("DELETE FROM prices WHERE price > 123456789000")


def test_new_price_appears_without_reload(
    observed: MonitoredPage, base_conn: psycopg.Connection
) -> None:
    """In card, chart and table, and it is announced."""
    page = observed.page
    loads = sum(url.endswith("main.js") for url in observed.requests)
    upsert_prices(base_conn, "btc_usd", {minute_of(datetime.now(UTC)): "100123.45"})

    expect(page.locator("#tickers label").first.locator(".price")).to_have_text("100,123.45")
    expect(page.locator("#chart")).to_have_attribute("data-close", "100123.45")
    expect(page.locator("#newest tr").first.locator("td").last).to_have_text("100,123.45")
    expect(page.locator("#announcement")).to_contain_text("BTC/USD 100,123.45")
    assert sum(url.endswith("main.js") for url in observed.requests) == loads == 1


def test_repair_fills_bucket(observed: MonitoredPage, base_conn: psycopg.Connection) -> None:
    """A price for a minute that was missing hours ago."""
    before = count_bars(observed.page)
    now = minute_of(datetime.now(UTC))
    missed = now - timedelta(minutes=330)
    upsert_prices(base_conn, "btc_usd", {missed: "99999.99"}, "chart")

    wait_until(lambda: count_bars(observed.page)["missing"] < before["missing"])
    assert count_bars(observed.page)["partial"] == before["partial"] + 1


def test_service_lists_components(observed: MonitoredPage) -> None:
    """The database is up; no scheduler runs here."""
    service = observed.page.locator("#service")
    expect(service.locator("li", has_text="database").locator(".verdict")).to_have_text("up")
    expect(service.locator("li", has_text="scheduler")).to_contain_text("down")


def test_coverage_of_each_day_is_reached_by_keyboard(observed: MonitoredPage) -> None:
    page = observed.page
    today = page.locator("#days li").last
    title = today.get_attribute("title") or ""
    assert "polled" in title
    today.focus()
    page.keyboard.press("ArrowLeft")
    text = page.locator("#day").inner_text()
    assert text.endswith("not tracked")
    assert text != title


def test_empty_database_shows_first_price(browser: Browser, servers: Settings) -> None:
    """The page has no price yet; the first one appears when it is stored."""
    with (
        create_migrated_database(servers) as empty,
        serve_api(empty) as client,
        open_page(browser) as observed,
    ):
        page = observed.page
        page.goto(f"{client.base_url}/")
        expect(page.locator("#connection")).to_contain_text("Live")
        expect(page.locator("#tickers label").first).to_contain_text("no price yet")

        with psycopg.connect(empty.database_dsn) as conn:
            upsert_prices(conn, "btc_usd", {minute_of(datetime.now(UTC)): "100000.01"})
        expect(page.locator("#chart")).to_have_attribute("data-close", "100000.01")
        expect(page.locator("#tickers label").first).to_contain_text("100,000.01")
        with psycopg.connect(empty.database_dsn) as conn:  # an index that was unknown until now
            upsert_prices(conn, "later_usd", {minute_of(datetime.now(UTC)): "7.25"})
        expect(page.locator("#tickers label", has_text="LATER/USD")).to_contain_text("7.25")
        assert observed.errors == []
        page.close()


def test_page_recovers_from_outage(
    browser: Browser, base: Settings, base_conn: psycopg.Connection
) -> None:
    """The web process stops and starts: the page shows the outage, then fetches missed prices."""
    with ExitStack() as stack, open_page(browser) as observed:
        page = observed.page
        with serve_api(base) as client:
            port = client.base_url.port
            load(page, client)
        expect(page.locator("#connection")).to_contain_text(
            "Connection lost, reconnecting; last data"
        )
        expect(page.locator("#service li").first).to_contain_text("does not respond")
        upsert_prices(base_conn, "btc_usd", {minute_of(datetime.now(UTC)): "100777.77"})

        assert port is not None
        stack.enter_context(serve_api(base, port=port))
        expect(page.locator("#connection")).to_contain_text("Live")
        expect(page.locator("#chart")).to_have_attribute("data-close", "100777.77")
        expect(page.locator("#tickers label").first).to_contain_text("100,777.77")
        expect(page.locator("#service li").first.locator(".verdict")).to_have_text("up")
        assert all(
            "ERR_CONNECTION_REFUSED" in error or "ERR_INCOMPLETE" in error
            for error in observed.errors
        )
        page.close()


def test_refused_stream_is_explained(browser: Browser, base: Settings) -> None:
    with (
        serve_api(base.changed(stream_clients=1)) as client,
        client.stream("GET", "/prices/stream?ticker=btc_usd"),
        open_page(browser) as observed,
    ):
        observed.page.goto(f"{client.base_url}/")
        expect(observed.page.locator("#connection")).to_have_text(
            "Not live, updated every minute; stream: has 1 clients, the maximum"
        )
        expect(observed.page.locator("#drawn")).to_contain_text("5m candles")


def test_unknown_ticker_of_link_is_explained(browser: Browser, client: httpx.Client) -> None:
    """Parameters that others append to a link are ignored."""
    with open_page(browser) as observed:
        page = observed.page
        page.goto(f"{client.base_url}/?utm_source=x#ticker=nope_usd&range=5y")
        expect(page.locator("#notice")).to_have_text(
            "NOPE/USD is not tracked here; BTC/USD is shown."
        )
        expect(page.locator("#title")).to_have_text("BTC/USD")
        assert observed.errors == []


def test_page_without_scripts_is_explained(browser: Browser, client: httpx.Client) -> None:
    with open_page(browser, java_script_enabled=False) as observed:
        observed.page.goto(f"{client.base_url}/")
        expect(observed.page.locator("noscript p")).to_contain_text("requires JavaScript")
        expect(observed.page.locator("main")).to_be_hidden()
        expect(observed.page.locator("#connection")).to_be_hidden()
        observed.page.goto(f"{client.base_url}/docs")
        expect(observed.page.locator("noscript p")).to_contain_text("requires JavaScript")
    with open_page(browser) as observed:
        observed.page.route("**/lightweight-charts.js", lambda route: route.abort())
        observed.page.goto(f"{client.base_url}/")
        expect(observed.page.locator("#connection")).to_have_text(
            "The page cannot run: a script is missing, loading it again"
        )
        observed.page.unroute_all()
        expect(observed.page.locator("#connection")).to_contain_text("Live")


def test_axe_finds_no_serious_violation(observed: MonitoredPage) -> None:
    """Light, dark and phone; nothing is wider than the screen."""
    page = observed.page
    page.evaluate(AXE.read_text())
    for scheme, viewport in (
        ("light", DESKTOP), ("dark", DESKTOP), ("dark", PHONE), ("light", SMALL),
    ):  # fmt: skip
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(viewport)
        page.evaluate("() => new Promise(resolve => requestAnimationFrame(resolve))")
        violations: list[dict[str, Any]] = page.evaluate("axe.run().then(run => run.violations)")

        serious = [each for each in violations if each["impact"] in {"serious", "critical"}]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious] == []
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def test_tab_reaches_every_control(observed: MonitoredPage) -> None:
    """In their order, and each shows its focus."""
    page = observed.page
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUS))
        if reached[-1][0] == "licence":
            break
    assert [name for name, _ in reached] == [
        "Skip to the chart", "theme", "API", "ticker", "range", "interval", "type", "chart",
        "candles-csv", "prices-csv", "prices-parquet", "day", "TradingView", "licence",
    ]  # fmt: skip
    assert all(visible for _, visible in reached)


FOCUS = """() => {
  const focused = document.activeElement;
  const text = focused.closest("#days") ? "day" : focused.textContent.trim();
  const visible = focused.type === "radio" ? focused.nextElementSibling : focused;
  return [focused.name || focused.id || text, getComputedStyle(visible).outlineStyle !== "none"];
}"""


def test_arrow_keys_select_candles(observed: MonitoredPage, base_conn: psycopg.Connection) -> None:
    """A new bar does not change the selection. Escape returns to the newest candle."""
    base_conn.execute("DELETE FROM prices WHERE created_at > now() - INTERVAL '1 minute'")
    page = observed.page
    page.locator("#interval input[value='1m']").check(force=True)
    expect(page.locator("#drawn")).to_contain_text("1m closes")
    candle = page.locator("#candle span").first
    page.locator("#chart").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#announcement")).to_contain_text("UTC")  # a late minute may have no price
    selected = candle.inner_text()

    upsert_prices(base_conn, "btc_usd", {minute_of(datetime.now(UTC)): "100456.78"})
    expect(page.locator("#chart")).to_have_attribute("data-close", "100456.78")
    expect(candle).to_have_text(selected)
    page.keyboard.press("Escape")
    expect(candle).not_to_have_text(selected)
    expect(page.locator("#candle")).to_contain_text("100,456.78")


def test_theme_survives_reload(observed: MonitoredPage) -> None:
    """The selected theme overrides the system's."""
    background = "getComputedStyle(document.body).backgroundColor"
    light = observed.page.evaluate(background)
    observed.page.get_by_role("radio", name="Dark").check(force=True)
    dark = observed.page.evaluate(background)
    observed.page.reload()
    assert observed.page.evaluate(background) == dark != light


def test_docs_comply_with_content_security_policy(browser: Browser, client: httpx.Client) -> None:
    """Swagger UI renders the document and sends a request, to no other host."""
    with open_page(browser) as observed:
        page = observed.page
        page.goto(f"{client.base_url}/docs")
        expect(page.locator(".opblock").first).to_be_visible()
        page.locator("#operations-service-get_liveness .opblock-summary-control").click()
        page.locator("#operations-service-get_liveness .execute").click()
        response = page.locator("#operations-service-get_liveness .response").first
        expect(response).to_contain_text("live")
        assert observed.errors == []
        assert observed.hosts() == {client.base_url.netloc.decode()}
