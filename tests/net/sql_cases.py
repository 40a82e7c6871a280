"""The rows and statements of test_sql.py."""

_PRICE = (
    "round(({base} + extract(EPOCH FROM at)::bigint / 60 * {step} % 1000003)::numeric / 100, 2)"
)
_COLUMNS = "(ticker, created_at, price, observed_at, source)"

# Over a month's end and Berlin's 23-hour day; sparse before that; with every reason of a miss.
ROWS = f"""
INSERT INTO prices {_COLUMNS}
SELECT 'btc_usd', at, {_PRICE.format(base=6_000_000, step=7919)},
       CASE WHEN extract(MINUTE FROM at) % 7 <> 3 THEN at + INTERVAL '7.25 s' END,
       CASE WHEN extract(MINUTE FROM at) % 7 = 3 THEN 'chart' ELSE 'poll' END
  FROM generate_series(
           timestamptz '2024-03-28 21:17Z', '2024-04-01 21:16Z', INTERVAL '1 min') AS at
 WHERE extract(EPOCH FROM at)::bigint / 60 % 97 > 1
   AND NOT at BETWEEN '2024-03-30 02:10Z' AND '2024-03-30 05:29Z';
INSERT INTO prices {_COLUMNS}
SELECT 'btc_usd', at, {_PRICE.format(base=4_200_000, step=104_729)}, NULL, 'chart'
  FROM generate_series(
           timestamptz '2024-01-03 00:00Z', '2024-03-28 20:00Z', INTERVAL '160 min') AS at;
INSERT INTO prices {_COLUMNS}
SELECT 'eth_usd', at, {_PRICE.format(base=300_000, step=31)}, at + INTERVAL '1.000001 s', 'poll'
  FROM generate_series(
           timestamptz '2024-03-30 22:00Z', '2024-04-01 01:59Z', INTERVAL '1 min') AS at
 WHERE extract(EPOCH FROM at)::bigint / 60 % 61 <> 7;
INSERT INTO prices {_COLUMNS} VALUES
    ('usdc_usd', '2024-02-29 23:59Z', 1.00, NULL, 'chart'),
    ('usdc_usd', '2024-03-01 00:00Z', 0.99987654321, '2024-03-01 00:00:59.999999Z', 'poll');
INSERT INTO misses (ticker, minute, reason, code, attempts, at)
SELECT 'btc_usd', minute, 'exchange_unavailable', 503, 4, minute + INTERVAL '50 s'
  FROM generate_series(
           timestamptz '2024-03-30 02:10Z', '2024-03-30 03:09Z', INTERVAL '1 min') AS minute;
INSERT INTO misses (ticker, minute, reason, code, attempts, at)
SELECT 'btc_usd', minute, 'rate_limited', 10028, 6, minute + INTERVAL '55 s'
  FROM generate_series(
           timestamptz '2024-03-30 03:10Z', '2024-03-30 03:20Z', INTERVAL '2 min') AS minute;
INSERT INTO misses (ticker, minute, reason, attempts, at) VALUES
    ('btc_usd', '2024-03-31 12:00Z', 'too_late', 1, '2024-03-31 12:00:59Z'),
    ('xrp_usd', '2024-03-31 12:00Z', 'refused', 1, '2024-03-31 12:00:02Z'),
    ('xrp_usd', '2024-03-31 12:01Z', 'bad_answer', 1, '2024-03-31 12:01:02Z');
"""

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
ANALYSTS_RELATIONS = (
    *("prices", "tickers", "misses", "candles_1h", "candles_1d"),
    "latest_prices",
)
ANALYSTS_FUNCTIONS = (
    *("candles", "returns", "gaps", "price_at", "next_bucket"),
    *("stats", "twap", "log_returns", "realised_volatility"),
    "filled",
)
ROLES = ("tracker_worker", "tracker_web", "analyst")

_RELATIONS = ", ".join(f"'{name}'" for name in ANALYSTS_RELATIONS)
_FUNCTIONS = ", ".join(f"'{name}'" for name in ANALYSTS_FUNCTIONS)
_ROLES = ", ".join(f"'{name}'" for name in ROLES)
_OURS = "relnamespace = 'public'::regnamespace AND relname !~ 'yoyo'"
_NO_EXTENSION = """NOT EXISTS (
    SELECT FROM pg_depend
     WHERE objid = {oid} AND classid = '{catalog}'::regclass AND deptype = 'e')"""

