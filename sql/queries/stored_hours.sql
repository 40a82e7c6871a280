-- The oldest and the newest hour of one index in [since, until) that has prices: 1 row, nulls if none.
SELECT min(bucket) AS oldest, max(bucket) AS newest
  FROM candles_1h
 WHERE ticker = %(ticker)s
   AND bucket >= %(since)s::timestamptz
   AND bucket < %(until)s::timestamptz
