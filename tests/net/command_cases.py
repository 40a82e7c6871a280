"""The commands and files of test_commands.py."""

import codecs

from tests.net.commands import Command

NAMES = (
    *("up", "demo", "down"),
    *("last", "latest", "prices", "candles", "gaps", "coverage", "stats", "watch"),
    *("backfill", "import", "export"),
    *("dsn", "migrate", "rollback", "new-migration", "backup", "restore", "timescale-upgrade"),
    *("web", "worker", "scheduler", "dev-worker", "infra", "down-infra", "simulate", "completion"),
)

WRONG_WORDS = (
    *("", "nonsense", "--nonsense", "--version", "PRICES", "pri"),
    *("up now", "migrate now", "dsn --nonsense"),
    *("last --format xml", "last --url", "last --limit 3"),
    *("prices", "prices btc_usd eth_usd", "prices btc_usd --format xml"),
    *(f"prices btc_usd --limit {each}" for each in ("0", "-1", "1.5", "many", "''", "²")),
    "prices btc_usd --limit 5 --all",
    *(f"prices btc_usd --start-date {each}" for each in ("soon", "''", "2024-13-01")),
    "prices btc_usd --end-date 99999999999999",
    *("prices btc_usd --order up", "prices btc_usd --interval 1h"),
    *("candles btc_usd --fill linear", "gaps btc_usd --fill null"),
    *(
        f"prices btc_usd --url {each}"
        for each in ("ftp://here", "here", "http://", "http://here:0", "http://here:99999", "''")
    ),
    *("candles btc_usd --interval 5h", "candles", "candles btc_usd --tz"),
    *("gaps btc_usd --order asc", "gaps", "coverage", "coverage btc_usd --interval 1m"),
    *("stats", "stats btc_usd --limit 3", "stats btc_usd --start-date soon"),
    *("watch --limit 3", "watch --format xml"),
    *("backfill btc_usd", "backfill --range 3d", "backfill --ticker"),
    *("import", "import a b", "import --wet-run a", "export a b", "export --ticker"),
    *("rollback", "rollback 1 2", "new-migration", "new-migration a b"),
    *("backup a b", "backup --json", "restore", "restore a b", "timescale-upgrade 2"),
    *("import --columns time a", "import --time-unit h a", "import --ticker BTC a"),
    *("completion", "completion tcsh"),
    *("simulate --port 65536", "simulate --seed x", "simulate --index BTC"),
    "simulate --fault nonsense",
)

_RISING = "--order asc --start-date 2026-03-28T09:00Z --end-date 2026-03-28T09:12Z"
_FALLING = "--start-date 2026-03-28T09:12Z --end-date 2026-03-28T09:00Z"  # newest first
_MINUTE = "--start-date 2026-03-28T09:00Z --end-date 2026-03-28T09:01Z"
_DAYS = "--start-date 2026-03-27 --end-date 2026-04-01"
_HOLE = "--start-date 2026-03-27T23:58Z --end-date 2026-03-28T00:07Z"

