"""Requests about HTTP itself: methods, paths, conditions, origins, encodings, malformed ones."""

from dataclasses import replace

from tests.net.cases_prices import MOMENT, READING
from tests.net.requests import Case, get, varying

PREFIXES = ("", "/v1")
PLAIN_PATHS = (
    *("/tickers", "/udf/config", "/udf/symbols?symbol=btc_usd", "/udf/search", "/health/live"),
    *("/openapi.json", "/docs", "/", "/page/style.css"),
)
VARYING_PATHS = ("/health/ready", "/health/state", "/udf/time")
PRICES = "/prices?ticker=btc_usd&start_date=2026-03-28T10:05:00Z&limit=3"
LONG = "/prices?ticker=btc_usd&start_date=2026-03-28T10:05:00Z&limit=40"  # worth packing
ORIGIN = "https://app.example.org"


def urls() -> list[str]:
    """An address of every path that responds at once, without the version."""
    return [f"{path}?ticker=btc_usd&{query}" for path, query in READING.items()] + [*PLAIN_PATHS]


def method_cases() -> list[Case]:
    """Every path bare and under the version, by every method."""
    found = []
    for prefix in PREFIXES:
        found += [get(f"{prefix}{url}") for url in PLAIN_PATHS]
        found += [replace(get(f"{prefix}/problems"), is_text=True)]
        found += [varying(f"{prefix}{url}") for url in VARYING_PATHS]
    for url in urls():
        found += [get(url, method=method) for method in ("HEAD", "OPTIONS", "POST")]
    found += [varying(url, method="HEAD") for url in (*VARYING_PATHS, "/metrics")]
    found += [replace(get("/problems", method="HEAD"), is_text=True)]
    others = ("PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get", "BREW")
    found += [get(PRICES, method=method) for method in others]
    found += [get("/tickers", method=method) for method in others[:3]]
    found += [get("/nothing", method=method) for method in ("HEAD", "OPTIONS", "POST", "DELETE")]
    found += [get("/prices/stream?ticker=btc_usd", method=each) for each in ("POST", "OPTIONS")]
    found += [get("/prices?ticker=btc_usd&limit=0", method="HEAD")]
    found += [get("/prices/filtered?ticker=btc_usd&date=2025-01-01", method="HEAD")]
    return found


def path_cases() -> list[Case]:
    """Paths that nearly are, that are not, and that are written in other ways."""
    query = "?ticker=btc_usd&limit=1"
    targets = (
        *("/prices/", "//prices", "/prices//last", "/v1//prices", "/v1/prices/", "/V1/prices"),
        *("/v2/prices", "/v1/v1/prices", "/v1", "/v1/", "/PRICES", "/price", "/prices/none"),
        *("/prices/last/", "/%70rices", "/prices%2Flast", "/prices%2flast", "/prices%20"),
        *("/prices%00", "/./prices", "/../prices", "/prices/../prices", "/prices/./last"),
        *("/prices;v=1", "/prices%3Fticker=btc_usd", "/pric%C3%A9s", "/%FF", "/prices.json"),
    )
    found = [get(f"{target}{query}") for target in targets]
    found += [
        get(target)
        for target in (
            *("/favicon.ico", "/robots.txt", "/udf", "/udf/", "/udf/marks", "/health", "/health/"),
            *("/health/other", "/metrics/", "/openapi.yaml", "/docs/", "/redoc", "/page", "/page/"),
            *("/page/none.js", "/page/index.html", "/page/docs.html", "/page/../index.html"),
            *("/page/..%2Findex.html", "/page/%2e%2e/app.py", "/page/style.css/", "/page/icon.svg"),
            *("/page/style.css?v=1", "/page/STYLE.css", "/page/__init__.py", "/?x=1", "/docs?x=1"),
            *("/problems?x=1", "/openapi.json?x=1", "/metrics?x=1", "/health/live?x=1"),
            *("/health/ready?x=1", "/health/state?x=1", "/tickers?x=1", "/tickers?ticker=btc_usd"),
            *("/tickers?format=csv&x=1", "/index.html", "/.env", "/%2e%2e/%2e%2e/etc/passwd"),
        )
    ]
    found += [get(f"http://other.example{PRICES}"), get("*", method="OPTIONS"), get("prices")]
    return found


