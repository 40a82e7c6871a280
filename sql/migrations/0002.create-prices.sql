-- The archive: a row for each index and minute. The key is the minute grid itself, so that a
-- minute cannot be stored twice; it carries price and id, so that pages are read from the index.
-- Few chunks, because opening chunks is most of a query's cost.
-- depends: 0001.create-extension
CREATE TABLE prices (
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    ticker      text        NOT NULL CHECK (ticker ~ '^[a-z0-9-]+_[a-z0-9]+$'),
    price       numeric     NOT NULL CHECK (price > 0 AND price < 'Infinity' AND scale(price) >= 2),
    created_at  timestamptz NOT NULL CHECK (
        created_at = date_trunc('minute', created_at, 'UTC')
        AND created_at BETWEEN '0001-01-01 00:00Z' AND '9999-12-31 23:59Z'
    ),
    observed_at timestamptz,
    source      text        NOT NULL DEFAULT 'poll' CHECK (source IN ('poll', 'chart')),
    PRIMARY KEY (ticker, created_at) INCLUDE (price, id)
);

DO $$
BEGIN
    PERFORM create_hypertable(
        'prices', by_range('created_at', INTERVAL '365 days'), create_default_indexes => false
    );
END
$$;

COMMENT ON TABLE prices IS 'Index prices of Deribit, one row for each index and UTC minute';
COMMENT ON COLUMN prices.id IS 'Grows with insertion, not with time; unique, never a cursor';
COMMENT ON COLUMN prices.ticker IS 'Deribit''s index name, such as btc_usd';
COMMENT ON COLUMN prices.price IS 'In the index''s quote currency, exact; two decimals at least';
COMMENT ON COLUMN prices.created_at IS 'The UTC minute the price belongs to; seconds are zero';
COMMENT ON COLUMN prices.observed_at IS 'The exchange''s clock when it gave the value; null if unknown';
COMMENT ON COLUMN prices.source IS 'poll: asked for in its minute; chart: an average from chart data';
