-- What is tracked. The revision grows with every commit that changes an index's rows: whoever
-- keeps an answer in memory can tell whether it still holds.
-- depends: 0002.create-prices
CREATE TABLE tickers (
    ticker   text        PRIMARY KEY CHECK (ticker ~ '^[a-z0-9-]+_[a-z0-9]+$'),
    since    timestamptz NOT NULL CHECK (
        since = date_trunc('minute', since, 'UTC') AND isfinite(since)),
    revision bigint      NOT NULL DEFAULT 0 CHECK (revision >= 0)
);

COMMENT ON TABLE tickers IS 'The indexes that have been tracked';
COMMENT ON COLUMN tickers.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN tickers.since IS 'The first UTC minute that was asked for or stored';
COMMENT ON COLUMN tickers.revision IS 'Grows with every commit that changes this index''s prices';
