-- Prices, their indexes, and misses: minutes that could not be polled.
-- depends: 0001.timescaledb

-- The primary key prevents duplicate minutes. It includes price and id, therefore a page is an
-- index-only scan. Chunks are 365 days wide, because opening chunks is most of a query's cost. The
-- second index serves queries without an index name; TimescaleDB's default index is descending,
-- needs twice the space for rows inserted in ascending order, and is no faster.
CREATE TABLE prices (
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    ticker      index_name  NOT NULL,
    price       numeric     NOT NULL CHECK (price > 0 AND price < 'Infinity' AND scale(price) >= 2),
    created_at  timestamptz NOT NULL CHECK (
        created_at = time_bucket(INTERVAL '1 min', created_at)
        AND created_at BETWEEN '0001-01-01 00:00Z' AND '9999-12-31 23:59Z'
    ),
    observed_at timestamptz,
    source      text        NOT NULL DEFAULT 'poll' CHECK (source IN ('poll', 'chart', 'import')),
    PRIMARY KEY (ticker, created_at) INCLUDE (price, id)
);

DO $$
BEGIN
    PERFORM create_hypertable(
        'prices', by_range('created_at', INTERVAL '365 days'), create_default_indexes => false
    );
END
$$;

CREATE INDEX prices_created_at_idx ON prices (created_at);

COMMENT ON TABLE prices IS 'Index prices of Deribit, one row for each index and UTC minute';
COMMENT ON COLUMN prices.id IS 'Unique; ascends with insertion, not with time, therefore not a cursor';
COMMENT ON COLUMN prices.ticker IS 'Deribit''s index name, such as btc_usd';
COMMENT ON COLUMN prices.price IS 'In the index''s quote currency, exact; two decimals at least';
COMMENT ON COLUMN prices.created_at IS 'The UTC minute the price belongs to; seconds are zero';
COMMENT ON COLUMN prices.observed_at IS 'The exchange''s time of the value; null if unknown';
COMMENT ON COLUMN prices.source IS
    'poll: polled in its minute; chart: an average from chart data; import: from a file';

-- Every commit that changes prices of an index increments its revision, by which caches and streams
-- detect the change.
CREATE TABLE tickers (
    ticker     index_name  PRIMARY KEY,
    since      timestamptz NOT NULL CHECK (
        since = time_bucket(INTERVAL '1 min', since) AND isfinite(since)),
    revision   bigint      NOT NULL DEFAULT 0 CHECK (revision >= 0),
    kept_since timestamptz CHECK (
        kept_since = time_bucket(INTERVAL '1 day', kept_since) AND isfinite(kept_since)),
    CHECK (since >= kept_since)
) WITH (fillfactor = 50);

COMMENT ON TABLE tickers IS 'The indexes that have been tracked';
COMMENT ON COLUMN tickers.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN tickers.since IS 'The first retained UTC minute that was polled or stored';
COMMENT ON COLUMN tickers.revision IS 'Incremented by every commit that changes this index''s prices';
COMMENT ON COLUMN tickers.kept_since IS
    'Retention dropped the prices, not the candles, before this UTC midnight; null: never';

-- A plain table, because it has few rows. A repair of the minute does not remove its miss.
CREATE TABLE misses (
    ticker   index_name  NOT NULL,
    minute   timestamptz NOT NULL CHECK (
        minute = time_bucket(INTERVAL '1 min', minute) AND isfinite(minute)),
    reason   text        NOT NULL CHECK (reason <> ''),
    code     integer,
    attempts integer     NOT NULL CHECK (attempts >= 0),
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ticker, minute)
);

COMMENT ON TABLE misses IS 'Minutes that could not be polled, and why';
COMMENT ON COLUMN misses.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN misses.minute IS 'The UTC minute that has no polled price';
COMMENT ON COLUMN misses.reason IS
    'exchange_unavailable, rate_limited, refused, bad_answer or too_late';
COMMENT ON COLUMN misses.code IS 'HTTP status or JSON-RPC error code of the last response, if any';
COMMENT ON COLUMN misses.attempts IS 'How many requests the poll sent';
COMMENT ON COLUMN misses.at IS 'When the poll gave up';