CATALOG = {
    # Machinery that moves into another schema shows in the first two alone.
    "relations of public": f"""
        SELECT relname, relkind FROM pg_class
         WHERE {_OURS} AND relkind IN ('r', 'v', 'm', 'S', 'f', 'p')
           AND {_NO_EXTENSION.format(oid="pg_class.oid", catalog="pg_class")}
         ORDER BY 1""",
    "functions of public": f"""
        SELECT proname, count(*) FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace
           AND {_NO_EXTENSION.format(oid="pg_proc.oid", catalog="pg_proc")}
         GROUP BY 1 ORDER BY 1""",
    "columns of analysts' relations": f"""
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity
          FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         WHERE {_OURS} AND relname IN ({_RELATIONS}) AND attnum > 0 AND NOT attisdropped
         ORDER BY 1, attnum""",
    "defaults": f"""
        SELECT relname, attname, pg_get_expr(adbin, adrelid)
          FROM pg_attrdef
          JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
          JOIN pg_class ON pg_class.oid = adrelid
         WHERE {_OURS} AND relname IN ({_RELATIONS}) ORDER BY 1, 2""",
    "primary keys": f"""
        SELECT relname, pg_get_constraintdef(pg_constraint.oid)
          FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
         WHERE {_OURS} AND relname IN ({_RELATIONS}) AND contype = 'p' ORDER BY 1""",
    "arguments of analysts' functions": f"""
        SELECT proname, pg_get_function_arguments(oid) FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND proname IN ({_FUNCTIONS})
         ORDER BY 1, 2""",
    "results of analysts' functions": f"""
        SELECT proname, pg_get_function_result(oid), provolatile, proparallel, proisstrict
          FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND proname IN ({_FUNCTIONS})
         ORDER BY 1, 2""",
    "hypertables": """
        SELECT hypertable_schema, hypertable_name, compression_enabled
          FROM timescaledb_information.hypertables ORDER BY 1, 2""",
    "width of chunks": """
        SELECT hypertable_name, column_name, time_interval
          FROM timescaledb_information.dimensions ORDER BY 1""",
    "roles": f"""
        SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication,
               rolbypassrls, rolinherit, rolconnlimit
          FROM pg_roles WHERE rolname IN ({_ROLES}) ORDER BY 1""",
    "settings of roles": f"""
        SELECT rolname, unnest(rolconfig)
          FROM pg_roles WHERE rolname IN ({_ROLES}) ORDER BY 1, 2""",
    "memberships of roles": f"""
        SELECT member::regrole, roleid::regrole FROM pg_auth_members
         WHERE member::regrole::text IN ({_ROLES}) ORDER BY 1, 2""",
}
COMMENTS = {
    "relations": f"""
        SELECT relname, obj_description(oid, 'pg_class') FROM pg_class
         WHERE {_OURS} AND relname IN ({_RELATIONS}) ORDER BY 1""",
    "columns": f"""
        SELECT relname, attname, col_description(attrelid, attnum)
          FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         WHERE {_OURS} AND relname IN ({_RELATIONS}) AND attnum > 0 AND NOT attisdropped
         ORDER BY 1, attnum""",
    "functions": f"""
        SELECT proname, obj_description(oid, 'pg_proc') FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND proname IN ({_FUNCTIONS})
         ORDER BY 1, 2""",
    "roles": f"""
        SELECT rolname, shobj_description(oid, 'pg_authid')
          FROM pg_roles WHERE rolname IN ({_ROLES}) ORDER BY 1""",
}

_WINDOWS = {
    "all": "'2023-01-01Z', '2025-01-01Z'",
    "days": "'2024-03-29Z', '2024-04-01Z'",
    "odd": "'2024-03-30 00:17:01Z', '2024-03-31 07:03:59.5Z'",
    "minute": "'2024-03-30 22:00Z', '2024-03-30 22:01Z'",
}
_WIDTHS = (
    *("1 min", "7 min", "30 min", "1 hour", "90 min", "4 hours", "7 hours"),
    *("1 day", "2 days", "1 week", "1 month", "3 months", "1 year"),
)
_EPOCHS = "extract(EPOCH FROM min(start)) AS first, extract(EPOCH FROM max(start)) AS last"
_SUMMARY = (
    f"SELECT count(*), {_EPOCHS}, sum(samples), min(low), max(high),"
    " md5(string_agg(concat_ws(',', extract(EPOCH FROM start), open, high, low, close, samples),"
    " ';' ORDER BY start)) FROM candles({})"
)
_CHANGES = (
    f"SELECT count(*), {_EPOCHS}, min(change), max(change),"
    " md5(string_agg(concat_ws(',', extract(EPOCH FROM start), close, previous, change), ';'"
    " ORDER BY start)) FROM returns({})"
)
_MOMENTS = (
    *("'2024-03-30 22:00Z'", "'2024-03-30 22:00:59.999999Z'", "'2024-03-30 21:59:59.999999Z'"),
    *("'2024-03-31 01:00:30+02'", "'2024-03-30 22:07:00Z'", "'2030-01-01Z'"),
    *("'-infinity'", "'infinity'", "NULL"),
)
_STARTS = (
    *("'2024-03-31 00:00Z'", "'2024-03-31 00:00:00.000001Z'", "'2024-02-29 12:34:56Z'"),
    *("'1969-12-31 23:59:59Z'", "'0001-01-01Z'", "'-infinity'", "'infinity'", "NULL"),
)

