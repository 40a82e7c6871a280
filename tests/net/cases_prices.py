"""Requests for prices: pages, the newest, the one of a moment, exports."""

from tests.net.requests import Case, get

MOMENT = "2026-03-28T10:00:00Z"
RANGE = "start_date=2026-03-28T10:05:00Z&end_date=2026-03-28T10:00:00Z"  # newest first
UP = "start_date=2026-03-28T10:00:00Z&end_date=2026-03-28T10:05:00Z"

# Every path that takes a ticker, with parameters that give a short, fixed response.
READING = {
    "/prices": f"{RANGE}&limit=3",
    "/prices/last": "",
    "/prices/filtered": f"date={MOMENT}",
    "/prices/export": UP,
    "/prices/gaps": "start_date=2026-03-28T00:00:00Z&end_date=2026-03-29T00:00:00Z&limit=3",
    "/prices/candles": "start_date=2026-03-28T00:00:00Z&end_date=2026-03-28T03:00:00Z",
    "/prices/coverage": "start_date=2026-03-28T00:00:00Z&end_date=2026-03-28T03:00:00Z",
    # One minute: the last digits of logarithms may differ between processors.
    "/prices/stats": "start_date=2026-03-28T10:00:00Z&end_date=2026-03-28T10:01:00Z",
}

BAD_TICKERS = (
    "ticker=",
    "ticker=BTC_USD",
    "ticker=btc",
    "ticker=btc_usd,eth_usd",
    "ticker=doge_usd",
    "ticker=%20btc_usd",
    "ticker=btc_usd%00",
    "ticker=btc_usd%0A",
    "ticker=b%D1%82c_usd",
    "ticker=%F0%9F%92%B0_usd",
    "ticker=%FF_usd",
    f"ticker={'a' * 120}_usd",
    "ticker=btc_usd&ticker=btc_usd",
    "ticker=btc_usd&ticker=eth_usd",
    "Ticker=btc_usd",
    "ticker[]=btc_usd",
    "ticker",
)

# Moments as clients write them, good and bad.
DATES = (
    "2026-03-28T10:00:00Z",
    "2026-03-28T10:00:00z",
    "2026-03-28t10:00:00z",
    "2026-03-28T10:00:00.000Z",
    "2026-03-28T10:00:59.999999Z",
    "2026-03-28T10:00:59.9999999999Z",
    "2026-03-28T10:00:00,5Z",
    "2026-03-28T10:00Z",
    "2026-03-28T10Z",
    "2026-03-28T10:00:00",
    "2026-03-28T10:00",
    "2026-03-28",
    "2026-03-28Z",
    "20260328T100000Z",
    "20260328T1000",
    "20260328",
    "2026-W13-6",
    "2026-W13",
    "2026W136",
    "2026-W13-6T10:00Z",
    "2026-087",
    "2026-03-28%2010:00:00",
    "2026-03-28+10:00:00",
    "2026-03-28T11:00:00%2B01:00",
    "2026-03-28T11:00:00+01:00",
    "2026-03-28T11:00:00%2B01",
    "2026-03-28T11:00:00%2B0100",
    "2026-03-28T05:00:00-05:00",
    "2026-03-28T10:00:00-00:00",
    "2026-03-28T10:00:00%20Z",
    "%20%202026-03-28T10:00:00Z%20",
    "2026-03-28T09:59:60Z",
    "2026-03-28T24:00:00Z",
    "2026-03-28T25:00:00Z",
    "2026-02-29",
    "2024-02-29T12:00Z",
    "2026-13-01",
    "2026-03-32",
    "28.03.2026",
    "03/28/2026",
    "1774692000",
    "1774692000.5",
    "1774692000000",
    "1774692000000000",
    "1774692000000000000",
    "17746920000000000000",
    "1.774692e9",
    "%2B1774692000",
    "-1",
    "0",
    "1e999",
    "1e-3",
    "0x10",
    "NaN",
    "Infinity",
    "now",
    "today",
    "yesterday",
    "",
    "%00",
    "%D9%A1%D9%A2",
    "%E2%80%AE2026",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00%2B01:00",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-01:00",
    "10000-01-01T00:00:00Z",
    "-0001-01-01T00:00:00Z",
    "x" * 100,
)
SOME_DATES = ("2026-03-28T10:00:00Z", "1774692000", "2026-03-28+10:00", "2026-03-28", "", "never")

