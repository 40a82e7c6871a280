-- What the triggers of the migrations would have made of the prices: candles of hours and of days,
-- one run of minutes, the index with its first revision, and the log of that.
WITH candle AS (
    INSERT INTO candles_1h (ticker, bucket, open, high, low, close, samples, charted)
    SELECT ticker, date_trunc('hour', created_at, 'UTC') AS hour,
           first(price, created_at), max(price), min(price), last(price, created_at),
           count(*), count(*) FILTER (WHERE source = 'chart')
      FROM prices
     GROUP BY ticker, hour
    RETURNING ticker, bucket, open, high, low, close, samples
), day AS (
    INSERT INTO candles_1d (ticker, bucket, open, high, low, close, samples)
    SELECT ticker, date_trunc('day', bucket, 'UTC') AS day,
           first(open, bucket), max(high), min(low), last(close, bucket), sum(samples)
      FROM candle
     GROUP BY ticker, day
), span AS (
    SELECT candle.ticker, min(edge.first) AS first, max(edge.last) AS last
      FROM (SELECT ticker, min(bucket) AS first, max(bucket) AS last
              FROM candle
             GROUP BY ticker) AS candle
     CROSS JOIN LATERAL (
        SELECT min(created_at) AS first, max(created_at) AS last
          FROM prices
         WHERE prices.ticker = candle.ticker
           AND prices.created_at >= candle.first
           AND prices.created_at < candle.last + INTERVAL '1 hour'
     ) AS edge
     GROUP BY candle.ticker
), run AS (
    INSERT INTO price_runs (ticker, since, until)
    SELECT ticker, first, last + INTERVAL '1 min' FROM span
), known AS (
    INSERT INTO tickers (ticker, since, revision)
    SELECT ticker, first, 1 FROM span
)
INSERT INTO changes (ticker, revision, first_minute, last_minute)
SELECT ticker, 1, first, last FROM span
