"""Requests for series: candles, gaps, coverage, and the protocol of charting libraries."""

from tests.net.cases_prices import LIMITS, ORDERS, SOME_DATES
from tests.net.requests import Case, get, varying

INTERVALS = (
    *("1m", "5m", "15m", "30m", "1h", "2h", "3h", "4h", "6h", "8h", "12h"),
    *("1d", "3d", "1w", "1M", "1Q", "1Y"),
)
BAD_INTERVALS = ("", "1H", "1y", "5h", "2d", "60", "1min", "1h&interval=1h")
ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"),
    *("Asia/Kathmandu", "Pacific/Apia", "Etc/GMT+5", "Etc/GMT%2B5", "America/St_Johns"),
)
BAD_ZONES = (
    "",
    "Berlin",
    "europe/berlin",
    "localtime",
    "CET%2B1",
    "+01:00",
    "../etc/passwd",
    "%00",
)
DAYS = "start_date=2026-03-27&end_date=2026-04-01"
RESOLUTIONS = (
    *("1", "5", "15", "30", "60", "120", "180", "240", "360", "480", "720"),
    *("1D", "3D", "1W", "1M", "3M", "12M", "D", "W", "M"),
)
BAD_RESOLUTIONS = ("", "1d", "2", "1h", "60&resolution=60")


def candle_cases() -> list[Case]:
    """GET /prices/candles: every interval in both orders, zones, edges, cursors."""
    url = "/prices/candles?ticker=btc_usd"
    found = [
        get(f"{url}&{DAYS}&interval={interval}&order={order}&limit=6")
        for interval in INTERVALS
        for order in ("desc", "asc")
    ]
    found += [get(f"{url}&interval={interval}&limit=3") for interval in INTERVALS]
    found += [get(f"{url}&{DAYS}&interval={interval}") for interval in BAD_INTERVALS]
    found += [
        get(f"{url}&{DAYS}&interval={interval}&tz={zone}&limit=6")
        for zone in ZONES
        for interval in ("1h", "1d")
    ]
    found += [
        get(f"{url}&interval={interval}&tz={zone}&end_date=2026-04-01&limit=8&order=asc")
        for zone in ZONES[:3]
        for interval in ("3d", "1w", "1M", "1Q", "1Y")
    ]
    found += [get(f"{url}&{DAYS}&interval=1d&tz={zone}") for zone in BAD_ZONES]
    found += [get(f"{url}&{DAYS}&interval=1d&limit={limit}") for limit in LIMITS]
    found += [get(f"{url}&{DAYS}&interval=1d&order={order}") for order in ORDERS]
    for name in ("start_date", "end_date", "before", "after"):
        found += [get(f"{url}&limit=2&{name}={date}") for date in SOME_DATES]
        found += [get(f"{url}&interval=1d&tz=Europe/Berlin&limit=2&{name}=2026-03-29T12:00Z")]
    found += [
        get(f"{url}"),
        get(f"{url}&order=asc"),
        get("/prices/candles?ticker=tiny-coin_usdc&interval=1h&limit=3"),
        get("/prices/candles?ticker=tiny-coin_usdc&interval=1m&limit=3"),
        get("/prices/candles?ticker=eth_usd&interval=4h&limit=3&format=csv"),
        get("/prices/candles?ticker=eth_usd&interval=4h&limit=3&format=ndjson"),
        get(f"{url}&interval=1d&tz=Europe/Berlin&{DAYS}&format=csv"),
        get(f"{url}&start_date=2026-03-28T10:30Z&end_date=2026-03-28T11:30Z&interval=1h"),
        get(f"{url}&start_date=2026-03-28T10:30:01Z&end_date=2026-03-28T10:33Z&interval=1m"),
        get(f"{url}&start_date=2026-04-01&end_date=2026-03-27&interval=1h"),
        get(f"{url}&start_date=0001-01-01&interval=1d&order=asc&limit=2"),
        get(f"{url}&end_date=9999-12-31T23:59Z&interval=1M&limit=2"),
        get(f"{url}&start_date=0001-01-01&end_date=0001-02-01&tz=Pacific/Apia&interval=1M"),
        get(f"{url}&before=0001-01-01"),
        get(f"{url}&after=9999-12-31T23:59:59Z"),
        get(f"{url}&{DAYS}&interval=1h&limit=2&before=2026-03-28T10:00Z"),
        get(f"{url}&{DAYS}&interval=1h&limit=2&after=2026-03-28T10:00Z"),
        get(f"{url}&{DAYS}&interval=1h&limit=2&after=2026-03-28T10:00Z&before=2026-03-28T13:00Z"),
        get(f"{url}&include=source"),
        get(f"{url}&interval=x&tz=y&limit=z&order=w&start_date=v&after=u&format=t&s=r"),
    ]
    return found