# Counts, bounds and hashes over every row; none of them depends on the session's zone.
SUMMARIES = {
    **{
        f"candles: {width}, {name}": _SUMMARY.format(f"'btc_usd', '{width}', {window}")
        for width in _WIDTHS
        for name, window in _WINDOWS.items()
    },
    **{
        f"returns: {width}, {name}": _CHANGES.format(f"'btc_usd', '{width}', {window}")
        for width in ("1 min", "5 min", "1 hour", "4 hours", "1 day", "1 week", "1 month")
        for name, window in _WINDOWS.items()
    },
    "gaps: btc_usd": """
        SELECT reason, count(*), sum(minutes), extract(EPOCH FROM min(start)) AS first,
               extract(EPOCH FROM max(stop)) AS last
          FROM gaps('btc_usd', '2024-01-01Z', '2024-04-02Z') GROUP BY reason ORDER BY reason""",
}

# The last digits of logarithms may differ between processors.
_STATISTICS = """first_at, first, last_at, last, high_at, high, low_at, low, change,
    change_percent, mean, twap, log_returns, round(log_return_mean::numeric, 12),
    round(log_return_stddev::numeric, 9), round(realised_volatility::numeric, 6),
    max_drawdown_percent, peak_at, peak, trough_at, trough, samples, polled, charted, imported,
    expected, missing, ratio"""

