-- Candles of one index for the buckets [start, stop), which consist of whole hours: a row for each
-- bucket with prices, in the order of the buckets.
SELECT span.start, candle.open, candle.high, candle.low, candle.close, candle.samples
  FROM unnest(%(starts)b::timestamptz[], %(stops)b::timestamptz[])
       WITH ORDINALITY AS span (start, stop, place)
 CROSS JOIN LATERAL (
    SELECT first(open, bucket) AS open, max(high) AS high, min(low) AS low,
           last(close, bucket) AS close, sum(samples) AS samples
      FROM candles_1h
     WHERE ticker = %(ticker)s
       AND bucket >= start
       AND bucket < stop
  ) AS candle
 WHERE candle.samples > 0
 ORDER BY span.place
