-- Candles of one index for the buckets [start, stop), which begin or end within an hour: a row for
-- each bucket with prices, in the order of the buckets. They are computed from the whole hours
-- [first_hour, last_hour) and from the minutes before and after these. All minutes are in [since,
-- until].
SELECT span.start, candle.open, candle.high, candle.low, candle.close, candle.samples
  FROM unnest(%(starts)b::timestamptz[], %(stops)b::timestamptz[],
              %(first_hours)b::timestamptz[], %(last_hours)b::timestamptz[])
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