READS = {
    **{
        f"candles: rows of {width}": f"SELECT * FROM candles('btc_usd', '{width}', {window})"
        for width, window in {
            "1 min": "'2024-03-30 02:05Z', '2024-03-30 05:35Z'",
            "15 min": "'2024-03-30 00:00Z', '2024-03-30 08:00Z'",
            "1 hour": "'2024-03-30 22:30Z', '2024-03-31 08:00Z'",
            "6 hours": "'2024-03-30 00:00Z', '2024-04-03 00:00Z'",
            "1 day": "'2024-03-28 00:00Z', '2024-04-03 00:00Z'",
            "1 week": "'2024-03-01 00:00Z', '2024-04-30 00:00Z'",
            "1 month": "'2023-12-31 00:00Z', '2024-05-01 00:00Z'",
            "1 year": "'2020-01-01 00:00Z', '2030-01-01 00:00Z'",
        }.items()
    },
    **{
        f"candles: {name}": f"SELECT * FROM candles({words})"
        for name, words in {
            "no prices in window": "'btc_usd', '1 hour', '2020-01-01Z', '2020-02-01Z'",
            "reversed window": "'btc_usd', '1 hour', '2024-04-01Z', '2024-03-30Z'",
            "empty window": "'btc_usd', '1 hour', '2024-04-01Z', '2024-04-01Z'",
            "unknown index": "'doge_usd', '1 hour', '2024-03-30Z', '2024-04-01Z'",
            "tracked without prices": "'xrp_usd', '1 hour', '2024-03-30Z', '2024-04-01Z'",
            "empty name": "'', '1 hour', '2024-03-30Z', '2024-04-01Z'",
            "ticker null": "NULL, '1 hour', '2024-03-30Z', '2024-04-01Z'",
            "width null": "'btc_usd', NULL, '2024-03-30Z', '2024-04-01Z'",
            "since null": "'btc_usd', '1 hour', NULL, '2024-04-01Z'",
            "until null": "'btc_usd', '1 hour', '2024-03-30Z', NULL",
            "width zero": "'btc_usd', '0', '2024-03-30Z', '2024-04-01Z'",
            "width negative": "'btc_usd', '-1 hour', '2024-03-30Z', '2024-04-01Z'",
            "width of months and days": "'btc_usd', '1 month 1 day', '2024-03-01Z', '2024-04-01Z'",
            "width of a second": "'usdc_usd', '1 s', '2024-02-29Z', '2024-03-02Z'",
            "width that is no interval": "'btc_usd', 'often', '2024-03-30Z', '2024-04-01Z'",
            "since that is no moment": "'btc_usd', '1 hour', 'soon', '2024-04-01Z'",
            "since -infinity": "'usdc_usd', '1 day', '-infinity', '2024-04-01Z'",
            "until infinity": "'usdc_usd', '1 day', '2024-01-01Z', 'infinity'",
            "naive moments": "'eth_usd', '12 hours', '2024-03-31', '2024-04-01'",
            "named": "until => '2024-04-01Z', since => '2024-03-31Z', width => '12 h',"
            " ticker => 'eth_usd'",
            "too few arguments": "'btc_usd', '1 hour'",
            "small prices": "'usdc_usd', '1 min', '2024-02-01Z', '2024-04-01Z'",
            "many digits": "'usdc_usd', '1 month', '2024-02-01Z', '2024-04-01Z'",
        }.items()
    },
    **{
        f"returns: {name}": f"SELECT * FROM returns({words})"
        for name, words in {
            "rows of 1 min": "'eth_usd', '1 min', '2024-03-30 21:58Z', '2024-03-30 22:12Z'",
            "rows of 1 hour": "'btc_usd', '1 hour', '2024-03-30 00:00Z', '2024-03-30 09:00Z'",
            "rows of 1 day": "'btc_usd', '1 day', '2024-03-28Z', '2024-04-03Z'",
            "rows of 1 month": "'btc_usd', '1 month', '2024-01-01Z', '2024-05-01Z'",
            "unknown index": "'doge_usd', '1 hour', '2024-03-30Z', '2024-04-01Z'",
            "reversed window": "'btc_usd', '1 hour', '2024-04-01Z', '2024-03-30Z'",
            "ticker null": "NULL, '1 hour', '2024-03-30Z', '2024-04-01Z'",
            "width null": "'btc_usd', NULL, '2024-03-30Z', '2024-04-01Z'",
            "since null": "'btc_usd', '1 hour', NULL, '2024-04-01Z'",
            "until null": "'btc_usd', '1 hour', '2024-03-30Z', NULL",
            "width zero": "'btc_usd', '0', '2024-03-30Z', '2024-04-01Z'",
        }.items()
    },
    **{
        f"gaps: {name}": f"SELECT * FROM gaps({words})"
        for name, words in {
            "a hole with reasons": "'btc_usd', '2024-03-30 00:00Z', '2024-03-30 08:00Z'",
            "inside the hole": "'btc_usd', '2024-03-30 02:30:00Z', '2024-03-30 03:15:00Z'",
            "bounds off the grid": "'btc_usd', '2024-03-30 02:30:00.1Z', '2024-03-30 03:15:00.1Z'",
            "miss of a stored minute": "'btc_usd', '2024-03-31 11:59Z', '2024-03-31 12:02Z'",
            "whole": "'eth_usd', '2024-03-30 22:00Z', '2024-03-30 22:05Z'",
            "before it is tracked": "'eth_usd', '2024-03-30 20:00Z', '2024-03-30 22:30Z'",
            "after the last price": "'eth_usd', '2024-04-01 01:30Z', '2024-04-01 03:00Z'",
            "tracked without prices": "'xrp_usd', '2024-03-31 11:00Z', '2024-03-31 12:30Z'",
            "unknown index": "'doge_usd', '2024-03-30Z', '2024-04-01Z'",
            "empty window": "'btc_usd', '2024-03-30 03:00Z', '2024-03-30 03:00Z'",
            "reversed window": "'btc_usd', '2024-03-30 05:00Z', '2024-03-30 03:00Z'",
            "ticker null": "NULL, '2024-03-30Z', '2024-04-01Z'",
            "since null": "'usdc_usd', NULL, '2024-03-01 00:10Z'",
            "since -infinity": "'usdc_usd', '-infinity', '2024-03-01 00:10Z'",
            "since that is no moment": "'usdc_usd', 'soon', '2024-03-01 00:10Z'",
        }.items()
    },
    **{f"price_at: {each}": f"SELECT price_at('eth_usd', {each})" for each in _MOMENTS},
    "price_at: unknown index": "SELECT price_at('doge_usd', '2024-03-30 22:00Z')",
    "price_at: ticker null": "SELECT price_at(NULL, '2024-03-30 22:00Z')",
    "price_at: many digits": "SELECT price_at('usdc_usd', '2024-03-01Z')",
    "price_at: no moment": "SELECT price_at('usdc_usd', 'soon')",
    **{
        f"next_bucket: {width}, {each}": f"SELECT next_bucket('{width}', {each})"
        for width in ("1 min", "1 hour", "90 min", "1 day", "1 week", "1 month", "1 year")
        for each in _STARTS
    },
    **{
        f"stats: {name}": f"SELECT {_STATISTICS} FROM stats({words})"
        for name, words in {
            "all prices": "'btc_usd', '2024-01-01Z', '2024-05-01Z'",
            "around the hole": "'btc_usd', '2024-03-30 00:10Z', '2024-03-30 08:05:30Z'",
            "inside the hole": "'btc_usd', '2024-03-30 02:30Z', '2024-03-30 03:15Z'",
            "many digits": "'usdc_usd', '-infinity', '2024-03-01 00:10Z'",
            "unknown index": "'doge_usd', '2024-03-30Z', '2024-04-01Z'",
            "since null": "'btc_usd', NULL, '2024-04-01Z'",
        }.items()
    },
    "filled": "SELECT * FROM filled('btc_usd', '2024-03-30 01:57Z', '2024-03-30 02:13Z')",
    "filled: before the first price": "SELECT * FROM"
    " filled('eth_usd', '2024-03-30 21:57:30Z', '2024-03-30 22:02Z')",
    "twap": "SELECT twap('btc_usd', '2024-03-30Z', '2024-03-31Z')",
    "realised_volatility": "SELECT"
    " round(realised_volatility('btc_usd', '2024-03-30Z', '2024-03-31Z')::numeric, 9)",
    "log_returns": "SELECT created_at, round(log_return::numeric, 12)"
    " FROM log_returns('btc_usd', '2024-03-30 01:58Z', '2024-03-30 05:33Z')",
    "next_bucket: width null": "SELECT next_bucket(NULL, '2024-03-30 22:00Z')",
    "next_bucket: width zero": "SELECT next_bucket('0', '2024-03-30 22:00Z')",
    "latest_prices": "SELECT * FROM latest_prices ORDER BY ticker",
    "tickers": "SELECT ticker, since, kept_since FROM tickers ORDER BY ticker",
    "misses": """
        SELECT ticker, minute, reason, code, attempts, at FROM misses
         WHERE minute BETWEEN '2024-03-30 03:08Z' AND '2024-03-31 13:00Z' ORDER BY 1, 2""",
    "prices": """
        SELECT ticker, price, created_at, observed_at, source FROM prices
         WHERE created_at BETWEEN '2024-03-30 21:58Z' AND '2024-03-30 22:03Z'
            OR ticker = 'usdc_usd' ORDER BY 1, created_at""",
    "candles_1h": """
        SELECT ticker, bucket, open, high, low, close, samples FROM candles_1h
         WHERE bucket BETWEEN '2024-03-30 21:00Z' AND '2024-03-31 02:00Z' ORDER BY 1, 2""",
    "candles_1h: charted": """
        SELECT ticker, bucket, charted FROM candles_1h
         WHERE bucket BETWEEN '2024-03-30 21:00Z' AND '2024-03-31 02:00Z' ORDER BY 1, 2""",
    "candles_1h: sums": """
        SELECT ticker, count(*), sum(samples), sum(open), sum(high), sum(low), sum(close)
          FROM candles_1h GROUP BY 1 ORDER BY 1""",
    "candles_1d": """
        SELECT ticker, bucket, open, high, low, close, samples FROM candles_1d
         WHERE bucket >= '2024-03-25Z' OR ticker <> 'btc_usd' ORDER BY 1, 2""",
    "candles_1d: sums": """
        SELECT ticker, count(*), sum(samples), sum(open), sum(high), sum(low), sum(close)
          FROM candles_1d GROUP BY 1 ORDER BY 1""",
}

