-- The oldest and the newest hour with prices of one index in [since, until): 1 row, with nulls if
-- it has none.
SELECT min(bucket) AS oldest, max(bucket) AS newest
  FROM candles_1h
 WHERE ticker = %(ticker)s
   AND bucket >= %(since)s::timestamptz
   AND bucket < %(until)s::timestamptz