def condition_cases(etag: str, packed_etag: str) -> list[Case]:
    """If-None-Match against the ETags of PRICES, and of LONG with gzip."""
    other = '"0123456789abcdef0123456789abcdef"'
    tags = (
        *(etag, f"W/{etag}", "*", f"{other}, {etag}", f"{etag},{other}", f"W/{other}, W/{etag}"),
        *(other, f"W/{other}", etag.strip('"'), f"{etag[:-1]}", "", '""', "nonsense", f"{other} *"),
        packed_etag,
    )
    found = [get(PRICES, If_None_Match=tag) for tag in tags]
    found += [get(PRICES, "HEAD", If_None_Match=tag) for tag in tags[:3]]
    found += [
        Case(PRICES, headers=(("If-None-Match", other), ("If-None-Match", etag))),
        Case(PRICES, headers=(("If-None-Match", etag), ("Accept", "text/csv"))),
        Case(PRICES, headers=(("If-None-Match", etag), ("Origin", ORIGIN))),
        Case(LONG, headers=(("If-None-Match", packed_etag), ("Accept-Encoding", "gzip"))),
        Case(LONG, headers=(("If-None-Match", packed_etag),)),
        get(PRICES, If_Match=other),
        get(PRICES, If_Modified_Since="Wed, 25 Nov 2026 00:00:00 GMT"),
        get(PRICES, If_Unmodified_Since="Wed, 25 Nov 2020 00:00:00 GMT"),
        get(PRICES, Range="bytes=0-9"),
        get(PRICES, Cache_Control="no-cache"),
    ]
    found += [get(url, If_None_Match="*") for url in urls()]
    found += [
        get(url, If_None_Match="*") for url in ("/health/live", "/nothing") if url not in urls()
    ]
    found += [get("/prices?ticker=btc_usd&limit=0", If_None_Match="*")]
    return found


def origin_cases() -> list[Case]:
    """Simple and preflight requests of browsers, where any origin may read."""
    found = [get(url, Origin=ORIGIN) for url in (PRICES, "/", "/docs", "/nothing", "/udf/config")]
    found += [get("/prices?ticker=x", Origin=ORIGIN), get(PRICES, Origin="null")]
    found += [varying("/health/ready", Origin=ORIGIN), get(PRICES, "HEAD", Origin=ORIGIN)]
    asking = {"Origin": ORIGIN, "Access_Control_Request_Method": "GET"}
    targets = (PRICES, "/", "/nothing", "/prices/stream?ticker=btc_usd", "/v1/udf/history", "*")
    found += [get(url, "OPTIONS", **asking) for url in targets]
    for method in ("HEAD", "POST", "get", ""):
        found += [get(PRICES, "OPTIONS", Origin=ORIGIN, Access_Control_Request_Method=method)]
    for names in ("X-Request-ID", "accept, x-one,X-Two", "*", "b\xe9"):
        found += [get(PRICES, "OPTIONS", **asking, Access_Control_Request_Headers=names)]
    found += [
        get(PRICES, "OPTIONS", Origin=ORIGIN),
        get(PRICES, "OPTIONS", Access_Control_Request_Method="GET"),
        get(PRICES, "GET", **asking),
        get(PRICES, "OPTIONS", **asking, Access_Control_Request_Private_Network="true"),
        get(PRICES, "POST", **asking),
    ]
    return found


def encoding_cases() -> list[Case]:
    """Accept-Encoding, on a response worth packing, a short one, pages and errors."""
    codings = (
        *("gzip", "identity", "GZIP", "gzip;q=0", "*", "*;q=0", "identity;q=0", "br, zstd"),
        *("gzip;q=0, *", "*;q=0, gzip", "br;q=1.0, gzip;q=0.8, *;q=0.1", "x-gzip", "", "gzip;q=x"),
    )
    found = [get(LONG, Accept_Encoding=each) for each in codings]
    found += [get(LONG, "HEAD", Accept_Encoding="gzip"), get(PRICES, Accept_Encoding="gzip")]
    found += [
        get(url, Accept_Encoding="gzip")
        for url in (
            *("/", "/docs", "/page/style.css", "/openapi.json", "/tickers", "/udf/config"),
            *("/nothing", "/prices?ticker=btc_usd&limit=0", "/health/live"),
            *(f"{LONG}&format=csv", f"{LONG}&format=ndjson"),
            "/prices/candles?ticker=btc_usd&interval=1m&end_date=2026-03-28&limit=30",
            "/prices/gaps?ticker=btc_usd&end_date=2026-03-28&limit=30",
            "/udf/history?symbol=btc_usd&resolution=1&from=1774692000&to=1774695600",
        )
    ]
    found += [get(LONG), get(LONG, Accept="text/csv", Accept_Encoding="gzip")]
    return found