FORMATS = ("json", "csv", "ndjson", "", "JSON", "xml", "json,csv", "json&format=csv")
INCLUDES = (
    "source",
    "observed_at",
    "source,observed_at",
    "observed_at,source",
    "source,source",
    "source&include=observed_at",
    "",
    "source,",
    "price",
    "Source",
    "source,%20observed_at",
)
ACCEPTS = (
    "*/*",
    "application/json",
    "text/csv",
    "application/x-ndjson",
    "text/*",
    "application/*",
    "TEXT/CSV",
    "text/csv;q=0.5, application/json;q=0.4",
    "text/csv;q=0.4, application/json;q=0.5",
    "text/csv;q=0, */*",
    "application/json;q=0, text/csv;q=0, application/x-ndjson",
    "*/*;q=0",
    "text/csv;q=1.5",
    "text/csv;q=abc, application/json;q=0.9",
    "text/csv;header=present",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "text/html",
    "application/xml, image/png",
    "application/json;q=0.001, text/html",
    ",,",
    "nonsense",
)
LIMITS = (
    *("1", "2", "50", "1000", "007", "0", "-1", "1001", "1e2", "1.0", "+5", "%2B5", "", "abc"),
    *("999999999", "9999999999", "%D9%A3", "5%20", "5&limit=5"),
)
ORDERS = ("asc", "desc", "ASC", "", "up", "asc&order=asc")
TOLERANCES = ("0", "59", "60", "86400", "86401", "-1", "", "1h", "60&tolerance=60")


def ticker_cases() -> list[Case]:
    """Every path that takes a ticker: good ones, bad ones, none, and a parameter it lacks."""
    found = []
    for path, query in READING.items():
        rest = f"&{query}" if query else ""
        found += [get(f"{path}?ticker={name}{rest}") for name in ("btc_usd", "tiny-coin_usdc")]
        found += [get(f"/v1{path}?ticker=eth_usd{rest}"), get(f"{path}?ticker=%62tc%5Fusd{rest}")]
        found += [get(f"{path}?{query}"), get(f"{path}?ticker=btc_usd&page=2{rest}")]
        found += [get(f"{path}?&ticker=btc_usd&{rest}"), get(f"{path}?ticker=btc_usd{rest}#part")]
        found += [get(f"{path}?{name}{rest}") for name in BAD_TICKERS]
    return found


def format_cases() -> list[Case]:
    """Every path with formats, by parameter and by Accept."""
    found = []
    for path, query in READING.items():
        url = f"{path}?ticker=btc_usd&{query}"
        found += [get(f"{url}&format={name}") for name in FORMATS]
        few = ACCEPTS if path in {"/prices", "/prices/export"} else ACCEPTS[2:4] + ACCEPTS[16:17]
        found += [get(url, Accept=accept) for accept in few]
    found += [
        get(f"/prices?ticker=btc_usd&{READING['/prices']}&format=csv", Accept="application/json"),
        get(f"/prices?ticker=btc_usd&{READING['/prices']}&format=csv", Accept="image/png"),
    ]
    found += [get("/tickers", Accept=accept) for accept in ACCEPTS[:4] + ACCEPTS[16:17]]
    found += [get(f"/tickers?format={name}") for name in FORMATS]
    return found


