-- Daily candles of one index that begin in [since, until], in the given direction: at most count.
SELECT bucket AS start, open, high, low, close, samples
  FROM candles_1d
 WHERE ticker = %(ticker)s
   AND bucket >= %(since)s::timestamptz
   AND bucket <= %(until)s::timestamptz
 ORDER BY bucket {order}
 LIMIT %(count)s