def header_cases() -> list[Case]:
    """Host, request ids, forwarded addresses, and headers that nobody reads."""
    hosts = (
        *("example.org", "example.org:8443", "EXAMPLE.org", "[::1]:8000", "evil.example/x?y=1"),
        *("evil.example#", "b\xfccher.example", "a b", "user@example.org", "x" * 300, "<script>"),
    )
    found = [get(PRICES, Host=host) for host in hosts]
    found += [Case(PRICES, headers=(("Host", "one.example"), ("Host", "two.example")))]
    ids = ("abc", "A.b_c-9", "x" * 64, "x" * 65, "a b", "", "<b>", "\xe9", "0" * 32)
    found += [get("/health/live", X_Request_ID=each) for each in ids]
    found += [get("/prices?ticker=btc_usd&limit=0", X_Request_ID="problem-1")]
    found += [Case("/health/live", headers=(("X-Request-ID", "one"), ("X-Request-ID", "two")))]
    found += [
        get(PRICES, X_Forwarded_Proto="https"),
        get(PRICES, X_Forwarded_Proto="https", Host="example.org"),
        get(PRICES, X_Forwarded_Proto="gopher"),
        get(PRICES, X_Forwarded_Host="other.example"),
        get(PRICES, X_Forwarded_For="203.0.113.7"),
        get(PRICES, X_Forwarded_Prefix="/api"),
        get(PRICES, Forwarded="for=203.0.113.7;proto=https;host=other.example"),
        get(PRICES, Cookie="a=b", Authorization="Bearer x"),
        get(PRICES, Accept_Language="de"),
        get(PRICES, Connection="close"),
        get(PRICES, Connection="Upgrade", Upgrade="websocket"),
        get(PRICES, Upgrade="h2c", Connection="Upgrade, HTTP2-Settings"),
        get(PRICES, TE="trailers"),
        get(PRICES, User_Agent=""),
        get(PRICES, X_Note="n" * 8_000),
        get(PRICES, X_Note="n" * 32_000),
        get(PRICES, X_Note="n" * 33_000),
        get(PRICES, X_Note="n" * 60_000),
        Case(PRICES, headers=tuple((f"X-{n}", "v") for n in range(100))),
        get(f"/prices?ticker=btc_usd&{'n' * 7_000}=1"),
        get(f"/prices?ticker=btc_usd&x={'n' * 8_160}"),
        get(f"/prices?ticker=btc_usd&x={'n' * 8_170}"),
        get(f"/{'n' * 8_190}"),
        get(f"/{'n' * 8_192}"),
        get(f"/{'n' * 60_000}"),
        get(f"/health/live?{'&'.join(['a=1'] * 2_000)}"),
    ]
    return found


# Invalid requests, and requests that are not HTTP/1.1, by name.
RAW = {
    "garbage": b"hello\r\n\r\n",
    "no version": b"GET /health/live\r\n\r\n",
    "HTTP/1.0": b"GET /health/live HTTP/1.0\r\n\r\n",
    "HTTP/1.0 with links": f"GET {PRICES} HTTP/1.0\r\n\r\n".encode(),
    "HTTP/1.0 keep-alive": b"GET /health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HTTP/1.1 without Host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "HTTP/3.0": b"GET /health/live HTTP/3.0\r\nHost: a\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "bare LF": b"GET /health/live HTTP/1.1\nHost: a\n\n",
    "space in the address": b"GET /health/live x HTTP/1.1\r\nHost: a\r\n\r\n",
    "raw UTF-8 in the address": "GET /prices?ticker=b\u0442 HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "header without a colon": b"GET /health/live HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
    "space before the colon": b"GET /health/live HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
    "folded header": b"GET /health/live HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
    "NUL in a header": b"GET /health/live HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "blank lines first": b"\r\n\r\nGET /health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    "body on GET": b"GET /health/live HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    "chunked body": b"GET /health/live HTTP/1.1\r\nHost: a\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"GET /health/live HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nhi",
    "length that is no number": b"POST /prices HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    "expects 100": b"GET /health/live HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    "expects the impossible": b"GET /health/live HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
    "two requests at once": b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n" * 2,
    "twenty requests at once": b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n" * 20,
    "long body": b"POST /prices HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n"
    + b"x" * 200_000,
    "headers without an end": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1_000,  # for 10 s
    "200 kB of headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 33_000,
    "200 kB of address": b"GET /" + b"x" * 200_000,
}

