-- Daily candles of UTC, so that a year of them is a page to read, and not 8,760 hours to be put
-- together. They are kept exact as the hours are, by the transaction that changes those: every day
-- that a statement touches is made again of its hours, with which it stays when prices are dropped.
-- Hours are written by the triggers of prices alone, who hold the lock on the ticker's row: so
-- writers of one day stand in a line as well, and each reads what the one before it committed.
-- depends: 0011.create-retention
CREATE TABLE candles_1d (
    ticker  text        NOT NULL,
    bucket  timestamptz NOT NULL CHECK (bucket = date_trunc('day', bucket, 'UTC')),
    open    numeric     NOT NULL,
    high    numeric     NOT NULL,
    low     numeric     NOT NULL,
    close   numeric     NOT NULL,
    samples integer     NOT NULL CHECK (samples BETWEEN 1 AND 1440),
    PRIMARY KEY (ticker, bucket),
    CHECK (low <= least(open, close) AND high >= greatest(open, close))
);

COMMENT ON TABLE candles_1d IS 'Open, high, low and close of each index and UTC day that has prices';
COMMENT ON COLUMN candles_1d.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN candles_1d.bucket IS 'The midnight with which the UTC day begins';
COMMENT ON COLUMN candles_1d.open IS 'The price of the day''s first stored minute';
COMMENT ON COLUMN candles_1d.high IS 'The highest price of the day';
COMMENT ON COLUMN candles_1d.low IS 'The lowest price of the day';
COMMENT ON COLUMN candles_1d.close IS 'The price of the day''s last stored minute';
COMMENT ON COLUMN candles_1d.samples IS 'How many minutes of the day are stored';

-- The rights and the search path are those of the function that writes the hours.
CREATE FUNCTION candles_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    MERGE INTO candles_1d AS candle
    USING (
        SELECT touched.ticker, touched.bucket, day.open, day.high, day.low, day.close, day.samples
          FROM (SELECT DISTINCT ticker, date_trunc('day', bucket, 'UTC') AS bucket
                  FROM changed) AS touched
         CROSS JOIN LATERAL (
            SELECT first(open, bucket) AS open, max(high) AS high, min(low) AS low,
                   last(close, bucket) AS close, sum(samples) AS samples
              FROM candles_1h AS hour
             WHERE hour.ticker = touched.ticker
               AND hour.bucket >= touched.bucket
               AND hour.bucket < touched.bucket + INTERVAL '24 hours'
         ) AS day
      ) AS made
       ON candle.ticker = made.ticker AND candle.bucket = made.bucket
     WHEN MATCHED AND made.samples IS NULL THEN
        DELETE
     WHEN MATCHED THEN
        UPDATE SET open = made.open, high = made.high, low = made.low, close = made.close,
                   samples = made.samples
     WHEN NOT MATCHED AND made.samples > 0 THEN
        INSERT (ticker, bucket, open, high, low, close, samples)
        VALUES (made.ticker, made.bucket, made.open, made.high, made.low, made.close, made.samples);
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION candles_changed() IS 'Brings daily candles up to date with changed hourly ones';

CREATE FUNCTION candles_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM candles_1d;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION candles_emptied() IS 'Empties the daily candles with the hourly ones';

CREATE TRIGGER candles_truncated AFTER TRUNCATE ON candles_1h
    FOR EACH STATEMENT EXECUTE FUNCTION candles_emptied();
CREATE TRIGGER candles_inserted AFTER INSERT ON candles_1h
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION candles_changed();
CREATE TRIGGER candles_deleted AFTER DELETE ON candles_1h
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION candles_changed();
CREATE TRIGGER candles_updated_from AFTER UPDATE ON candles_1h
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION candles_changed();
CREATE TRIGGER candles_updated_to AFTER UPDATE ON candles_1h
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION candles_changed();

-- Nobody else writes meanwhile: whoever makes a trigger locks its table until the end.
INSERT INTO candles_1d (ticker, bucket, open, high, low, close, samples)
SELECT ticker, date_trunc('day', bucket, 'UTC') AS day,
       first(open, bucket), max(high), min(low), last(close, bucket), sum(samples)
  FROM candles_1h
 GROUP BY ticker, day;

DO $$ BEGIN PERFORM grant_roles(); END $$;
