-- The same as bucket_candles, for stretches that begin or end within an hour: of those the minutes before
-- the first whole hour and after the last are read too. All of them lie in [since, until].
SELECT span.start, candle.open, candle.high, candle.low, candle.close, candle.samples
  FROM unnest(%(starts)b::timestamptz[], %(stops)b::timestamptz[],
              %(firsts)b::timestamptz[], %(lasts)b::timestamptz[])
       WITH ORDINALITY AS span (start, stop, first_hour, last_hour, place)
 CROSS JOIN LATERAL (
    SELECT first(open, moment) AS open, max(high) AS high, min(low) AS low,
           last(close, moment) AS close, sum(samples) AS samples
      FROM (
        SELECT bucket AS moment, open, high, low, close, samples
          FROM candles_1h
         WHERE ticker = %(ticker)s
           AND bucket >= first_hour
           AND bucket < last_hour
         UNION ALL
        SELECT created_at, price, price, price, price, 1
          FROM prices
         WHERE ticker = %(ticker)s
           AND created_at >= %(since)s::timestamptz
           AND created_at <= %(until)s::timestamptz
           AND created_at >= start
           AND created_at < first_hour
         UNION ALL
        SELECT created_at, price, price, price, price, 1
          FROM prices
         WHERE ticker = %(ticker)s
           AND created_at >= %(since)s::timestamptz
           AND created_at <= %(until)s::timestamptz
           AND created_at >= last_hour
           AND created_at < stop
      ) AS part
  ) AS candle
 WHERE candle.samples > 0
 ORDER BY span.place