def missing_cases() -> list[Case]:
    """GET /prices/gaps and /prices/coverage: windows, limits, intervals."""
    found: list[Case] = []
    for path in ("/prices/gaps", "/prices/coverage"):
        url = f"{path}?ticker=btc_usd"
        found += [get(f"{url}&{DAYS}&limit={limit}") for limit in LIMITS]
        for name, rest in (
            ("start_date", "end_date=2026-03-28T12:00Z"),
            ("end_date", "start_date=2026-03-28T06:00Z"),
        ):
            found += [get(f"{url}&limit=3&{rest}&{name}={date}") for date in SOME_DATES]
        found += [
            varying(url),
            varying(f"{url}&limit=2&format=csv"),
            varying(f"{url}&limit=2&format=ndjson"),
            varying(f"{url}&end_date=9999-12-31T23:59Z&limit=2"),
            varying(f"{url}&start_date=2026-03-28&limit=2"),
            get(f"{url}&{DAYS}"),
            get(f"{url}&{DAYS}&limit=4&format=csv"),
            get(f"{url}&{DAYS}&limit=4&format=ndjson"),
            varying(f"{url}&start_date=9999-12-31T23:59Z&end_date=9999-12-31T23:59Z"),
            get(f"{url}&start_date=2026-03-28&end_date=2026-03-28"),
            get(f"{url}&start_date=2026-03-29&end_date=2026-03-28"),
            get(f"{url}&end_date=2024-02-29T12:00Z"),
            get(f"{url}&end_date=2024-02-29T12:03Z"),
            get(f"{url}&end_date=0001-01-01"),
            get(f"{url}&start_date=2026-03-28T02:58:30Z&end_date=2026-03-28T06:01:30Z"),
            get(f"{url}&start_date=2026-03-27T22:30Z&end_date=2026-03-28T00:07Z"),
            get(f"{url}&order=asc"),
            get(f"{url}&before=2026-03-28"),
            get(f"{url}&include=source"),
            get(f"{path}?ticker=eth_usd&{DAYS}&limit=5"),
            get(f"{path}?ticker=tiny-coin_usdc&{DAYS}&limit=5"),
        ]
    url = "/prices/coverage?ticker=btc_usd"
    found += [get(f"{url}&{DAYS}&limit=6&interval={each}") for each in (*INTERVALS, *BAD_INTERVALS)]
    found += [
        get(f"{url}&interval=1d&start_date=2026-03-28T06:30Z&end_date=2026-03-30T18:15Z"),
        get(f"{url}&interval=1d&tz=Europe/Berlin"),
        get(f"/prices/gaps?ticker=btc_usd&{DAYS}&interval=1h"),
        varying(f"{url}&interval=1d&limit=3"),
    ]
    return found


def filled_cases() -> list[Case]:
    """GET /prices and /prices/candles with fill: orders, cursors, formats, what it needs."""
    found: list[Case] = []
    minutes = "start_date=2026-03-28T02:55Z&end_date=2026-03-28T06:05Z"
    for url in ("/prices?ticker=btc_usd", "/prices/candles?ticker=btc_usd&interval=15m"):
        found += [
            get(f"{url}&{minutes}&fill={fill}&order={order}&limit=12")
            for fill in ("null", "previous")
            for order in ("desc", "asc")
        ]
        found += [
            get(f"{url}&{minutes}&fill=previous&limit=2&{cursor}")
            for cursor in (
                *("before=2026-03-28T03:30Z", "after=2026-03-28T03:30Z"),
                *("before=2026-03-28T02:55Z", "after=2026-03-28T06:04Z"),
            )
        ]
        found += [
            get(f"{url}&{minutes}&fill=previous&limit=3&format={name}")
            for name in ("csv", "ndjson")
        ]
        found += [
            get(f"{url}&{minutes}&fill={fill}") for fill in ("", "none", "0", "null&fill=null")
        ]
        found += [
            get(f"{url}&fill=null"),
            get(f"{url}&fill=null&start_date=2026-03-28T02:55Z"),
            get(f"{url}&fill=null&end_date=2026-03-28T02:55Z"),
            get(f"{url}&fill=null&start_date=2026-03-28&end_date=2026-03-28"),
            get(f"{url}&fill=null&start_date=9990-01-01&end_date=9999-01-01"),
            get(f"{url}&fill=null&start_date=0001-01-01&end_date=2026-04-01&order=asc&limit=1"),
        ]
    url = "/prices?ticker=btc_usd"
    found += [get(f"{url}&{minutes}&fill=null&limit=2&include=source,observed_at")]
    found += [get(f"/prices/candles?ticker=btc_usd&{minutes}&fill=null&format=parquet")]
    return found