DATA_READS = (
    *("last", "last eth_usd btc_usd tiny-coin_usdc --format json", "last --format csv"),
    *("latest", "latest tiny-coin_usdc eth_usd eth_usd --format csv"),
    *("prices btc_usd --limit 3", "prices eth_usd --format csv"),
    *(f"prices {each} {_FALLING}" for each in ("btc_usd", "tiny-coin_usdc")),
    f"prices btc_usd {_FALLING} --format csv",
    *(f"prices btc_usd {each} --limit 3" for each in (_FALLING, f"{_FALLING} --order desc")),
    *(f"prices btc_usd {_RISING} --format {each}" for each in ("csv", "json")),
    "prices btc_usd --end-date 2026-03-31T21:57Z --format csv",
    "prices btc_usd --start-date 2026-03-28T04:00Z --order asc --limit 4",
    "prices btc_usd --all --format csv",
    "prices eth_usd --limit 1001 --format csv",
    "prices btc_usd --start-date 1774688700.5 --end-date 1774688400",
    "prices btc_usd --start-date 2026-03-28T10:03:00+01:00 --end-date 2026-03-28T10:00:00+01:00",
    "prices btc_usd --start-date 20260328T0903Z --end-date '2026-03-28 09:00'",
    *(f"prices btc_usd {_HOLE} --fill null --format {each}" for each in ("csv", "json")),
    *(f"prices btc_usd {_HOLE} --fill previous{each}" for each in ("", " --order asc --limit 9")),
    *(f"candles btc_usd {_HOLE} --interval 5m --fill {each}" for each in ("null", "previous")),
    f"candles btc_usd {_HOLE} --interval 1m --fill previous --limit 12 --format csv",
    f"candles btc_usd {_DAYS} --format csv --limit 5",
    *(f"candles btc_usd {_DAYS} --interval {each} --limit 8" for each in ("1m", "4h", "1w")),
    *(
        f"candles btc_usd --start-date 2026-01-01 --end-date 2026-05-01 --interval {interval}"
        f" --tz {zone} --order asc --format csv"
        for interval, zone in (
            *(("1d", "Europe/Berlin"), ("1w", "America/New_York"), ("1M", "Europe/Berlin")),
        )
    ),
    f"candles eth_usd {_DAYS} --interval 1m --all --format csv",
    f"candles btc_usd {_DAYS} --tz Asia/Kolkata --interval 1h --limit 2",
    *(f"gaps {each} {_DAYS} --format csv" for each in ("btc_usd", "tiny-coin_usdc")),
    *(f"gaps btc_usd {_DAYS} --limit 2", "gaps eth_usd --end-date 2026-03-28 --limit 3"),
    f"coverage btc_usd {_DAYS} --limit 6",
    *(f"coverage btc_usd {_DAYS} --interval {each} --format csv" for each in ("1h", "1d")),
    f"coverage eth_usd {_DAYS} --interval 1d --all",
    *(f"stats btc_usd {_MINUTE}", f"stats btc_usd {_MINUTE} --format csv"),
)
TABLE_READS = (
    "last eth_usd btc_usd --format table",
    "latest eth_usd btc_usd --format table",
    f"prices btc_usd {_FALLING} --format table",
    f"prices btc_usd {_HOLE} --fill null --format table",
    f"candles btc_usd {_DAYS} --interval 1d --format table",
    f"candles btc_usd {_HOLE} --interval 5m --fill previous --format table",
    f"candles btc_usd {_DAYS} --interval 1d --tz Europe/Berlin --format table",
    f"gaps tiny-coin_usdc {_DAYS} --format table",
    f"coverage btc_usd {_DAYS} --interval 1d --format table",
    "gaps btc_usd --start-date 2020-01-01 --end-date 2020-01-02 --format table",
    f"stats btc_usd {_MINUTE} --format table",
)
_EMPTY = "--start-date 2020-01-01 --end-date 2020-01-02"
FAILING_READS = (
    *("latest doge_usd", "latest btc_usd BTC"),
    *("last doge_usd", "last btc_usd doge_usd eth_usd", "last doge_usd --format csv", "last BTC"),
    *("prices doge_usd", "prices BTC", "prices ''", "watch doge_usd"),
    *(f"{each} btc_usd {_EMPTY}" for each in ("prices", "candles", "gaps", "coverage", "stats")),
    f"gaps btc_usd {_EMPTY} --format csv",
    f"prices btc_usd {_FALLING} --order asc",
    *("candles doge_usd", "candles btc_usd --tz Mars/Olympus"),
    *("prices btc_usd --fill null", f"candles btc_usd --fill null {_EMPTY} --end-date 2020-01-01"),
)
EVERY_READ = (
    *("last", "last btc_usd", "prices btc_usd", "watch"),
    *("prices btc_usd --format csv", "gaps btc_usd --format table"),
)

_EXPORT_WINDOW = "--start-date 2026-03-28T09:00Z --end-date 2026-03-28T09:05Z"
EXPORTS = (
    *("export", "export -", "export --ticker tiny-coin_usdc", f"export {_EXPORT_WINDOW}"),
    f"export --ticker eth_usd --ticker btc_usd {_EXPORT_WINDOW}",
    "export --end-date 2025-01-01",
    "export --ticker tiny-coin_usdc --start-date 2026-03-28T21:50Z",
    "export --start-date 2026-03-29 --end-date 2026-03-28",
    "export --ticker doge_usd --ticker eth_usd",
    "export --ticker BTC --start-date soon --end-date later",
)