# The same in every zone of a session but for how moments are printed.
ZONED_READS = (
    *("candles: rows of 6 hours", "candles: rows of 1 day", "candles: rows of 1 month"),
    *("candles: naive moments", "returns: rows of 1 day", "gaps: a hole with reasons"),
    *("price_at: '2024-03-30 22:00Z'", "next_bucket: 1 day, '2024-03-31 00:00:00.000001Z'"),
    "latest_prices",
)

_PRICE_ROW = {
    "ticker": "'new_usd'",
    "created_at": "'2024-05-01 00:00Z'",
    "price": "1.50",
    "observed_at": "NULL",
    "source": "'poll'",
}
_BAD_PRICES = {
    "price": (
        *("0", "0.00", "-1.50", "'NaN'", "'Infinity'", "'-Infinity'", "1", "1.5", "NULL", "'dear'"),
    ),
    "created_at": (
        *("'2024-05-01 00:00:01Z'", "'2024-05-01 00:00:00.000001Z'", "'infinity'"),
        *("'-infinity'", "'0001-12-31 23:59Z BC'", "'10000-01-01 00:00Z'", "NULL", "'soon'"),
    ),
    "ticker": (
        *("''", "'btc'", "'BTC_USD'", "'btc_usd '", "E'btc_usd\\n'", "'btc_usd_x'", "'_usd'"),
        *("'btc_'", "'bt\u00f6c_usd'", "NULL"),
    ),
    "source": ("'guess'", "''", "'POLL'", "NULL"),
    "observed_at": ("'soon'",),
}
_MISS_ROW = {
    "ticker": "'new_usd'",
    "minute": "'2024-05-01 00:00Z'",
    "reason": "'refused'",
    "attempts": "1",
}
_BAD_MISSES = {
    "ticker": ("'BTC'", "NULL"),
    "minute": ("'2024-05-01 00:00:01Z'", "'infinity'", "NULL"),
    "reason": ("''", "NULL"),
    "attempts": ("-1", "NULL"),
}