def statistics_cases() -> list[Case]:
    """GET /prices/stats: bounds, of a minute or none, because logarithms are not exact."""
    url = "/prices/stats?ticker=btc_usd"
    return [
        get(f"{url}&start_date=2026-03-28T10:00:00.000001Z&end_date=2026-03-28T10:01:30Z"),
        get(f"{url}&start_date=2026-03-28T10:01Z&end_date=2026-03-28T10:00Z"),
        get(f"{url}&start_date=2026-03-28T10:00Z&end_date=2026-03-28T10:00Z"),
        get(f"{url}&start_date=2026-03-28T10:00Z&end_date=2026-03-28T10:01Z&format=ndjson"),
        get(f"{url}&start_date=2020-01-01&end_date=2020-02-01"),
        get(f"{url}&start_date=2020-01-01&end_date=2020-02-01&format=csv"),
        get(f"{url}&end_date=0001-01-01"),
        get(f"{url}&start_date=2020-01-01"),
        get(f"{url}&start_date=2020-01-01&end_date=2021-01-01T00:01Z"),
        get(f"{url}&start_date=soon&end_date="),
        get(f"{url}&limit=5&order=asc"),
        varying(url),
    ]


def chart_cases() -> list[Case]:
    """The UDF protocol: configuration, symbols, search, history."""
    found = [get("/udf/config"), get("/udf/config?any=thing"), varying("/udf/time")]
    found += [
        get(f"/udf/symbols?{query}")
        for query in (
            *(
                "symbol=btc_usd",
                "symbol=BTC_USD",
                "symbol=DERIBIT:BTC_USD",
                "symbol=deribit:eth_usd",
            ),
            *("symbol=tiny-coin_usdc", "symbol=doge_usd", "symbol=", "", "symbol=btc"),
            *("symbol=DERIBIT:DERIBIT:BTC_USD", "symbol=btc_usd&symbol=btc_usd"),
            *("symbol=btc_usd&any=thing", "symbol=%FF", "symbol=NYSE:BTC_USD", "ticker=btc_usd"),
        )
    ]
    found += [
        get(f"/udf/search?{query}")
        for query in (
            *("", "query=", "query=btc", "query=BTC", "query=DERIBIT:B", "query=%20usd%20"),
            *("query=index", "query=nothing", "query=usd&limit=1", "query=usd&limit=0"),
            *("query=usd&limit=-1", "query=usd&limit=x", "query=usd&limit=", "limit=99999999999"),
            *("query=usd&type=index", "query=usd&type=crypto", "query=usd&exchange=DERIBIT"),
            *("query=usd&exchange=deribit", "query=usd&exchange=NYSE", "query=a&query=b", "x=y"),
        )
    ]
    url = "/udf/history?symbol=BTC_USD"
    days = "from=1774656000&to=1775001600"
    found += [get(f"{url}&resolution={each}&{days}") for each in (*RESOLUTIONS, *BAD_RESOLUTIONS)]
    found += [
        get(f"{url}&resolution=60&to=1774692000&countback={count}")
        for count in ("0", "1", "3", "003", "99999999999", "-1", "x", "")
    ]
    found += [
        get(f"{url}&resolution=60"),
        get(f"{url}&{days}"),
        get(f"/udf/history?resolution=60&{days}"),
        get(f"/udf/history?symbol=doge_usd&resolution=60&{days}"),
        get(f"/udf/history?symbol=doge_usd&resolution=x&{days}"),
        get(f"/udf/history?symbol=tiny-coin_usdc&resolution=240&{days}"),
        get(f"{url}&resolution=60&from=1774692000&to=1774688400"),
        get(f"{url}&resolution=60&from=1774692000&to=1774692000"),
        get(f"{url}&resolution=60&from=x&to=y"),
        get(f"{url}&resolution=60&from=2026-03-28T08:00Z&to=2026-03-28T10:00Z"),
        get(f"{url}&resolution=60&from=1774669000&to=1774674000"),
        get(f"{url}&resolution=1&from=1774667000&to=1774668000"),
        get(f"{url}&resolution=60&from=1735689600&to=1735776000"),
        get(f"{url}&resolution=60&from=0&to=1"),
        get(f"{url}&resolution=60&from=1700000000&to=1774692000&countback=2"),
        get(f"{url}&resolution=60&from=32503680000&to=32503690000"),
        get(f"{url}&resolution=60&{days}&any=thing"),
        get(f"{url}&resolution=1D&{days}", method="HEAD"),
        get(f"{url}&resolution=1D&{days}", Accept="text/csv"),
        get("/v1/udf/history?symbol=eth_usd&resolution=1D&to=1774800000&countback=2"),
    ]
    return found