def page_cases() -> list[Case]:
    """GET /prices: ranges, order, limits, cursors, further columns."""
    url = "/prices?ticker=btc_usd"
    some = f"{url}&{RANGE}"
    found = [get(f"{some}&limit={limit}") for limit in LIMITS]
    found += [get(f"{url}&{UP}&order={order}") for order in ORDERS]
    found += [get(f"{some}&order={order}&limit=3") for order in ORDERS[:2]]
    found += [get(f"{some}&limit=2&include={names}") for names in INCLUDES]
    for name in ("start_date", "end_date", "before", "after"):
        found += [get(f"{url}&limit=2&{name}={date}") for date in SOME_DATES]
        found += [get(f"{url}&limit=2&order=asc&{name}={MOMENT}")]
        found += [get(f"{url}&limit=2&{name}={MOMENT}&{name}={MOMENT}")]
    found += [
        get("/prices?ticker=btc_usd"),
        get("/prices?ticker=btc_usd&order=asc"),
        get("/prices?ticker=btc_usd&limit=1000"),
        get("/prices?ticker=tiny-coin_usdc&limit=3"),
        get("/prices?ticker=tiny-coin_usdc&limit=3&order=asc&include=source,observed_at"),
        get(f"{url}&start_date={MOMENT}&end_date={MOMENT}"),
        get(f"{url}&start_date=2024-02-29T12:00Z&end_date=2024-02-29T11:00Z"),
        get(f"{url}&start_date=2026-03-28T05:00Z&end_date=2026-03-28T02:30Z&limit=4"),
        get(f"{url}&start_date=1969-01-01&end_date=0001-01-01"),
        get(f"{url}&start_date=9999-12-31T23:59:59Z&limit=2"),
        get(f"{url}&order=asc&start_date=9999-12-31T23:59Z"),
        get(f"{url}&order=asc&start_date=0001-01-01&limit=2"),
        get(f"{url}&end_date=9999-12-31T23:59Z"),
        get(f"{some}&limit=2&before=2026-03-28T10:04:00Z"),
        get(f"{some}&limit=2&after=2026-03-28T10:01:00Z"),
        get(f"{some}&before=2026-03-28T10:04:30Z&after=2026-03-28T10:00:30Z"),
        get(f"{some}&limit=2&before=2026-03-28T10:01:00Z&after=2026-03-28T10:04:00Z"),
        get(f"{some}&before=0001-01-01T00:00Z"),
        get(f"{some}&after=9999-12-31T23:59Z"),
        get(f"{url}&{UP}&order=asc&limit=2&after=2026-03-28T10:01:00Z"),
        get(f"{url}&{UP}&order=asc&limit=2&before=2026-03-28T10:04:00Z"),
        get(f"{url}&limit=0&order=up&start_date=x&end_date=y&include=z&format=w&q=v&before=u"),
        get(f"{url}&limit=2&l%C3%A9=1"),
        get(f"{url}&limit=2&{'n' * 80}=1"),
        get(f"{url}&limit=2&=1"),
        get(f"{url};limit=2"),
        get(f"{url}&limit=2&start_date=2026-03-28T10:00:00%2B02:00"),
        get(f"{url}&limit=2&start_date=%32026-03-28T10%3A00"),
        get(f"{url}&limit=2&start_date=2026-03-28T10:00:00Z&order=desc&format=ndjson"),
        get(f"{url}&limit=2&start_date=2026-03-28T10:00:00Z&include=source&format=csv"),
    ]
    return found


def snapshot_cases() -> list[Case]:
    """GET /prices/latest and /prices/at: a price of each of many indexes."""
    latest, at = "/prices/latest", f"/prices/at?date={MOMENT}"
    hole = "/prices/at?date=2026-03-28T04:30:00Z"  # in the middle of three hours of btc_usd
    found = [get(f"{latest}?{name}") for name in BAD_TICKERS]
    found += [get(f"{latest}?ticker=tiny-coin_usdc,btc_usd&include={names}") for names in INCLUDES]
    found += [get(f"{latest}?format={name}") for name in FORMATS]
    found += [get(f"{latest}?ticker=btc_usd", Accept=accept) for accept in ACCEPTS[2:4]]
    found += [get(f"/prices/at?date={date}") for date in SOME_DATES[1:]]
    found += [get(f"{hole}&tolerance={seconds}") for seconds in (*TOLERANCES, "5400", "5399")]
    found += [
        get(latest),
        Case(f"/v1{latest}", method="HEAD", varies=True),
        get(f"{latest}?limit=2"),
        get(f"{latest}?ticker=eth_usd&ticker=btc_usd"),
        get(at),
        get(f"/v1{at}&ticker=eth_usd,btc_usd&include=source&format=csv"),
        get("/prices/at"),
        get("/prices/at?date=2026-03-28T10:00:59.999999Z&ticker=btc_usd&format=ndjson"),
        get("/prices/at?date=2026-03-28T09:59:59.999999Z&ticker=btc_usd&tolerance=1"),
        get("/prices/at?date=0001-01-01T00:00:00Z&tolerance=86400"),
        get("/prices/at?date=9999-12-31T23:59:59Z&tolerance=86400"),
        get("/prices/at?date=2024-02-29T12:00:30Z&ticker=btc_usd,eth_usd"),
        get("/prices/at?date=x&ticker=BTC&tolerance=y&format=z"),
    ]
    return found