def insert_row(table: str, row: dict[str, str]) -> str:
    """The statement that inserts *row*, whose values are SQL literals."""
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(row.values())})"


REFUSALS = {
    **{
        f"price with {column} {value}": insert_row("prices", _PRICE_ROW | {column: value})
        for column, values in _BAD_PRICES.items()
        for value in values
    },
    **{
        f"miss with {column} {value}": insert_row("misses", _MISS_ROW | {column: value})
        for column, values in _BAD_MISSES.items()
        for value in values
    },
    "second price of a minute": insert_row(
        "prices", _PRICE_ROW | {"ticker": "'usdc_usd'", "created_at": "'2024-03-01 00:00Z'"}
    ),
    "second miss of a minute": insert_row(
        "misses", _MISS_ROW | {"ticker": "'xrp_usd'", "minute": "'2024-03-31 12:00Z'"}
    ),
    "price with id": "INSERT INTO prices (id, ticker, created_at, price)"
    " VALUES (1, 'new_usd', '2024-05-01 00:00Z', 1.50)",
    "price updated to zero": "UPDATE prices SET price = 0.00 WHERE ticker = 'usdc_usd'",
    "price moved off the grid": "UPDATE prices SET created_at = created_at + INTERVAL '1 s'"
    " WHERE ticker = 'usdc_usd'",
    "price updated to a bad ticker": "UPDATE prices SET ticker = 'BTC' WHERE ticker = 'usdc_usd'",
    "price updated to a bad source": "UPDATE prices SET source = 'x' WHERE ticker = 'usdc_usd'",
    "ticker since off the grid": "INSERT INTO tickers (ticker, since)"
    " VALUES ('new_usd', '2024-05-01 00:00:01Z')",
    "ticker with a bad name": "INSERT INTO tickers (ticker, since) VALUES ('NEW', '2024-05-01Z')",
    "retention of the last two days": "SELECT cut_prices('2999-01-01Z')",
    "retention without a horizon": "SELECT cut_prices(NULL)",
    "good price": insert_row("prices", _PRICE_ROW),
    "good miss": insert_row("misses", _MISS_ROW),
}