# Settings that change responses: variables, and requests one after the other.
LISTED = {"CORS_ORIGINS": f"{ORIGIN},http://localhost:3000"}
VARIANTS: dict[str, tuple[dict[str, str], list[Case]]] = {
    "origins listed": (
        LISTED,
        [
            get(PRICES),
            get(PRICES, Origin=ORIGIN),
            get(PRICES, Origin="http://localhost:3000"),
            get(PRICES, Origin="https://evil.example"),
            get(PRICES, "OPTIONS", Origin=ORIGIN, Access_Control_Request_Method="GET"),
            get(
                PRICES,
                "OPTIONS",
                Origin="https://evil.example",
                Access_Control_Request_Method="GET",
            ),
            get("/", Origin=ORIGIN),
            get("/nothing", Origin="null"),
        ],
    ),
    "no origin": (
        {"CORS_ORIGINS": "none"},
        [
            get(PRICES, Origin=ORIGIN),
            get(PRICES, "OPTIONS", Origin=ORIGIN, Access_Control_Request_Method="GET"),
        ],
    ),
    "version 7, other indexes": (
        {"API_VERSION": "v7", "TICKERS": "eth_usd,sol_usd"},
        [
            get("/v7/prices/last?ticker=eth_usd"),
            get("/v1/prices/last?ticker=eth_usd"),
            get("/prices/last?ticker=btc_usd"),
            get("/prices/last?ticker=sol_usd"),
            get("/prices?ticker=sol_usd"),
            get("/prices/candles?ticker=sol_usd"),
            get("/prices/export?ticker=sol_usd"),
            varying("/prices/gaps?ticker=sol_usd"),
            varying("/prices/coverage?ticker=sol_usd"),
            get("/prices/filtered?ticker=sol_usd&date=2026-03-28"),
            get("/udf/symbols?symbol=sol_usd"),
            get("/udf/history?symbol=sol_usd&resolution=60&from=1774692000&to=1774695600"),
            get("/tickers"),
            get("/udf/search"),
            varying("/health/ready"),
            varying("/health/state"),
        ],
    ),
    "three requests an hour": (
        {"RATE_LIMIT": "3/hour", "TRUSTED_PROXIES": "127.0.0.1"},
        [
            varying("/prices/last?ticker=btc_usd", X_Forwarded_For="203.0.113.1"),
            varying("/v1/tickers", X_Forwarded_For="203.0.113.1"),
            varying("/udf/config", X_Forwarded_For="203.0.113.1"),
            varying("/udf/symbols?symbol=btc_usd", X_Forwarded_For="203.0.113.1"),
            varying("/prices?ticker=btc_usd&limit=1", X_Forwarded_For="203.0.113.1"),
            varying("/health/live", X_Forwarded_For="203.0.113.1"),
            varying("/nothing", X_Forwarded_For="203.0.113.1"),
            varying("/prices?ticker=x", X_Forwarded_For="203.0.113.2"),
            varying("/prices", "OPTIONS", X_Forwarded_For="203.0.113.2"),
            varying("/prices/none", X_Forwarded_For="2001:db8:1:2::3"),
        ],
    ),
}

FOLLOWED = {
    "prices, newest first": "/prices?ticker=btc_usd&start_date=2026-03-28T03:01Z"
    "&end_date=2026-03-28T02:40Z&limit=8",
    "prices, oldest first": "/v1/prices?ticker=eth_usd&order=asc&limit=20&format=csv"
    "&start_date=2026-03-28T00:00Z&end_date=2026-03-28T01:00Z",
    "candles, newest first": "/prices/candles?ticker=btc_usd&interval=1d&tz=Europe/Berlin"
    "&start_date=2026-03-25&end_date=2026-04-02&limit=2",
    "candles, oldest first": "/prices/candles?ticker=btc_usd&interval=4h&order=asc&limit=5"
    "&start_date=2026-03-28&end_date=2026-03-31",
    "gaps": f"/prices/gaps?ticker=btc_usd&start_date=2026-03-28&end_date={MOMENT}&limit=3",
    "coverage": "/prices/coverage?ticker=eth_usd&start_date=2026-03-28&end_date=2026-03-31"
    "&limit=2&interval=1d",
    "cursor in the middle": "/prices?ticker=btc_usd&before=2026-03-28T10:04Z&limit=2"
    "&start_date=2026-03-28T10:05Z&end_date=2026-03-28T10:00Z",
}
