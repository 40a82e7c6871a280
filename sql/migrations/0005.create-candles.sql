-- Hourly candles, kept exact by the transaction that changes the prices below them: every hour
-- that a statement touches is read again. The lock on the ticker's row puts writers of one index
-- in a line, so that each reads what the one before it committed. The new revision is announced
-- at commit, once for each index, however many statements changed it.
-- depends: 0004.create-misses
CREATE TABLE candles_1h (
    ticker  text        NOT NULL,
    bucket  timestamptz NOT NULL CHECK (bucket = date_trunc('hour', bucket, 'UTC')),
    open    numeric     NOT NULL,
    high    numeric     NOT NULL,
    low     numeric     NOT NULL,
    close   numeric     NOT NULL,
    samples integer     NOT NULL CHECK (samples BETWEEN 1 AND 60),
    charted integer     NOT NULL CHECK (charted BETWEEN 0 AND samples),
    PRIMARY KEY (ticker, bucket),
    CHECK (low <= least(open, close) AND high >= greatest(open, close))
);

COMMENT ON TABLE candles_1h IS 'Open, high, low and close of each index and UTC hour that has prices';
COMMENT ON COLUMN candles_1h.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN candles_1h.bucket IS 'The start of the UTC hour';
COMMENT ON COLUMN candles_1h.open IS 'The price of the hour''s first stored minute';
COMMENT ON COLUMN candles_1h.high IS 'The highest price of the hour';
COMMENT ON COLUMN candles_1h.low IS 'The lowest price of the hour';
COMMENT ON COLUMN candles_1h.close IS 'The price of the hour''s last stored minute';
COMMENT ON COLUMN candles_1h.samples IS 'How many minutes of the hour are stored';
COMMENT ON COLUMN candles_1h.charted IS 'How many of them come from chart data';

CREATE FUNCTION prices_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tickers AS known (ticker, since, revision)
    SELECT ticker, min(created_at), 1
      FROM changed
     GROUP BY ticker
     ORDER BY ticker
        ON CONFLICT (ticker) DO UPDATE
       SET since = least(known.since, excluded.since), revision = known.revision + 1;

    DELETE FROM candles_1h AS candle
     USING (SELECT DISTINCT ticker, date_trunc('hour', created_at, 'UTC') AS bucket
              FROM changed) AS touched
     WHERE candle.ticker = touched.ticker AND candle.bucket = touched.bucket;

    INSERT INTO candles_1h (ticker, bucket, open, high, low, close, samples, charted)
    SELECT touched.ticker, touched.bucket, hour.open, hour.high, hour.low, hour.close,
           hour.samples, hour.charted
      FROM (SELECT DISTINCT ticker, date_trunc('hour', created_at, 'UTC') AS bucket
              FROM changed) AS touched
     CROSS JOIN LATERAL (
        SELECT first(price, created_at) AS open, max(price) AS high, min(price) AS low,
               last(price, created_at) AS close, count(*) AS samples,
               count(*) FILTER (WHERE source = 'chart') AS charted
          FROM prices
         WHERE prices.ticker = touched.ticker
           AND prices.created_at >= touched.bucket
           AND prices.created_at < touched.bucket + INTERVAL '1 hour'
     ) AS hour
     WHERE hour.samples > 0;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION prices_changed() IS 'Brings revision and candles up to date with changed prices';

CREATE FUNCTION prices_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM candles_1h;
    UPDATE tickers SET revision = revision + 1;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION prices_emptied() IS 'Empties the candles with the prices';

CREATE TRIGGER prices_truncated AFTER TRUNCATE ON prices
    FOR EACH STATEMENT EXECUTE FUNCTION prices_emptied();
CREATE TRIGGER prices_inserted AFTER INSERT ON prices
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();
CREATE TRIGGER prices_deleted AFTER DELETE ON prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();
CREATE TRIGGER prices_updated_from AFTER UPDATE ON prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();
CREATE TRIGGER prices_updated_to AFTER UPDATE ON prices
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();

CREATE FUNCTION revision_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('prices', json_build_object('ticker', ticker, 'revision', revision)::text)
       FROM tickers
      WHERE ticker = NEW.ticker;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION revision_changed() IS
    'Announces the revision at commit: equal notifications of one transaction are sent once';

CREATE CONSTRAINT TRIGGER tickers_announced AFTER INSERT OR UPDATE OF revision ON tickers
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.revision > 0) EXECUTE FUNCTION revision_changed();