_HEADER = "ticker,created_at,price,observed_at,source\n"
GOOD_FILE = f"""\ufeff{_HEADER}\
btc_usd,2024-01-15T12:00:00Z,68241.50,2024-01-15T12:00:07.25Z,poll\r
btc_usd,2024-01-15T12:01:00Z,68242,,chart

btc_usd,2024-01-15 12:02,68243.1,,
btc_usd,1705320180,1e2,1705320181.5,poll
btc_usd,2024-01-15T13:04:00+01:00,.5,2024-01-15T13:04:01+01:00,poll
"btc_usd","2024-01-15T12:05Z","68,245"
btc_usd,2024-01-15T12:06Z,0068246.123456789012345678,,chart
btc_usd,2024-01-15T12:07Z,+7.0,, poll\x20
btc_usd,2024-02-29T23:59Z,1.00,,
btc_usd,2024-01-15T12:06Z,68246.123456789012345678,,chart
eth_usd,1970-01-01T00:00Z,0.000001,,
tiny-coin_usdc,20240115T1207Z,123456789012345678.99,2024-01-15T12:07:59.999999Z,chart
""".replace('"btc_usd","2024-01-15T12:05Z","68,245"', '"btc_usd","2024-01-15T12:05Z","68245",,""')
OTHER_PRICE = Command(
    "import -", stdin="price,created_at,ticker\n1.25,2024-01-15T12:00:00Z,btc_usd\n"
)
MORE_ROWS = Command(
    "import -",
    stdin="source,price,created_at,ticker\npoll,2.25,2024-01-15T12:20Z,btc_usd\n"
    "chart,2.50,2024-01-15T12:21Z,btc_usd\n,2.75,2024-01-15T12:00Z,ada_usd\n",
)
OLD_ROWS = Command(
    "import -",
    stdin="ticker,created_at,price\nold_usd,2024-01-15T12:20Z,2.25\n",
    variables={"RETENTION": "30d"},
)
STORED_HOURS = (
    "SELECT ticker, extract(EPOCH FROM bucket) AS start, open, high, low, close, samples"
    " FROM candles_1h ORDER BY 1, 2"
)

_GOOD = "btc_usd,2024-01-15T12:00:00Z,68241.50,,poll\n"
BAD_FILES: dict[str, str | bytes] = {
    "empty file": "",
    "header without names": "btc_usd,2024-01-15T12:00:00Z,1.25\n",
    "header without columns": f"ticker,created_at\n{_GOOD}",
    "header with unknown columns": f"ticker,created_at,price,id,name\n{_GOOD}",
    "header with repeated columns": f"ticker,created_at,price,price,ticker\n{_GOOD}",
    "header that is no csv": f'ticker,"created_at\n{_GOOD}',
    "header in capitals": f"Ticker,Created_At,Price\n{_GOOD}",
    "bytes that are no text": _HEADER.encode() + _GOOD.encode() + b"\xff\n",
    "bytes of another encoding": codecs.BOM_UTF16_LE + _HEADER.encode("utf-16-le"),
    "columns": f"{_HEADER}{_GOOD}a\n,,,,\n,,,,,\nbtc_usd,2024-01-15T12:01Z,1.25,,poll,\n"
    'btc_usd,"2024-01-15T12:01Z,1.25,,poll\nbtc_usd,2024-01-15T12:01Z,"1.25"5,,poll\n',
    "tickers": _HEADER
    + "".join(
        f"{each},2024-01-15T12:00Z,1.25,,poll\n"
        for each in ("", "btc", "BTC_USD", "btc_usd ", "btc usd", f"{'a' * 97}_usd", "b\u00f6_usd")
    ),
    "moments": _HEADER
    + "".join(
        f"btc_usd,{each},1.25,,poll\n"
        for each in (
            *("", "soon", "2024-01-15T12:00:01Z", "2024-01-15T12:00:00.000001Z", "1705320181"),
            *("1969-12-31T23:59Z", "2999-01-01T00:00Z", "2023-02-29T00:00Z", "99999-01-01"),
            *("2024-01-15T24:00Z", "2024-01-15T12:60Z", "-60", "nan"),
        )
    ),
    "prices": _HEADER
    + "".join(
        f"btc_usd,2024-01-15T12:{n:02}Z,{each},,poll\n"
        for n, each in enumerate(
            (
                *("", "0", "0.00", "-1.25", "nan", "inf", "1.25.1", "1_000", "dear", "0x10"),
                *("1e19", "1e-19", f"1.{'1' * 31}", "1e9999", "1 2", "+", "."),
            )
        )
    ),
    "times of observation": _HEADER
    + "".join(f"btc_usd,2024-01-15T12:00Z,1.25,{each},poll\n" for each in ("soon", "1e400", "-")),
    "sources": _HEADER
    + "".join(f"btc_usd,2024-01-15T12:00Z,1.25,,{each}\n" for each in ("POLL", "guess", "pollx")),
    "contradictions": f"{_HEADER}{_GOOD}btc_usd,2024-01-15T12:00Z,68241.51,,poll\n"
    "eth_usd,2024-01-15T12:00Z,1.25,,poll\neth_usd,2024-01-15 12:00,1.26,,chart\n",
    "many": _HEADER + "btc,2024-01-15T12:00Z,1.25,,poll\n" * 25,
    "one among good": f"{_HEADER}{_GOOD}btc_usd,2024-01-15T12:01Z,0,,poll\n"
    "eth_usd,2024-01-15T12:01Z,1.25,,poll\n",
}