def moment_cases() -> list[Case]:
    """GET /prices/filtered: every form of a moment; how far a price may lie away."""
    url = "/prices/filtered?ticker=btc_usd"
    hole = "date=2026-03-28T04:30:00Z"  # in the middle of three hours without a price
    found = [get(f"{url}&date={date}") for date in DATES]
    found += [get(f"{url}&{hole}&tolerance={seconds}") for seconds in TOLERANCES]
    found += [get(f"{url}&date={MOMENT}&include={names}") for names in INCLUDES]
    found += [
        get(url),
        get("/prices/filtered"),
        get(f"{url}&date={MOMENT}&date={MOMENT}"),
        get(f"{url}&{hole}"),
        get(f"{url}&{hole}&tolerance=7200"),
        get(f"{url}&{hole}&tolerance=5399"),
        get(f"{url}&{hole}&tolerance=5400"),
        get(f"{url}&date=2026-03-28T02:59:30Z&tolerance=30"),
        get(f"{url}&date=2026-03-27T23:00:20Z&tolerance=30&include=source"),
        get(f"{url}&date=2026-03-27T23:00:50Z&tolerance=30"),
        get(f"{url}&date=0001-01-01T00:00:00Z&tolerance=86400"),
        get(f"{url}&date=9999-12-31T23:59:59Z&tolerance=86400"),
        get(f"{url}&{hole}&tolerance=7200&format=csv"),
        get(f"{url}&{hole}&tolerance=7200&format=ndjson&include=observed_at"),
        get("/prices/filtered?ticker=doge_usd&date=2026-03-28"),
        get("/prices/filtered?ticker=BTC&date=x&tolerance=y"),
    ]
    found += [get(f"/prices/last?ticker=eth_usd&include={names}") for names in INCLUDES]
    return found


def export_cases() -> list[Case]:
    """GET /prices/export: formats, columns, ranges."""
    url = "/prices/export?ticker=btc_usd"
    found = [get(f"{url}&{UP}&include={names}") for names in INCLUDES]
    for name in ("start_date", "end_date"):
        other = (
            "end_date=2026-03-28T10:02Z" if name == "start_date" else "start_date=2026-03-28T09:58Z"
        )
        found += [get(f"{url}&{other}&{name}={date}") for date in SOME_DATES]
    found += [
        get(url),
        get("/prices/export?ticker=eth_usd&format=ndjson"),
        get("/prices/export?ticker=tiny-coin_usdc&include=source,observed_at"),
        get("/prices/export?ticker=tiny-coin_usdc&format=ndjson&include=source"),
        get(f"{url}&start_date={MOMENT}&end_date={MOMENT}"),
        get(f"{url}&start_date={MOMENT}&end_date={MOMENT}&format=ndjson"),
        get(f"{url}&start_date=2030-01-01&end_date=2031-01-01"),
        get(f"{url}&start_date=2026-03-28T10:05:00Z&end_date=2026-03-28T10:00:00Z"),
        get(f"{url}&end_date=2024-03-01"),
        get(f"{url}&limit=5"),
        get(f"{url}&{UP}&order=asc"),
        get(f"{url}&{UP}", method="HEAD"),
        get(f"{url}&{UP}&format=ndjson", method="HEAD"),
        get(f"{url}&{UP}", Accept_Encoding="gzip"),
        get(f"{url}&{UP}", If_None_Match="*"),
        get(f"{url}&{UP}", Range="bytes=0-10"),
    ]
    return found