# Each is tried as each role; what succeeds is rolled back.
RIGHTS = {
    **{f"SELECT of {name}": f"SELECT * FROM {name} LIMIT 0" for name in ANALYSTS_RELATIONS},
    "SELECT of _yoyo_migration": "SELECT migration_id FROM _yoyo_migration LIMIT 0",
    "SELECT of pg_authid": "SELECT rolpassword FROM pg_authid LIMIT 0",
    "candles()": "SELECT count(*) FROM candles('btc_usd', '1 day', '2024-03-01Z', '2024-05-01Z')",
    "returns()": "SELECT count(*) FROM returns('btc_usd', '1 day', '2024-03-01Z', '2024-05-01Z')",
    "stats()": "SELECT count(*) FROM stats('eth_usd', '2024-03-01Z', '2024-04-01Z')",
    "gaps()": "SELECT count(*) FROM gaps('eth_usd', '2024-03-01Z', '2024-04-01Z')",
    "price_at()": "SELECT price_at('eth_usd', '2024-03-30 22:00Z')",
    "next_bucket()": "SELECT next_bucket('1 day', '2024-03-30 22:00Z')",
    "cut_prices()": "SELECT cut_prices('2000-01-01Z')",
    "grant_roles()": "SELECT grant_roles()",
    "INSERT of a price": insert_row("prices", _PRICE_ROW | {"ticker": "'right_usd'"}),
    "INSERT of a miss": insert_row("misses", _MISS_ROW | {"ticker": "'right_usd'"}),
    "INSERT of a ticker": "INSERT INTO tickers (ticker, since) VALUES ('a_b', '2024-05-01Z')",
    "UPDATE of price": "UPDATE prices SET price = 9.00 WHERE ticker = 'usdc_usd'",
    "UPDATE of source": "UPDATE prices SET source = 'chart' WHERE ticker = 'usdc_usd'",
    "UPDATE of observed_at": "UPDATE prices SET observed_at = NULL WHERE ticker = 'usdc_usd'",
    "UPDATE of created_at": "UPDATE prices SET created_at = '2024-05-01Z'"
    " WHERE ticker = 'usdc_usd' AND created_at = '2024-03-01Z'",
    "UPDATE of ticker": "UPDATE prices SET ticker = 'a_b' WHERE ticker = 'usdc_usd'",
    "UPDATE of a miss": "UPDATE misses SET reason = 'refused'",
    "UPDATE of a candle": "UPDATE candles_1h SET high = high",
    "UPDATE of a daily candle": "UPDATE candles_1d SET high = high",
    "UPDATE of a ticker": "UPDATE tickers SET since = since",
    **{f"DELETE of {name}": f"DELETE FROM {name}" for name in ANALYSTS_RELATIONS[:-1]},
    **{f"TRUNCATE of {name}": f"TRUNCATE {name}" for name in ANALYSTS_RELATIONS[:-1]},
    "CREATE TABLE": "CREATE TABLE mine (id integer)",
    "CREATE TEMPORARY TABLE": "CREATE TEMPORARY TABLE mine (id integer)",
    "CREATE FUNCTION": "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE ROLE": "CREATE ROLE mine",
    "ALTER TABLE": "ALTER TABLE prices ADD COLUMN mine text",
    "CREATE INDEX": "CREATE INDEX ON prices (price)",
    "DROP TABLE": "DROP TABLE prices",
    "drop_chunks()": "SELECT drop_chunks('prices', timestamptz '2000-01-01Z')",
    "LISTEN": "LISTEN prices",
    "NOTIFY": "NOTIFY prices, '{}'",
    "session_replication_role": "SET session_replication_role = replica",
    "COPY to a program": "COPY prices TO PROGRAM 'cat'",
    "pg_read_file()": "SELECT pg_read_file('PG_VERSION')",
}
HEARTBEAT = {
    "SELECT of heartbeats": "SELECT * FROM heartbeats LIMIT 0",
    "INSERT of a heartbeat": "INSERT INTO heartbeats (part, at) VALUES ('worker', '2024-05-01Z')",
    "UPDATE of a heartbeat": "UPDATE heartbeats SET at = at",
}

