-- The columns, the key and the rows of prices in a hypertable without checks and triggers.
CREATE TABLE bare_prices (
    LIKE prices INCLUDING IDENTITY, PRIMARY KEY (ticker, created_at) INCLUDE (price, id));
DO $$
BEGIN
    PERFORM create_hypertable(
        'bare_prices', by_range('created_at', INTERVAL '365 days'),
        create_default_indexes => false);
END
$$;
INSERT INTO bare_prices (ticker, price, created_at, observed_at, source)
SELECT ticker, price, created_at, observed_at, source FROM prices;