EVERY_DATABASE_COMMAND = (
    *("migrate", "rollback 0", "export", "import /dev/null", "timescale-upgrade", "psql -c ''"),
    *("backup /tmp/never.zip", "backup --csv /tmp/never.zip"),
)

DSN_VARIABLES = {
    "embedded": {},
    "another database": {"POSTGRES_DB": "other", "POSTGRES_USER": "somebody"},
    "host": {"POSTGRES_HOST": "db.example.org"},
    "host, port and password": {
        "POSTGRES_HOST": "db.example.org",
        "POSTGRES_PORT": "6432",
        "POSTGRES_PASSWORD": "it's a \\secret",
    },
    "direct": {
        "POSTGRES_HOST": "pool.example.org",
        "DIRECT_POSTGRES_HOST": "db.example.org",
        "DIRECT_POSTGRES_PORT": "5433",
    },
    "replica": {"READ_POSTGRES_HOST": "replica.example.org"},
    "folder of a socket": {"POSTGRES_HOST": "/run/postgresql"},
}

PSQL = (
    "psql -XAtc \"SELECT 1 AS one, 'two' AS two\"",
    'psql -X --csv -c "SELECT ticker, since FROM tickers ORDER BY 1"',
    "psql -Xc 'SELECT nonsense'",
    "psql -XAt -v ON_ERROR_STOP=1 -c 'SELECT nonsense' -c 'SELECT 1'",
    "psql -XAtc 'SHOW timezone'",
)

RELATIONS = """
    SELECT relname FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
       AND relname IN ('prices', 'tickers', 'misses', 'candles_1h', 'candles_1d', 'latest_prices')
     ORDER BY 1"""
MIGRATIONS = {
    "migrate again": "migrate",
    "back to nowhere": "rollback 99",
    "back to a name that is none": "rollback nonsense",
    "back to a number": "rollback 1",
    "all back": "rollback 0",
    "all back again": "rollback 0",
    "export without a schema": "export",
    "import without a schema": "import /dev/null",
    "backup without a schema": "backup --csv never.zip",
    "migrate": "migrate",
    "migrate once more": "migrate",
    "export of an empty database": "export",
}

_SUM = "SELECT count(*), md5(string_agg({row}, ';' ORDER BY {row})) FROM {table}"
CONTENTS = {
    table: _SUM.format(table=table, row=f"concat_ws(',', {columns})")
    for table, columns in {
        "prices": "ticker, extract(EPOCH FROM created_at), price,"
        " extract(EPOCH FROM observed_at), source",
        "misses": "ticker, extract(EPOCH FROM minute), reason, code, attempts,"
        " extract(EPOCH FROM at)",
        "tickers": "ticker, extract(EPOCH FROM since), extract(EPOCH FROM kept_since)",
        "candles_1h": "ticker, extract(EPOCH FROM bucket), open, high, low, close, samples",
        "candles_1d": "ticker, extract(EPOCH FROM bucket), open, high, low, close, samples",
        "latest_prices": "ticker, extract(EPOCH FROM created_at), price, source",
    }.items()
}