# A statement each, in this order, on an empty database; what outsiders see is read after each.
WRITES = {
    "first prices": f"INSERT INTO prices {_COLUMNS} VALUES"
    " ('btc_usd', '2024-05-01 10:00Z', 100.00, '2024-05-01 10:00:01Z', 'poll'),"
    " ('btc_usd', '2024-05-01 10:01Z', 103.00, NULL, 'chart'),"
    " ('btc_usd', '2024-05-01 11:59Z', 99.50, '2024-05-01 11:59:01Z', 'poll'),"
    " ('eth_usd', '2024-05-01 23:59Z', 3000.00, '2024-05-01 23:59:01Z', 'poll'),"
    " ('eth_usd', '2024-05-02 00:00Z', 3001.00, '2024-05-02 00:00:01Z', 'poll')",
    "price between": f"INSERT INTO prices {_COLUMNS} VALUES"
    " ('btc_usd', '2024-05-01 10:02Z', 95.00, '2024-05-01 10:02:01Z', 'poll')",
    "earlier price": f"INSERT INTO prices {_COLUMNS} VALUES"
    " ('btc_usd', '2024-04-30 23:59Z', 90.00, NULL, 'chart')",
    "price again, conflict ignored": f"INSERT INTO prices {_COLUMNS} VALUES"
    " ('btc_usd', '2024-05-01 10:02Z', 96.00, NULL, 'poll') ON CONFLICT DO NOTHING",
    "price again, conflict updates": f"INSERT INTO prices {_COLUMNS} VALUES"
    " ('btc_usd', '2024-05-01 10:02Z', 97.00, NULL, 'poll')"
    " ON CONFLICT (ticker, created_at) DO UPDATE SET price = excluded.price",
    "no rows inserted": f"INSERT INTO prices {_COLUMNS}"
    " SELECT 'btc_usd', timestamptz '2024-05-01 10:03Z', 1.00, NULL, 'poll' WHERE false",
    "earlier miss": "INSERT INTO misses (ticker, minute, reason, attempts, at) VALUES"
    " ('btc_usd', '2024-04-30 23:50Z', 'refused', 1, '2024-04-30 23:50:59Z'),"
    " ('btc_usd', '2024-04-30 23:51Z', 'refused', 1, '2024-04-30 23:51:59Z')",
    "miss of a new index": "INSERT INTO misses (ticker, minute, reason, attempts, at) VALUES"
    " ('xrp_usd', '2024-05-01 10:00Z', 'too_late', 1, '2024-05-01 10:00:59Z')",
    "miss of another reason": "UPDATE misses SET reason = 'rate_limited'"
    " WHERE ticker = 'btc_usd' AND minute = '2024-04-30 23:51Z'",
    "miss deleted": "DELETE FROM misses WHERE minute = '2024-04-30 23:50Z'",
    "hole filled": f"INSERT INTO prices {_COLUMNS} SELECT 'btc_usd', at, 98.00, NULL, 'chart'"
    " FROM generate_series(timestamptz '2024-05-01 10:03Z', '2024-05-01 11:58Z', '1 min') AS at",
    "highest price changed": "UPDATE prices SET price = 102.00"
    " WHERE ticker = 'btc_usd' AND created_at = '2024-05-01 10:01Z'",
    "source changed": "UPDATE prices SET source = 'poll', observed_at = '2024-05-01 10:01:09Z'"
    " WHERE ticker = 'btc_usd' AND created_at = '2024-05-01 10:01Z'",
    "price moved to another hour": "UPDATE prices SET created_at = '2024-05-01 12:00Z'"
    " WHERE ticker = 'btc_usd' AND created_at = '2024-05-01 10:00Z'",
    "price moved to another index": "UPDATE prices SET ticker = 'usdc_usd'"
    " WHERE ticker = 'eth_usd' AND created_at = '2024-05-02 00:00Z'",
    "no rows updated": "UPDATE prices SET price = 1.00 WHERE ticker = 'doge_usd'",
    "price deleted": "DELETE FROM prices WHERE ticker = 'btc_usd'"
    " AND created_at = '2024-05-01 10:30Z'",
    "last price deleted": "DELETE FROM prices WHERE ticker = 'btc_usd'"
    " AND created_at = '2024-05-01 12:00Z'",
    "hour deleted": "DELETE FROM prices WHERE ticker = 'btc_usd'"
    " AND created_at >= '2024-05-01 11:00Z' AND created_at < '2024-05-01 12:00Z'",
    "index emptied": "DELETE FROM prices WHERE ticker = 'usdc_usd'",
    "no rows deleted": "DELETE FROM prices WHERE ticker = 'doge_usd'",
    "three statements, one commit": "BEGIN;"
    "UPDATE prices SET price = price + 1 WHERE ticker = 'eth_usd';"
    "UPDATE prices SET price = price + 1 WHERE ticker = 'eth_usd';"
    f"INSERT INTO prices {_COLUMNS} VALUES"
    " ('ada_usd', '2024-05-01 10:00Z', 0.50, NULL, 'poll'); COMMIT",
    "rolled back": "BEGIN; DELETE FROM prices; ROLLBACK",
    "price two days later": f"INSERT INTO prices {_COLUMNS} VALUES"
    " ('doge_usd', '2024-05-03 00:00Z', 0.10, NULL, 'poll')",
    "retention": "SELECT FROM cut_prices('2024-05-01 15:00Z')",
    "price older than retention": f"INSERT INTO prices {_COLUMNS} VALUES"
    " ('btc_usd', '2024-04-30 23:58Z', 80.00, NULL, 'chart')",
    "index no longer tracked": "DELETE FROM tickers WHERE ticker = 'xrp_usd'",
    "prices emptied": "TRUNCATE prices",
    "misses emptied": "TRUNCATE misses",
    "price after that": f"INSERT INTO prices {_COLUMNS} VALUES"
    " ('btc_usd', '2024-05-01 10:00Z', 100.00, NULL, 'poll')",
}
# What is read after each of WRITES, aspect by aspect.
ASPECTS = {
    "prices": "SELECT ticker, count(*), sum(price), min(created_at), max(created_at)"
    " FROM prices GROUP BY 1 ORDER BY 1",
    "candles_1h": "SELECT ticker, bucket, open, high, low, close, samples"
    " FROM candles_1h ORDER BY 1, 2",
    "charted": "SELECT ticker, bucket, charted FROM candles_1h ORDER BY 1, 2",
    "candles_1d": "SELECT ticker, bucket, open, high, low, close, samples"
    " FROM candles_1d ORDER BY 1, 2",
    "tickers": "SELECT ticker, since, kept_since FROM tickers ORDER BY 1",
    "latest_prices": "SELECT ticker, price, created_at, source FROM latest_prices ORDER BY 1",
    "gaps": "SELECT ticker, start, stop, minutes, reason FROM tickers AS known,"
    " gaps(known.ticker, '2024-04-30Z', '2024-05-01 12:05Z') ORDER BY 1, 2",
}
REVISIONS = "SELECT ticker, revision FROM tickers ORDER BY 1"
