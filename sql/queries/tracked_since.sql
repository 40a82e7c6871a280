-- The first minute of one index that was asked for or stored: 0 or 1 row.
SELECT since
  FROM tickers
 WHERE ticker = %(ticker)s
