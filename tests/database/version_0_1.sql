-- What version 0.1 leaves in a database, as far as later versions look: its tables of prices and
-- indexes, and its migrations in yoyo's record.
CREATE TABLE prices (
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    ticker      text        NOT NULL CHECK (ticker ~ '^[a-z0-9-]+_[a-z0-9]+$'),
    price       numeric     NOT NULL CHECK (price > 0 AND price < 'Infinity' AND scale(price) >= 2),
    created_at  timestamptz NOT NULL,
    observed_at timestamptz,
    source      text        NOT NULL DEFAULT 'poll' CHECK (source IN ('poll', 'chart')),
    PRIMARY KEY (ticker, created_at) INCLUDE (price, id)
);
SELECT create_hypertable(
    'prices', by_range('created_at', INTERVAL '365 days'), create_default_indexes => false);
CREATE TABLE tickers (
    ticker     text        PRIMARY KEY,
    since      timestamptz NOT NULL,
    revision   bigint      NOT NULL DEFAULT 0,
    kept_since timestamptz
);
INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)
SELECT md5(name), name, now()
  FROM unnest(ARRAY['0001.create-extension', '0002.create-prices', '0003.create-tickers']) AS name;
INSERT INTO prices (ticker, price, created_at, observed_at, source)
SELECT ticker, 100.50 + minute, timestamptz '2026-02-28 23:50Z' + minute * INTERVAL '1 min',
       CASE WHEN minute % 2 = 0 THEN '2026-02-28 23:50:00.25Z'::timestamptz END,
       CASE WHEN minute % 3 = 0 THEN 'chart' ELSE 'poll' END
  FROM unnest(ARRAY['btc_usd', 'eth_usd']) AS ticker, generate_series(0, 99, 2) AS minute;
INSERT INTO tickers (ticker, since, revision)
SELECT ticker, min(created_at), 7 FROM prices GROUP BY ticker;
